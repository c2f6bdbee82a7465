// Programs of test_exits: how one ends whose main() an exception leaves. Which one is its argument.
#include <asyncio/coroutines.hpp>
#include <asyncio/exceptions.hpp>
#include <asyncio/runners.hpp>
#include <asyncio/tasks.hpp>

#include <unistd.h>
#include <csignal>
#include <exception>
#include <string_view>

namespace {

using namespace asyncio;
using namespace std::chrono_literals;

Coroutine<> interrupted() {
    std::raise(SIGINT);
    co_await sleep(1h);
}

void run_something() { run(sleep(1ms)); }

void set_own_handler() {
    std::set_terminate([] { ::_exit(7); });
}

// One that asks the handler that it found.
void set_asking_handler() {
    static const std::terminate_handler before = std::get_terminate();
    std::set_terminate([] { before(); });
}

}  // namespace

int main(int argc, char** argv) {
    const std::string_view which = argc > 1 ? argv[1] : "";
    std::signal(SIGINT, SIG_DFL);
    if (which == "run") run(interrupted());
    if (which == "runner") Runner().run(interrupted());
    if (which == "second run") {
        run_something();
        run(interrupted());
    }
    if (which == "error") {
        run_something();
        throw ValueError("not an interrupt");
    }
    if (which == "terminate") {
        run_something();
        std::terminate();
    }
    if (which == "own handler, error") {
        set_own_handler();
        run_something();
        run_something();
        throw ValueError("for the program");
    }
    if (which == "own handler, interrupt") {
        run_something();
        set_own_handler();
        run(interrupted());
    }
    if (which == "asking handler, error") {
        run_something();
        set_asking_handler();
        run_something();
        throw ValueError("for nobody");
    }
    if (which == "asking handler, interrupt") {
        run_something();
        set_asking_handler();
        run(interrupted());
    }
    return 1;
}
