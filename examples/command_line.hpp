// What the examples have in common as commands: arguments are checked before anything begins, what
// cannot be printed is an error, Ctrl-C ends the program however it was started, and what comes
// from others is made harmless before a terminal sees it.
#pragma once

#include <asyncio.hpp>

#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstddef>
#include <cstdio>
#include <exception>
#include <sstream>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace command {

// Wrong arguments: the message is followed by the usage.
class UsageError : public asyncio::ValueError {
  public:
    using ValueError::ValueError;
};

// The words behind the program's name.
class Arguments {
  public:
    Arguments(int argc, char** argv) : words_(argv + (argc > 0 ? 1 : 0), argv + argc) {}

    std::size_t size() const { return words_.size(); }
    const std::string& operator[](std::size_t i) const { return words_[i]; }
    const std::vector<std::string>& words() const { return words_; }

    // Raises: UsageError if there are fewer or more.
    void expect(std::size_t least, std::size_t most) const {
        if (size() < least) throw UsageError("an argument is missing");
        if (size() > most) throw UsageError("'" + words_[most] + "' is one argument too many");
    }
    // Argument `i` as a number, or `otherwise` if there is none.
    // Raises: UsageError if it is no whole number of that range.
    int number(std::size_t i, const char* what, int least, int most, int otherwise) const {
        return i < size() ? to_number(what, words_[i], least, most) : otherwise;
    }
    // The same for a number that may have decimals: more than 0, at most a billion.
    double decimal(std::size_t i, const char* what, double otherwise) const {
        if (i >= size()) return otherwise;
        const std::string& text = words_[i];
        double value = 0;
        const auto parsed = std::from_chars(text.data(), text.data() + text.size(), value);
        const bool whole = parsed.ec == std::errc() && parsed.ptr == text.data() + text.size();
        if (whole && value > 0 && value <= 1e9) return value;
        throw UsageError(std::string(what) + " is a number above 0, not '" + text + "'");
    }
    int port(std::size_t i, int otherwise) const { return number(i, "PORT", 0, 65535, otherwise); }

    static int to_number(const char* what, std::string_view text, int least, int most) {
        int value = 0;
        const auto parsed = std::from_chars(text.data(), text.data() + text.size(), value);
        const bool whole = parsed.ec == std::errc() && parsed.ptr == text.data() + text.size();
        if (whole && value >= least && value <= most) return value;
        throw UsageError(std::string(what) + " is a number from " + std::to_string(least) + " to " +
                         std::to_string(most) + ", not '" + std::string(text) + "'");
    }

  private:
    std::vector<std::string> words_;
};

// Prints all of it at once. Raises: OSError if standard output does not take it: a full disk, a
// closed descriptor.
template <class... Parts>
void say(const Parts&... parts) {
    std::ostringstream text;
    (text << ... << parts);
    const std::string all = text.str();
    const bool written = std::fwrite(all.data(), 1, all.size(), stdout) == all.size();
    if (!written || std::fflush(stdout) != 0) {
        const int error = errno;
        std::clearerr(stdout);
        const std::string why = std::generic_category().message(error);
        std::rethrow_exception(asyncio::make_os_error(error, "standard output: " + why));
    }
}

// A text of somebody else's, for a terminal: control characters, also those of two bytes in UTF-8
// (C2 80 to C2 9F), and what is no UTF-8, become `\x1b`; the rest stays as it is.
inline std::string printable(std::string_view text) {
    static constexpr char kDigits[] = "0123456789abcdef";
    const auto byte_at = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
    // Bytes of the character that begins at `i`; 0 if none does.
    const auto length_at = [&](std::size_t i) -> std::size_t {
        const unsigned first = byte_at(i);
        const std::size_t n = first < 0x80                     ? 1
                              : first >= 0xC2 && first < 0xE0  ? 2
                              : first >= 0xE0 && first < 0xF0  ? 3
                              : first >= 0xF0 && first <= 0xF4 ? 4
                                                               : 0;
        if (n == 0 || i + n > text.size()) return 0;
        for (std::size_t k = 1; k < n; ++k) {
            if ((byte_at(i + k) & 0xC0) != 0x80) return 0;
        }
        return n;
    };
    std::string shown;
    for (std::size_t i = 0; i < text.size();) {
        const std::size_t n = length_at(i);
        const unsigned first = byte_at(i);
        const bool control =
            first < 0x20 || first == 0x7F || (n == 2 && first == 0xC2 && byte_at(i + 1) < 0xA0);
        if (n > 0 && !control) {
            shown += text.substr(i, n);
            i += n;
            continue;
        }
        for (std::size_t k = n > 0 ? n : 1; k > 0; --k, ++i) {
            shown += "\\x";
            shown += kDigits[byte_at(i) >> 4];
            shown += kDigits[byte_at(i) & 15];
        }
    }
    return shown;
}

// The first `columns` characters of a text, none cut in two; "..." stands for what is left out.
// Counts a character as a column, as most are.
inline std::string fitted(const std::string& text, std::size_t columns) {
    std::size_t seen = 0;
    std::size_t cut = 0;  // where the last character that leaves room for the dots ends
    for (std::size_t i = 0; i < text.size(); ++i) {
        if ((static_cast<unsigned char>(text[i]) & 0xC0) == 0x80) continue;
        if (seen + 3 == columns) cut = i;
        if (++seen > columns) return columns < 3 ? text.substr(0, 0) : text.substr(0, cut) + "...";
    }
    return text;
}

// Columns and lines of the terminal that is standard output; 80 and 24 if it does not say.
struct Terminal {
    std::size_t columns = 80;
    std::size_t lines = 24;

    static Terminal now() {
        winsize size{};
        Terminal t;
        if (::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0) return t;
        if (size.ws_col > 0) t.columns = size.ws_col;
        if (size.ws_row > 0) t.lines = size.ws_row;
        return t;
    }
};

// All of them at once; returns their results. As asyncio::gather, but when one fails the others are
// cancelled and have ended before its error is raised: so they may refer to what the caller owns.
template <class T>
asyncio::Coroutine<std::vector<T>> together(std::vector<asyncio::Coroutine<T>> parts) {
    std::vector<asyncio::Task<T>> tasks;
    auto begin = [&](asyncio::TaskGroup& group) -> asyncio::Coroutine<> {
        for (auto& part : parts) tasks.push_back(group.create_task(std::move(part)));
        co_return;
    };
    try {
        co_await asyncio::with(asyncio::TaskGroup{}, begin);
    } catch (const asyncio::ExceptionGroup& errors) {
        std::rethrow_exception(errors.exceptions().front());
    }
    std::vector<T> results;
    for (auto& task : tasks) results.push_back(task.result());
    co_return results;
}

// Calls `program(arguments)`, which checks them and gives the coroutine to run; returns the
// program's status. --help, and arguments that are refused: the usage, and status 2.
template <class Program>
int run(const char* usage, int argc, char** argv, Program program) {
    // A shell starts what runs in the background with SIGINT ignored.
    std::signal(SIGINT, SIG_DFL);
    const Arguments arguments(argc, argv);
    try {
        const std::string first = arguments.size() > 0 ? arguments[0] : "";
        if (first == "--help" || first == "-h") throw UsageError("");
        return asyncio::run_main(program(arguments));
    } catch (const UsageError& error) {
        if (*error.what()) std::fprintf(stderr, "%s\n", error.what());
        std::fprintf(stderr, "usage: %s\n", usage);
        return 2;
    }
}

}  // namespace command
