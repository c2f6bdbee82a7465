// tail_follow FILE: prints what is appended to a file, as `tail -F` does: also after the file was
// truncated, written anew, or replaced by another one, as when logs are rotated, and when it is
// reached by a symbolic link. A file that is not there is waited for.
//
// On a terminal control characters are shown as \x1b, so that a log cannot act on it.
#include <asyncio.hpp>

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <iterator>
#include <string>
#include <string_view>

#include "command_line.hpp"

using asyncio::Coroutine;
using asyncio::File;
using namespace std::chrono_literals;

namespace {

// More than one line at a time, so that a busy log costs few calls; little enough to keep.
constexpr std::size_t kBlock = 64 * 1024;
// So much of what was read last is kept, to see whether it is still there.
constexpr std::int64_t kMark = 1024;
// A file that is not there has nothing to watch, and its folder may be missing too: it is tried
// again, often enough for a reader, and silently at first, since rotating a log takes a moment.
constexpr auto kPause = 100ms;
constexpr int kSilentTries = 10;

// Line by line: their ends are no control characters here.
std::string shown(std::string_view text) {
    std::string lines;
    while (!text.empty()) {
        const std::size_t end = std::min(text.find_first_of("\n\t"), text.size());
        lines += command::printable(text.substr(0, end));
        lines += text.substr(end, 1);
        text.remove_prefix(std::min(end + 1, text.size()));
    }
    return lines;
}

void print(const std::string& text) {
    static const bool terminal = ::isatty(STDOUT_FILENO) == 1;
    command::say(terminal ? shown(text) : text);
}

void warn(const std::string& what) { std::fprintf(stderr, "tail_follow: %s\n", what.c_str()); }

// A file that is followed: the bytes before its position were printed, or were there before.
class Log {
  public:
    explicit Log(File file) : file_(file) {}

    const File& file() const { return file_; }
    // From the end on.
    Coroutine<> skip() {
        position_ = (co_await file_.stat()).size;
        const std::int64_t begin = std::max<std::int64_t>(position_ - kMark, 0);
        mark_ = co_await file_.pread(static_cast<std::size_t>(position_ - begin), begin);
    }
    // A file that was emptied may be as long as before by now: then what was read last is no longer
    // before the position. It is read with what follows, since the file may be emptied in between.
    // (What begins with the same bytes cannot be told from what was appended.)
    Coroutine<> print_what_is_new() {
        while (true) {
            const std::int64_t begin = position_ - std::ssize(mark_);
            std::string text = co_await file_.pread(mark_.size() + kBlock, begin);
            if (!text.starts_with(mark_)) {
                warn("file truncated");
                mark_.clear();
                position_ = 0;
                continue;
            }
            text.erase(0, mark_.size());
            if (text.empty()) break;
            print(text);
            position_ += std::ssize(text);
            mark_ += text;
            if (std::ssize(mark_) > kMark)
                mark_.erase(0, mark_.size() - static_cast<std::size_t>(kMark));
        }
    }

  private:
    File file_;
    std::int64_t position_ = 0;
    std::string mark_;
};

// Opening a FIFO would wait for who writes to it.
// Raises: FileNotFoundError and its kin; OSError for what is no regular file.
Coroutine<File> open_log(std::string path) {
    auto look = [path] {
        std::error_code ignored;  // open_file says it better
        const auto type = std::filesystem::status(path, ignored).type();
        return type != std::filesystem::file_type::fifo &&
               type != std::filesystem::file_type::character;
    };
    if (!co_await asyncio::to_thread(look)) {
        throw asyncio::OSError(EINVAL, "Not a regular file", path);
    }
    co_return co_await asyncio::open_file(path);
}

Coroutine<bool> is_same(File a, File b) {
    const asyncio::FileStat one = co_await a.stat();
    const asyncio::FileStat other = co_await b.stat();
    co_return one.inode == other.inode&& one.device == other.device;
}

bool is_missing(const asyncio::Result<File>& opened) {
    return opened.holds<asyncio::FileNotFoundError>() ||
           opened.holds<asyncio::NotADirectoryError>();
}

// The file at `path`, when there is one. `changes` watches it from before it was opened.
Coroutine<File> await_file(std::string path, asyncio::AsyncGenerator<asyncio::FileEvent>& changes) {
    for (int tries = 0;; ++tries) {
        changes = asyncio::watch(path);
        auto opened = co_await asyncio::as_result(open_log(path));
        if (!is_missing(opened)) co_return opened.value();
        if (tries == kSilentTries) {
            try {
                opened.value();
            } catch (const asyncio::OSError& error) {
                warn(std::string(error.what()) + ": waiting for it");
            }
        }
        co_await asyncio::sleep(kPause);
    }
}

Coroutine<> follow(std::string path) {
    auto changes = asyncio::watch(path);
    // What is there already was read by others. What comes later is printed from its beginning.
    auto opened = co_await asyncio::as_result(open_log(path));
    File file;
    if (is_missing(opened)) {
        file = co_await await_file(path, changes);
    } else {
        file = opened.value();
    }
    Log log(file);
    if (!is_missing(opened)) co_await log.skip();
    while (true) {
        co_await log.print_what_is_new();
        while (true) {
            const auto change = co_await asyncio::as_result(changes.next());
            // It may have vanished between the two, and been there when it was opened.
            const bool over = change.holds<asyncio::FileNotFoundError>() || !change.value();
            co_await log.print_what_is_new();
            if (over) break;
        }
        const File found = co_await await_file(path, changes);
        if (!co_await is_same(log.file(), found)) log = Log(found);
    }
}

}  // namespace

int main(int argc, char** argv) {
    return command::run("tail_follow FILE", argc, argv, [](const command::Arguments& words) {
        words.expect(1, 1);
        return follow(words[0]);
    });
}
