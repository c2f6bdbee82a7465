// Runs shell commands, a few at a time, and shows how they are doing.
//
//   parallel_commands [-j N] COMMAND...      (or one command a line on standard input)
//
// On a terminal the table is drawn again as things change; else each command is a line when it has
// ended. The exit status is 1 if a command failed. Ctrl-C ends what runs.
#include <asyncio.hpp>

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

struct Command {
    enum class State { kWaiting, kRunning, kDone, kFailed };
    std::string text;
    State state = State::kWaiting;
    Clock::time_point start{};
    Clock::time_point end{};
    std::string last_line;  // of its output

    double seconds() const {
        const auto until = state == State::kRunning ? Clock::now() : end;  // both 0 before
        return std::chrono::duration<double>(until - start).count();
    }
};

void print_row(const Command& c) {
    static constexpr const char* kNames[] = {"waiting", "running", "done", "failed"};
    std::printf("%-8s %7.2fs  %-30.30s  %-30.30s\n", kNames[static_cast<int>(c.state)], c.seconds(),
                c.text.c_str(), c.last_line.c_str());
}

// Runs one command when its turn has come, and notes what it says and how it ended.
asyncio::Coroutine<> run(Command& command, asyncio::Semaphore& at_once, bool live) {
    auto guard = co_await at_once.scoped();
    asyncio::SubprocessOptions options{.stdin_ = asyncio::subprocess::DEVNULL};
    options.stdout_ = asyncio::subprocess::PIPE;
    options.stderr_ = asyncio::subprocess::STDOUT;
    command.start = Clock::now();
    command.state = Command::State::kRunning;
    auto process = co_await asyncio::create_subprocess_shell(command.text, options);
    std::string piece;  // not lines: one could be longer than the reader's limit
    while (!(piece = co_await process.stdout_.read(4096)).empty()) {
        const auto end = piece.find_last_not_of('\n');
        if (end == std::string::npos) continue;
        const auto begin = piece.find_last_of('\n', end) + 1;  // npos + 1 is 0
        command.last_line = piece.substr(begin, end + 1 - begin);
    }
    const int code = co_await process.wait();
    command.end = Clock::now();
    command.state = code == 0 ? Command::State::kDone : Command::State::kFailed;
    if (code != 0 && command.last_line.empty()) {
        command.last_line = "status " + std::to_string(code);
    }
    if (!live) print_row(command);
}

// Draws the table over the one before, ten times a second, until it is cancelled.
asyncio::Coroutine<> draw(const std::vector<Command>& commands) {
    while (true) {
        for (const Command& c : commands) {
            std::printf("\033[K");
            print_row(c);
        }
        std::fflush(stdout);
        co_await asyncio::sleep(100ms);
        std::printf("\033[%zuA", commands.size());
    }
}

asyncio::Coroutine<> program(std::ptrdiff_t n, std::vector<std::string> texts) {
    if (texts.empty()) {
        auto stdio = co_await asyncio::stdio_streams();
        while (auto line = co_await stdio.stdin_.next()) {
            if (!line->empty() && line->back() == '\n') line->pop_back();
            if (!line->empty()) texts.push_back(*line);
        }
    }
    std::vector<Command> commands;
    for (std::string& t : texts) commands.emplace_back().text = std::move(t);
    const bool live = isatty(STDOUT_FILENO) != 0;
    asyncio::Semaphore at_once{n};

    asyncio::Task<> drawing;
    if (live) drawing = asyncio::create_task(draw(commands));
    co_await asyncio::with(asyncio::TaskGroup{},
                           [&](asyncio::TaskGroup& group) -> asyncio::Coroutine<> {
                               for (Command& c : commands) group.create_task(run(c, at_once, live));
                               co_return;
                           });
    if (live) {
        drawing.cancel();
        std::printf("\033[%zuA", commands.size());
    }
    bool failed = false;
    for (const Command& c : commands) {
        if (live) print_row(c);
        failed = failed || c.state == Command::State::kFailed;
    }
    if (failed) throw asyncio::SystemExit(1);
}

int main(int argc, char** argv) {
    int n = 4;
    std::vector<std::string> texts(argv + 1, argv + argc);
    if (texts.size() >= 2 && texts[0] == "-j") {
        n = std::max(1, std::atoi(texts[1].c_str()));
        texts.erase(texts.begin(), texts.begin() + 2);
    }
    return asyncio::run_main(program(n, std::move(texts)));
}
