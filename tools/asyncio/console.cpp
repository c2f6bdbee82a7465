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

#include "console_page.hpp"
#include "look_json.hpp"
#include "page_server.hpp"
#include "watcher.hpp"

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

// The page, its style and its script in one. A browser runs and uses nothing else: only they have
// this answer's number.
PageAnswer page() {
    const std::string nonce = random_token();
    PageAnswer answer;
    answer.type = "text/html; charset=utf-8";
    answer.policy = "default-src 'none'; script-src 'nonce-" + nonce + "'; style-src 'nonce-" +
                    nonce +
                    "'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
                    "frame-ancestors 'none'; require-trusted-types-for 'script'; "
                    "trusted-types 'none'";
    answer.body = console_page();
    constexpr std::string_view kMark = "@NONCE@";
    for (std::size_t at = 0; (at = answer.body.find(kMark, at)) != std::string::npos;) {
        answer.body.replace(at, kMark.size(), nonce);
    }
    return answer;
}

// The answer to the last question, which many pages may ask at once: it is made anew ten times a
// second at most, and less often if that takes long.
struct Last {
    std::string query;
    std::string answer;
    std::chrono::steady_clock::time_point until{};
};

std::string data(Watcher& watcher, const LookQuery& query, std::string_view text, Last& last) {
    using namespace std::chrono_literals;
    const bool sockets = query.view == "sockets" || query.view == "all";
    const State state = watcher.ask(sockets);
    const auto began = std::chrono::steady_clock::now();
    if (text != last.query || began > last.until) {
        last.answer = look_json(watcher.process(), state, query);
        last.query = text;
        const auto now = std::chrono::steady_clock::now();
        last.until = now + std::max<std::chrono::steady_clock::duration>(100ms, (now - began) * 4);
    }
    return last.answer;
}

PageAnswer answered(Watcher& watcher, std::string_view path, std::string_view text, Last& last) {
    if (path.empty()) return page();
    const LookQuery query = read_query(text);
    PageAnswer answer;
    if (path == "data") {
        answer.body = data(watcher, query, text, last);
    } else if (path == "task") {
        answer.body = task_json(watcher.ask(false), query);
    } else {
        answer.status = 404;
        answer.type = "text/plain; charset=utf-8";
        answer.body = "Not Found\n";
    }
    return answer;
}

}  // namespace

void console(std::ostream& out, int pid, const TakeOptions& take, int port) {
    take_memory_in_large_pieces();
    const int ends = end_signals();
    Watcher watcher(pid, take);
    PageServer server(port);
    out << server.url() << std::endl;
    if (!out) throw Failure(std::string("the output failed: ") + std::strerror(errno));
    Last last;
    server.serve(ends, [&](std::string_view path, std::string_view query) {
        return answered(watcher, path, query, last);
    });
    // At once: a look at a large program takes seconds. A thread of it that stands still for that
    // is let go by the system, and counting ends by itself.
    std::_Exit(0);
}

}  // namespace tool
