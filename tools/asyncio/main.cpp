// asyncio: looks into a program that uses libasyncio, from outside, as python -m asyncio ps does.
#include <algorithm>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iostream>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <unistd.h>

#include "console.hpp"
#include "core.hpp"
#include "inspect/output.hpp"
#include "process.hpp"
#include "remote.hpp"
#include "taking.hpp"
#include "top.hpp"
#include "trace.hpp"

namespace {

constexpr const char* kUsage =
    "usage: asyncio ps|pstree PID             the tasks of a process, and where they wait\n"
    "       asyncio stack TASK PID            the frames of one, by its name or id\n"
    "       asyncio lost PID                  those that nothing can wake any more\n"
    "       asyncio top PID                   what each costs, once a second, until Ctrl-C\n"
    "       asyncio console PID               all of that as a web page, until Ctrl-C\n"
    "       asyncio trace PID                 each step for a while, for ui.perfetto.dev\n"
    "       asyncio metrics PID               figures of its loops, as OpenMetrics text\n"
    "       asyncio ps|pstree core FILE [PROGRAM]\n"
    "       asyncio stack TASK core FILE [PROGRAM]\n"
    "       asyncio ps|pstree|stack TASK|metrics|console SOCKET\n"
    "                                         of a program that serves there, a path with a slash\n"
    "options:\n"
    "  --json         as one JSON object (docs/inspect.md)\n"
    "  --filter TEXT  only tasks in whose name, place, state or wait TEXT occurs\n"
    "  --loop N       only loop N\n"
    "  --all          the library's own frames, too\n"
    "  --seconds S    of top: how long between two looks, at most 20 (1); of trace: for how long "
    "(5)\n"
    "  --output FILE  of trace: where it is written (standard output)\n"
    "  --times N      of top: how many looks\n"
    "  --rows N       of top: how many tasks of each loop (20)\n"
    "  --port N       of console: where the page is on 127.0.0.1 (one that is free)\n"
    "  --stop         stop the threads of running loops for the reading at once\n"
    "  --no-stop      never stop one, though the answer may then be wrong\n"
    "  --retries N    tries before a thread is stopped (3)\n";

struct Command {
    std::string name;
    std::string task;
    int pid = 0;
    std::string core;
    std::string program;
    std::string socket;
    bool json = false;
    tool::ShowOptions show;
    tool::TakeOptions take;
    tool::TopOptions top;
    int port = 0;
    std::optional<double> seconds;
    std::string output;
};

[[noreturn]] void wrong(const std::string& why) { throw tool::Failure(why + "\n" + kUsage); }

template <class N>
N number(const std::string& text, const char* what) {
    N n{};
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), n);
    if (error != std::errc() || end != text.data() + text.size() || n < N{}) {
        wrong(tool::printable(text) + " is no " + what);
    }
    return n;
}

double seconds(const std::string& text) {
    constexpr double kLeast = 0.01, kMost = 20;
    double s = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), s);
    const bool right = error == std::errc() && end == text.data() + text.size();
    if (!right || !(s >= kLeast && s <= kMost)) {
        wrong(tool::printable(text) + " is no number of seconds from 0.01 to 20");
    }
    return s;
}

int port(const std::string& text) {
    constexpr int kLast = 65535;
    const int n = number<int>(text, "port");
    if (n > kLast) wrong(tool::printable(text) + " is no port");
    return n;
}

