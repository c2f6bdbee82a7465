#include "site.hpp"

#include <algorithm>
#include <charconv>
#include <sstream>

#include "console_page.hpp"
#include "inspect/output.hpp"
#include "look_json.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {
namespace reading {

namespace {

using namespace std::chrono_literals;

PageAnswer plain(int status, std::string text) {
    PageAnswer answer;
    answer.status = status;
    answer.type = "text/plain; charset=utf-8";
    answer.body = std::move(text);
    return answer;
}

// The value of `name` in "a=1&b=2"; empty: it is not there.
std::string value_in(std::string_view query, std::string_view name) {
    while (!query.empty()) {
        std::string_view part = query.substr(0, query.find('&'));
        query.remove_prefix(std::min(part.size() + 1, query.size()));
        const std::size_t equals = std::min(part.find('='), part.size());
        if (part.substr(0, equals) != name) continue;
        part.remove_prefix(std::min(equals + 1, part.size()));
        return decode_query(part);
    }
    return {};
}

}  // namespace

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

Site::Site(int pid, const TakeOptions& take, const HoldLoop& hold)
    : watcher_(pid, take, hold), live_(pid, hold), take_(take) {}

PageAnswer Site::answer(std::string_view path, std::string_view query) {
    if (path.empty()) return page();
    PageAnswer answer;
    if (path == "data") {
        answer.body = data(query);
    } else if (path == "task") {
        answer.body = task_json(watcher_.ask(false), read_query(query));
    } else if (path == "ps" || path == "pstree" || path == "stack" || path == "metrics") {
        return printed(path, query);
    } else {
        return plain(404, "Not Found\n");
    }
    return answer;
}

std::string Site::data(std::string_view text) {
    const LookQuery query = read_query(text);
    const bool sockets = query.view == "sockets" || query.view == "all";
    const State state = watcher_.ask(sockets);
    const auto began = std::chrono::steady_clock::now();
    if (text != last_query_ || began > last_until_) {
        last_answer_ = look_json(watcher_.process(), state, query);
        last_query_ = text;
        const auto now = std::chrono::steady_clock::now();
        last_until_ = now + std::max<std::chrono::steady_clock::duration>(100ms, (now - began) * 4);
    }
    return last_answer_;
}

PageAnswer Site::printed(std::string_view command, std::string_view query) {
    std::ostringstream out;
    if (command == "metrics") {
        print_metrics(out, live_.take_states());
        PageAnswer answer = plain(200, out.str());
        answer.type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
        return answer;
    }
    ShowOptions show;
    show.filter = value_in(query, "filter");
    show.all = value_in(query, "all") == "1";
    if (const std::string loop = value_in(query, "loop"); !loop.empty()) {
        std::uint64_t number = 0;
        const auto [end, error] = std::from_chars(loop.data(), loop.data() + loop.size(), number);
        if (error != std::errc() || end != loop.data() + loop.size()) {
            return plain(400, printable(loop) + " is no number of a loop\n");
        }
        show.loop = number;
    }
    Snapshot snapshot = live_.take(take_);
    name_connections(snapshot, watcher_.process());
    if (command == "stack") {
        const std::string task = value_in(query, "task");
        if (!print_stack(out, snapshot, task, show)) {
            return plain(404, "no task is called " + printable(task) + '\n');
        }
    } else if (value_in(query, "json") == "1") {
        print_json(out, snapshot, show);
        PageAnswer answer;
        answer.body = out.str();
        return answer;
    } else if (command == "ps") {
        print_table(out, snapshot, show);
    } else {
        print_tree(out, snapshot, show);
    }
    return plain(200, out.str());
}

}  // namespace reading
}  // namespace detail
}  // namespace v1
}  // namespace asyncio
