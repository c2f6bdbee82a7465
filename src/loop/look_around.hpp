// Whether a thread that has nothing to do should look around for a moment before it falls asleep.
//
// To fall asleep and be woken by another thread costs both of them several microseconds, tens on a
// virtual machine. Where the last sleeps were all that short, what the thread waits for is on its
// way, and to look for it costs less than the sleep. Where they were not, nobody ever looks.
#pragma once

#include <algorithm>
#include <cstdint>
#include <thread>

namespace asyncio {
inline namespace v1 {
namespace detail {

class LookAround {
  public:
    static constexpr std::int64_t kLook = 10'000;   // ns, for how long to look
    static constexpr std::int64_t kShort = 60'000;  // ns, a sleep that looking would have replaced

    // False while looking has not paid.
    bool pays() const noexcept { return credit_ > 0 && others_run(); }
    // A sleep has ended because of what the thread waited for.
    void slept(std::int64_t ns) noexcept {
        credit_ = ns < kShort ? std::min(credit_ + 1, kMost) : std::max(credit_ - kPrice, 0);
    }

    // Calls `there()` until it is true or `until`, a time of `now()` (ns). Returns what it found.
    template <class There, class Now>
    bool look(There there, Now now, std::int64_t until) noexcept {
        do {
            for (int i = 0; i < 8; ++i) {
                relax();
                if (!there()) continue;
                credit_ = std::min(credit_ + 1, kMost);
                return true;
            }
        } while (now() < until);
        credit_ = std::max(credit_ - kPrice, 0);
        return false;
    }

    // Whether there is another processor, where what this thread waits for could run.
    static bool others_run() noexcept {
        static const bool others = std::thread::hardware_concurrency() > 1;
        return others;
    }

  private:
    // A vain look costs as much as four good ones give.
    static constexpr int kPrice = 4;
    static constexpr int kMost = 32;

    // Tells the processor that this thread only waits.
    static void relax() noexcept {
#if defined(__x86_64__) || defined(__i386__)
        __builtin_ia32_pause();
#elif defined(__aarch64__)
        asm volatile("isb");
#endif
    }

    int credit_ = 0;
};

}  // namespace detail
}  // namespace v1
}  // namespace asyncio
