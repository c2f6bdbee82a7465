#include "console.hpp"

#include <sys/signalfd.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <ostream>

#include "console_page.hpp"
#include "look_json.hpp"
#include "page_server.hpp"
#include "watcher.hpp"

namespace tool {

namespace {

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

PageAnswer answered(Watcher& watcher, std::string_view path, std::string_view text) {
    if (path.empty()) return page();
    const LookQuery query = read_query(text);
    PageAnswer answer;
    if (path == "data") {
        const bool sockets = query.view == "sockets" || query.view == "all";
        answer.body = look_json(watcher.process(), watcher.ask(sockets), query);
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
    const int ends = end_signals();
    Watcher watcher(pid, take);
    PageServer server(port);
    out << server.url() << std::endl;
    if (!out) throw Failure(std::string("the output failed: ") + std::strerror(errno));
    server.serve(ends, [&](std::string_view path, std::string_view query) {
        return answered(watcher, path, query);
    });
    // At once: a look at a large program takes seconds. A thread of it that stands still for that
    // is let go by the system, and counting ends by itself.
    std::_Exit(0);
}

}  // namespace tool
