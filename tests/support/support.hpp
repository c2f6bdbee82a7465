// What the tests of the engine share: a run on virtual time, a count of the loop's iterations, and
// catchers for what goes to the log or to the exception handler.
#pragma once

#include <asyncio/events.hpp>
#include <asyncio/log.hpp>
#include <asyncio/tasks.hpp>

#include <gtest/gtest.h>

#include <cctype>
#include <exception>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace support {

// Which sanitizer the program runs under.
#if defined(__SANITIZE_ADDRESS__)
inline constexpr bool kAddressSanitizer = true;
#elif defined(__has_feature)
inline constexpr bool kAddressSanitizer = __has_feature(address_sanitizer);
#else
inline constexpr bool kAddressSanitizer = false;
#endif
#if defined(__SANITIZE_THREAD__)
inline constexpr bool kThreadSanitizer = true;
#elif defined(__has_feature)
inline constexpr bool kThreadSanitizer = __has_feature(thread_sanitizer);
#else
inline constexpr bool kThreadSanitizer = false;
#endif

// To be said where a test leaves the process without descriptors: to look at memory, the check of
// an object's class opens a pipe, and it takes a failure of that for a bad object.
inline constexpr const char* kNeedsDescriptors = "the sanitizer needs descriptors itself";

using Lines = std::vector<std::string>;

// Set in a thread of the test's own: no block that it takes is refused (counted_new.hpp).
inline thread_local bool always_has_memory = false;

// Runs `main` to its end on a new loop with virtual time, closes the loop, returns the result.
template <class A>
auto run_virtual(A&& main) {
    const auto loop = asyncio::VirtualTimeEventLoop::create();
    return loop->run_until_complete(std::forward<A>(main));
}

// The message of the exception of class E (or one derived from it) that `fn` throws. A test fails
// if there is none or another one.
template <class E, class F>
std::string raised(F&& fn) {
    try {
        std::forward<F>(fn)();
    } catch (const E& e) {
        return e.what();
    } catch (...) {
        // Not what was expected: that is what the test says, and goes on.
        ADD_FAILURE() << "raised " << asyncio::detail::describe(std::current_exception());
        return "another exception";
    }
    ADD_FAILURE() << "raised nothing";
    return "nothing";
}

// The same for what a Result holds.
template <class E, class T>
std::string error_text(const asyncio::Result<T>& result) {
    if (const E* e = asyncio::detail::find<E>(result.error())) return e->what();
    ADD_FAILURE() << "holds " << asyncio::detail::describe(result.error());
    return "another exception";
}

// `text` with every `some/path/file.cpp:12` replaced by `FILE:LINE`: compilers give different lines
// for one place.
inline std::string masked(std::string text) {
    for (std::size_t dot = text.find("pp:"); dot != std::string::npos;
         dot = text.find("pp:", dot)) {
        std::size_t end = dot + 3;
        while (end < text.size() && std::isdigit(static_cast<unsigned char>(text[end]))) ++end;
        const std::size_t before = text.find_last_of(" \"=([", dot);
        const std::size_t begin = before == std::string::npos ? 0 : before + 1;
        text.replace(begin, end - begin, "FILE:LINE");
        dot = begin + 9;
    }
    return text;
}

// Counts iterations of a loop by a callback that queues itself again. While it counts there is
// always something ready, so virtual time stands still.
class Iterations {
  public:
    explicit Iterations(asyncio::EventLoop& loop) : loop_(loop) { arm(); }
    Iterations(const Iterations&) = delete;
    Iterations& operator=(const Iterations&) = delete;
    ~Iterations() { handle_.cancel(); }
    int count() const { return count_; }
    // How many since the last call of this, or since the start.
    int passed() { return count_ - std::exchange(mark_, count_); }

  private:
    void arm() {
        handle_ = loop_.call_soon([this] {
            ++count_;
            arm();
        });
    }
    asyncio::EventLoop& loop_;
    asyncio::Handle handle_;
    int count_ = 0;
    int mark_ = 0;
};

// What is logged while this lives, in place of standard error.
class LogCapture {
  public:
    LogCapture() : previous_(asyncio::log::set_sink(&LogCapture::write)) {
        const std::lock_guard lock(mutex());
        kept().clear();
    }
    LogCapture(const LogCapture&) = delete;
    LogCapture& operator=(const LogCapture&) = delete;
    ~LogCapture() { asyncio::log::set_sink(previous_); }

    // Messages of at least `level`.
    Lines lines(asyncio::log::Level level = asyncio::log::Level::WARNING) const {
        const std::lock_guard lock(mutex());
        Lines found;
        for (const auto& [l, text] : kept()) {
            if (l >= level) found.push_back(text);
        }
        return found;
    }
    // All of them, one a line.
    std::string text() const {
        std::string all;
        for (const std::string& line : lines()) all += line + '\n';
        return all;
    }

  private:
    using Kept = std::vector<std::pair<asyncio::log::Level, std::string>>;
    static void write(asyncio::log::Level level, std::string_view message) {
        const std::lock_guard lock(mutex());
        kept().emplace_back(level, std::string(message));
    }
    static std::mutex& mutex() {
        static std::mutex m;
        return m;
    }
    static Kept& kept() {
        static Kept k;
        return k;
    }
    asyncio::log::Sink previous_;
};

// What goes to the exception handler of a loop while this lives.
class ErrorCapture {
  public:
    explicit ErrorCapture(asyncio::EventLoop& loop) : kept_(std::make_shared<Lines>()) {
        loop.set_exception_handler(
            [kept = kept_](asyncio::EventLoop&, const asyncio::ExceptionContext& context) {
                std::string line = context.message;
                if (context.exception) line += ": " + asyncio::detail::describe(context.exception);
                kept->push_back(masked(line));
            });
    }
    const Lines& lines() const { return *kept_; }

  private:
    std::shared_ptr<Lines> kept_;
};

}  // namespace support
