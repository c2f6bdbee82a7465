// A program that tells of itself at a socket: SOCKET [tasks that never wait]. It prints `ready`,
// and ends with its input.
#include <asyncio.hpp>
#include <asyncio/inspect_server.hpp>

#include <cstdio>
#include <cstdlib>

#include <unistd.h>

namespace {

using namespace std::chrono_literals;
using asyncio::Coroutine;

Coroutine<> nap() { co_await asyncio::sleep(3600s); }
Coroutine<> fetch() { co_await nap(); }
Coroutine<> busy() {
    for (;;) co_await asyncio::sleep(0s);
}

Coroutine<> serve(const char* path, int tasks) {
    const auto server = asyncio::inspect::serve(path);
    const auto sleeper = asyncio::create_task(fetch(), {.name = "sleeper"});
    const auto strange = asyncio::create_task(fetch(), {.name = "\x1b[2J & <b>"});
    std::vector<asyncio::Task<>> others;
    for (int i = 0; i < tasks; ++i) others.push_back(asyncio::create_task(busy()));
    std::puts("ready");
    std::fflush(stdout);
    co_await asyncio::to_thread([] {
        char c;
        while (::read(STDIN_FILENO, &c, 1) > 0) {
        }
    });
}

}  // namespace

int main(int argc, char** argv) {
    if (argc < 2) return 2;
    asyncio::run(serve(argv[1], argc > 2 ? std::atoi(argv[2]) : 0));
}
