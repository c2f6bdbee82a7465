// Runs shell commands, a few at a time, and shows how they are doing.
//
//   parallel_commands [-j N] COMMAND...      (or one command a line on standard input)
//
// A command is a line when it has ended. On a terminal those that run are shown below, drawn again
// as things change; what does not fit on it is cut. The exit status is 1 if a command failed.
// Ctrl-C ends what runs.
#include <asyncio.hpp>

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include "command_line.hpp"

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

namespace {

constexpr std::size_t kLongestLine = 4096;  // bytes of a command's output that are kept

struct Command {
    enum class State { kWaiting, kRunning, kDone, kFailed };
    std::string text;
    State state = State::kWaiting;
    Clock::time_point start{};
    Clock::time_point end{};
    std::string last_line;  // of its output

    double seconds() const {
        const auto until = state == State::kRunning ? Clock::now() : end;
        return std::chrono::duration<double>(until - start).count();
    }
};

// What a command is and does, in `columns` columns (0: as long as it is). Names and output are
// somebody else's: no control character reaches the terminal.
std::string row(const Command& c, std::size_t columns) {
    static constexpr const char* kNames[] = {"waiting", "running", "done", "failed"};
    char begin[32];
    std::snprintf(begin, sizeof begin, "%-8s%8.2fs  ", kNames[static_cast<int>(c.state)],
                  c.seconds());
    const std::string text = command::printable(c.text);
    const std::string last = command::printable(c.last_line);
    if (columns == 0) return begin + text + (last.empty() ? "" : "  " + last) + "\n";
    const std::size_t left = columns - std::min(columns, std::string_view(begin).size() + 2);
    std::string name = command::fitted(text, left / 2);
    const auto shown = std::ranges::count_if(name, [](char byte) { return (byte & 0xC0) != 0x80; });
    name.append(left / 2 - static_cast<std::size_t>(shown), ' ');
    return command::fitted(begin + name + "  " + command::fitted(last, left - left / 2), columns) +
           "\n";
}

// Shows what has ended, above what runs.
class Table {
  public:
    explicit Table(const std::vector<Command>& commands) : commands_(commands) {}

    void ended(const Command& c) {
        if (!live_) return command::say(row(c, 0));
        draw(row(c, columns()));
    }
    // Draws ten times a second, until it is cancelled.
    asyncio::Coroutine<> run() {
        while (live_) {
            draw("");
            co_await asyncio::sleep(100ms);
        }
    }
    void close() {
        if (live_) command::say(over_the_last());
    }

  private:
    // The last column stays free: some terminals begin a new line with it.
    static std::size_t columns() {
        return std::max<std::size_t>(command::Terminal::now().columns, 2) - 1;
    }

    // Back to where the last picture began, and clears it.
    std::string over_the_last() {
        const std::size_t lines = std::exchange(drawn_, 0);
        return (lines > 0 ? "\033[" + std::to_string(lines) + "A" : "") + "\r\033[J";
    }
    // `above` stays; below come those that run, as many as the terminal has lines for.
    void draw(const std::string& above) {
        std::string picture = over_the_last() + above;
        const std::size_t room = std::max<std::size_t>(command::Terminal::now().lines, 3) - 2;
        std::size_t hidden = 0;
        std::size_t waiting = 0;
        for (const Command& c : commands_) {
            if (c.state == Command::State::kWaiting) ++waiting;
            if (c.state != Command::State::kRunning) continue;
            if (drawn_ == room) {
                ++hidden;
                continue;
            }
            picture += row(c, columns());
            ++drawn_;
        }
        if (waiting + hidden > 0) {
            picture += command::fitted(std::to_string(waiting) + " waiting, " +
                                           std::to_string(hidden) + " more running",
                                       columns()) +
                       "\n";
            ++drawn_;
        }
        command::say(picture);
    }