Command parse(std::vector<std::string> arguments) {
    Command command;
    std::vector<std::string> plain;
    for (std::size_t i = 0; i < arguments.size(); ++i) {
        const std::string& a = arguments[i];
        const auto following = [&]() -> const std::string& {
            if (++i == arguments.size()) wrong(a + " needs a value");
            return arguments[i];
        };
        if (a == "--json") {
            command.json = true;
        } else if (a == "--all") {
            command.show.all = true;
        } else if (a == "--stop") {
            command.take.stop = true;
        } else if (a == "--no-stop") {
            command.take.no_stop = true;
        } else if (a == "--filter") {
            command.show.filter = following();
        } else if (a == "--loop") {
            command.show.loop = number<std::uint64_t>(following(), "number of a loop");
        } else if (a == "--retries") {
            command.take.retries = number<int>(following(), "number of tries");
        } else if (a == "--seconds") {
            command.seconds = seconds(following());
        } else if (a == "--output" || a == "-o") {
            command.output = following();
        } else if (a == "--times") {
            command.top.times = number<std::uint64_t>(following(), "number of looks");
        } else if (a == "--rows") {
            command.top.rows = number<std::size_t>(following(), "number of tasks");
        } else if (a == "--port") {
            command.port = port(following());
        } else if (a.starts_with("--")) {
            wrong("unknown option " + tool::printable(a));
        } else {
            plain.push_back(a);
        }
    }
    std::size_t next = 0;
    const auto take = [&](const char* what) {
        if (next == plain.size()) wrong(std::string("missing: ") + what);
        return plain[next++];
    };
    command.name = take("a command");
    if (command.name != "ps" && command.name != "pstree" && command.name != "stack" &&
        command.name != "top" && command.name != "lost" && command.name != "trace" &&
        command.name != "metrics" && command.name != "console") {
        wrong("unknown command " + tool::printable(command.name));
    }
    if (command.name == "stack") command.task = take("the name or id of a task");
    const std::string target = take("the process");
    if (target == "core") {
        if (command.name != "ps" && command.name != "pstree" && command.name != "stack") {
            wrong(command.name + " looks at a process that runs");
        }
        command.core = take("the core file");
        if (next < plain.size()) command.program = plain[next++];
    } else if (target.find('/') != target.npos) {
        if (command.name == "top" || command.name == "lost" || command.name == "trace") {
            wrong(command.name + " looks at a process");
        }
        command.socket = target;
    } else {
        command.pid = number<int>(target, "process id");
        if (command.pid == 0) wrong("0 is no process id");
    }
    if (next < plain.size()) wrong("too much: " + tool::printable(plain[next]));
    return command;
}

void check(const std::ostream& out) {
    if (!out) throw tool::Failure(std::string("the output failed: ") + std::strerror(errno));
}

int run_top(const Command& command) {
    tool::TopOptions options = command.top;
    options.json = command.json;
    options.seconds = command.seconds.value_or(options.seconds);
    options.clear = !command.json && ::isatty(STDOUT_FILENO) != 0;
    tool::Live live(command.pid);
    const bool right = tool::top(std::cout, live, command.take, command.show, options);
    check(std::cout);
    return right ? 0 : 2;
}

int run_lost(const Command& command) {
    std::vector<tool::Address> lost;
    const tool::Snapshot snapshot = tool::Live(command.pid).take_lost(command.take, lost);
    tool::ShowOptions show = command.show;
    show.only.emplace(lost.begin(), lost.end());
    bool right = true;
    for (const tool::Loop& loop : snapshot.loops) right = right && !loop.torn;
    if (command.json) {
        tool::print_json(std::cout, snapshot, show);
    } else if (lost.empty()) {
        std::cout << "no task is lost\n";
    } else {
        tool::print_table(std::cout, snapshot, show);
    }
    std::cout.flush();
    check(std::cout);
    return right ? 0 : 2;
}

volatile std::sig_atomic_t interrupted = 0;

// Until its time is over, or Ctrl-C: what was read until then is a whole picture.
int run_trace(const Command& command) {
    tool::TraceOptions options;
    options.seconds = command.seconds.value_or(options.seconds);
    options.loop = command.show.loop;
    tool::Live live(command.pid);
    std::ofstream file;
    if (!command.output.empty()) {
        file.open(command.output, std::ios::binary | std::ios::trunc);
        if (!file) {
            throw tool::Failure(tool::printable(command.output) + ": " + std::strerror(errno));
        }
    }
    std::ostream& out = command.output.empty() ? std::cout : file;
    std::signal(SIGINT, [](int) { interrupted = 1; });
    const tool::Traced traced =
        tool::trace(out, live, command.pid, options, [] { return interrupted != 0; });
    out.flush();
    check(out);
    if (!traced.ended.empty()) std::fprintf(stderr, "asyncio: %s\n", traced.ended.c_str());
    if (traced.steps == 0) std::fputs("asyncio: nothing ran meanwhile\n", stderr);
    if (traced.lost == 0) return 0;
    std::fprintf(stderr, "asyncio: %llu steps came faster than they could be read\n",
                 static_cast<unsigned long long>(traced.lost));
    return 2;
}

