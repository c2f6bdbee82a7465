// What the fuzzers of the public API share: the input, calls whose errors are looked at, and an
// alarm for what does not end. ASYNCIO_FUZZ_TRACE=1 prints each call.
#pragma once

#include <asyncio.hpp>

#include <unistd.h>

#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <iterator>
#include <limits>
#include <string_view>
#include <vector>

namespace fuzz {

using namespace asyncio;
using namespace std::chrono_literals;

// The program's bytes; zeros at its end.
class Input {
  public:
    Input(const std::uint8_t* data, std::size_t size) : at_(data), end_(data + size) {}
    bool empty() const { return at_ == end_; }
    unsigned byte() { return empty() ? 0 : *at_++; }
    unsigned below(unsigned n) { return byte() % n; }

  private:
    const std::uint8_t* at_;
    const std::uint8_t* end_;
};

[[noreturn]] inline void wrong(const char* what, const char* got) {
    std::fprintf(stderr, "%s: %s\n", what, got);
    std::abort();
}

inline void on_alarm(int) { wrong("an input did not end", "hang"); }

inline const bool tracing = std::getenv("ASYNCIO_FUZZ_TRACE") != nullptr;
inline void trace(const char* what) {
    if (tracing) std::fprintf(stderr, "%s\n", what);
}

// An error is one of ours or of the standard's, and says something.
inline void look_at(const std::exception_ptr& error) {
    try {
        std::rethrow_exception(error);
    } catch (const CancelledError&) {
        // Its text may be empty: the message of the cancel.
    } catch (const BaseException& e) {
        if (!e.what()) wrong("no text", "BaseException");
    } catch (const std::exception& e) {
        if (!e.what()) wrong("no text", "exception");
        trace(e.what());
    }
}

template <class F>
void attempt(const char* what, F call) {
    trace(what);
    try {
        call();
    } catch (...) {
        // Any error is right, if it is one.
        look_at(std::current_exception());
    }
}

inline constexpr double kInfinity = std::numeric_limits<double>::infinity();

inline std::int64_t number(Input& in) {
    using L = std::numeric_limits<std::int64_t>;
    static constexpr std::int64_t pool[] = {0,
                                            1,
                                            -1,
                                            2,
                                            3,
                                            7,
                                            std::numeric_limits<int>::max(),
                                            std::numeric_limits<int>::min(),
                                            std::int64_t{1} << 32,
                                            L::max(),
                                            L::min()};
    return pool[in.below(std::size(pool))];
}

// To be called before each input. What a program logs is not looked at.
inline void prepare() {
    static const bool prepared = [] {
        std::signal(SIGALRM, on_alarm);
        log::set_sink([](log::Level, std::string_view) {});
        return true;
    }();
    static_cast<void>(prepared);
    ::alarm(60);
}

// Cancels every task but the caller's until none is left, as run() does at its end; `help` is
// called between, for what only others can end.
template <class F>
Coroutine<> cancel_all(F help) {
    for (int round = 0; round < 1000; ++round) {
        std::vector<AnyTask> left = all_tasks();
        std::erase(left, current_task());
        if (left.empty()) co_return;
        for (const AnyTask& t : left) t.cancel();
        help();
        co_await sleep(0s);
        co_await sleep(0s);
    }
    for (const AnyTask& t : all_tasks()) std::fprintf(stderr, "%s\n", repr(t).c_str());
    wrong("a task does not end", "though it was cancelled a thousand times");
}

}  // namespace fuzz