    const std::vector<Command>& commands_;
    const bool live_ = ::isatty(STDOUT_FILENO) == 1;
    std::size_t drawn_ = 0;  // lines of the last picture
};

// Notes the last line of what a command says, however it comes in pieces.
class LastLine {
  public:
    explicit LastLine(std::string& line) : line_(line) {}
    void add(std::string_view piece) {
        for (const char c : piece) {
            if (c == '\n' || c == '\r') {
                begins_ = true;
                continue;
            }
            if (std::exchange(begins_, false)) {
                line_.clear();
                full_ = false;
            }
            // Where it is cut, no character is cut in two.
            const bool inside = (c & 0xC0) == 0x80 && !full_;
            full_ = line_.size() >= kLongestLine && !inside;
            if (!full_) line_ += c;
        }
    }

  private:
    std::string& line_;
    bool begins_ = true;
    bool full_ = false;
};

// Runs one command when its turn has come, and notes what it says and how it ended.
asyncio::Coroutine<> run(Command& command, asyncio::Semaphore& at_once, Table& table) {
    auto guard = co_await at_once.scoped();
    asyncio::SubprocessOptions options{.stdin_ = asyncio::subprocess::DEVNULL};
    options.stdout_ = asyncio::subprocess::PIPE;
    options.stderr_ = asyncio::subprocess::STDOUT;
    command.start = Clock::now();
    command.state = Command::State::kRunning;
    auto process = co_await asyncio::create_subprocess_shell(command.text, options);
    LastLine last(command.last_line);
    std::string piece;  // not lines: one could be longer than the reader's limit
    while (!(piece = co_await process.stdout_.read(4096)).empty()) last.add(piece);
    const int code = co_await process.wait();
    command.end = Clock::now();
    command.state = code == 0 ? Command::State::kDone : Command::State::kFailed;
    if (code != 0 && command.last_line.empty()) {
        command.last_line = "status " + std::to_string(code);
    }
    table.ended(command);
}

asyncio::Coroutine<std::vector<std::string>> lines_of_standard_input() {
    std::vector<std::string> lines;
    auto stdio = co_await asyncio::stdio_streams();
    while (auto line = co_await stdio.stdin_.next()) {
        while (!line->empty() && (line->back() == '\n' || line->back() == '\r')) line->pop_back();
        if (!line->empty()) lines.push_back(*line);
    }
    co_return lines;
}

asyncio::Coroutine<> program(int n, std::vector<std::string> texts) {
    if (texts.empty()) texts = co_await lines_of_standard_input();
    std::vector<Command> commands;
    for (std::string& t : texts) commands.emplace_back().text = std::move(t);
    Table table(commands);
    asyncio::Semaphore at_once{n};
    auto run_all = [&](asyncio::TaskGroup& group) -> asyncio::Coroutine<> {
        for (Command& c : commands) group.create_task(run(c, at_once, table));
        co_return;
    };
    // One group for both, so that a standard output that fails ends the commands, too.
    auto draw_and_run = [&](asyncio::TaskGroup& group) -> asyncio::Coroutine<> {
        auto drawing = group.create_task(table.run());
        co_await asyncio::with(asyncio::TaskGroup{}, run_all);
        drawing.cancel();
    };
    co_await asyncio::with(asyncio::TaskGroup{}, draw_and_run);
    table.close();
    const bool failed = std::ranges::any_of(
        commands, [](const Command& c) { return c.state == Command::State::kFailed; });
    if (failed) throw asyncio::SystemExit(1);
}

}  // namespace

int main(int argc, char** argv) {
    const char* usage =
        "parallel_commands [-j N] [--] COMMAND...   (or commands on standard input)";
    return command::run(usage, argc, argv, [](const command::Arguments& arguments) {
        std::vector<std::string> words = arguments.words();
        int n = 4;
        while (!words.empty() && words[0].starts_with('-')) {
            const std::string option = words[0];
            words.erase(words.begin());
            if (option == "--") break;
            if (option != "-j") throw command::UsageError("'" + option + "' is no option");
            if (words.empty()) throw command::UsageError("-j wants a number");
            n = command::Arguments::to_number("-j", words[0], 1, 10'000);
            words.erase(words.begin());
        }
        return program(n, std::move(words));
    });
}