int run_metrics(const Command& command) {
    const tool::Snapshot snapshot = tool::Live(command.pid).take_states();
    tool::print_metrics(std::cout, snapshot);
    std::cout.flush();
    check(std::cout);
    return 0;
}

// What the program prints of itself. A line of it has no more control characters than one of ours.
int run_remote(const Command& command) {
    std::string target = command.name + "?filter=" + tool::encode_query(command.show.filter);
    if (!command.task.empty()) target += "&task=" + tool::encode_query(command.task);
    if (command.show.loop) target += "&loop=" + std::to_string(*command.show.loop);
    if (command.show.all) target += "&all=1";
    if (command.json) target += "&json=1";
    const tool::PageAnswer answer = tool::ask(command.socket, target);
    const bool fine = answer.status == 200;
    std::string text;
    for (std::size_t at = 0; at < answer.body.size();) {
        const std::size_t end = std::min(answer.body.find('\n', at), answer.body.size());
        text += tool::printable(std::string_view(answer.body).substr(at, end - at)) + '\n';
        at = end + 1;
    }
    if (!fine) throw tool::Failure(text.substr(0, text.find('\n')));
    std::cout << text;
    std::cout.flush();
    check(std::cout);
    return 0;
}

int run(const Command& command) {
    if (!command.socket.empty() && command.name != "console") return run_remote(command);
    if (command.name == "trace") return run_trace(command);
    if (command.name == "metrics") return run_metrics(command);
    if (command.name == "top") return run_top(command);
    if (command.name == "lost") return run_lost(command);
    if (command.name == "console") {
        if (command.socket.empty()) {
            tool::console(std::cout, command.pid, command.take, command.port);
        } else {
            tool::console(std::cout, command.socket, command.port);
        }
        return 0;
    }
    tool::Snapshot snapshot = command.core.empty() ? tool::Live(command.pid).take(command.take)
                                                   : tool::take_core(command.core, command.program);
    if (command.core.empty()) tool::name_connections(snapshot, tool::Process(command.pid));
    bool torn = false;
    for (const tool::Loop& loop : snapshot.loops) torn |= loop.torn;
    if (command.json) {
        tool::print_json(std::cout, snapshot, command.show);
    } else if (command.name == "ps") {
        tool::print_table(std::cout, snapshot, command.show);
    } else if (command.name == "pstree") {
        tool::print_tree(std::cout, snapshot, command.show);
    } else if (!tool::print_stack(std::cout, snapshot, command.task, command.show)) {
        throw tool::Failure("no task is called " + tool::printable(command.task));
    }
    std::cout.flush();
    check(std::cout);
    return torn ? 2 : 0;
}

}  // namespace

// 0: done. 1: it could not be, and a sentence says why. 2: a loop ran while it was read, so that
// what was printed may be wrong.
int main(int argc, char** argv) {
    const std::vector<std::string> arguments(argv + 1, argv + argc);
    if (arguments.size() == 1 && (arguments[0] == "--help" || arguments[0] == "help")) {
        std::fputs(kUsage, stdout);
        return 0;
    }
    try {
        return run(parse(arguments));
    } catch (const tool::Failure& e) {
        std::fprintf(stderr, "asyncio: %s\n", e.what());
    } catch (const std::bad_alloc&) {
        std::fputs("asyncio: out of memory\n", stderr);
    }
    return 1;
}
