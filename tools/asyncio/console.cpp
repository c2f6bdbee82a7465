#include "console.hpp"

#include <malloc.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <ostream>
#include <string>
#include <string_view>

#include "page_server.hpp"
#include "remote.hpp"
#include "site.hpp"

namespace tool {

namespace {

// A look at a million tasks is a gigabyte, which glibc would ask the system for in small pieces,
// and for each thread anew.
void take_memory_in_large_pieces() {
#ifdef __GLIBC__
    ::mallopt(M_ARENA_MAX, 1);
    ::mallopt(M_TOP_PAD, 64 << 20);
#endif
}

// The page's own data are at hand at once, and Ctrl-C waits for as long.
constexpr int kForAnswer = 5;  // s

// A descriptor that can be read when the program is to end. For threads that begin after it, too.
int end_signals() {
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    ::pthread_sigmask(SIG_BLOCK, &signals, nullptr);
    const int fd = ::signalfd(-1, &signals, SFD_CLOEXEC);
    if (fd < 0) throw Failure(std::string("no signals: ") + std::strerror(errno));
    return fd;
}

// Until Ctrl-C.
void serve(std::ostream& out, int port, int ends, const PageHandler& handler) {
    PageServer server = PageServer::on_loopback(port);
    out << server.url() << std::endl;
    if (!out) throw Failure(std::string("the output failed: ") + std::strerror(errno));
    server.serve(ends, handler);
    // At once: a look at a large program takes seconds. A thread of it that stands still for that
    // is let go by the system, and counting ends by itself.
    std::_Exit(0);
}

}  // namespace

void console(std::ostream& out, int pid, const TakeOptions& take, int port) {
    take_memory_in_large_pieces();
    const int ends = end_signals();
    Site site(pid, take);
    serve(out, port, ends,
          [&](std::string_view path, std::string_view query) { return site.answer(path, query); });
}

void console(std::ostream& out, const std::string& socket, int port) {
    const int ends = end_signals();
    // Raises early if there is none.
    ask(socket, "data?limit=1");
    serve(out, port, ends, [&](std::string_view path, std::string_view query) {
        if (path.empty()) return page();
        return ask(socket, std::string(path) + '?' + std::string(query), kForAnswer);
    });
}

}  // namespace tool
