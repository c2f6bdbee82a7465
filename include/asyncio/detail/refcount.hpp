// Reference counts of handles.
//
// Handles are copied and dropped on every thread, but a program with one thread must not pay for
// it: counts are plain until the process has a second one, then atomic (as libstdc++'s shared_ptr).
// To add is relaxed: who adds has a count. A drop releases what its thread did, and the last
// acquires it from all, whose decrements are one release sequence; it is no read-modify-write: a
// count of 1 that its owner sees, by a load that acquires, stays 1.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <utility>

#include "asyncio/detail/config.hpp"
#include "asyncio/detail/take.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

inline bool single_threaded() noexcept {
#if defined(__GLIBCXX__)
    return __gnu_cxx::__is_single_threaded();
#else
    return false;
#endif
}

class RefCount {
  public:
    constexpr explicit RefCount(std::uint32_t n) noexcept : count_(n) {}

    void add(std::uint32_t n = 1) noexcept {
        if (single_threaded()) {
            // Safe because there is no other thread: a plain load and store lose no update.
            count_.store(count_.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
        } else {
            count_.fetch_add(n, std::memory_order_relaxed);
        }
    }

    // While no other thread can know the object.
    void add_unshared() noexcept {
        count_.store(count_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    }

    // Returns true if that was the last one.
    bool drop() noexcept {
        if (count_.load(std::memory_order_acquire) == 1) return true;
        if (single_threaded()) {
            count_.store(count_.load(std::memory_order_relaxed) - 1, std::memory_order_relaxed);
            return false;
        }
        return count_.fetch_sub(1, std::memory_order_acq_rel) == 1;
    }

    // Back to one: the object lives on after its count had run out.
    void revive() noexcept { count_.store(1, std::memory_order_relaxed); }

    bool unique() const noexcept { return count_.load(std::memory_order_acquire) == 1; }

  private:
    std::atomic<std::uint32_t> count_;
};

// An owning pointer to an object with `retain()` and `release()`.
template <class T>
class Ref {
  public:
    constexpr Ref() noexcept = default;
    constexpr Ref(std::nullptr_t) noexcept {}
    // Takes over one count.
    static Ref adopt(T* p) noexcept {
        Ref r;
        r.p_ = p;
        return r;
    }
    // Adds one count.
    static Ref share(T* p) noexcept {
        if (p) p->retain();
        return adopt(p);
    }
    Ref(const Ref& o) noexcept : p_(o.p_) {
        if (p_) p_->retain();
    }
    Ref(Ref&& o) noexcept : p_(detail::take(o.p_)) {}
    Ref& operator=(Ref o) noexcept {
        detail::trade(p_, o.p_);
        return *this;
    }
    ~Ref() {
        if (p_) p_->release();
    }

    T* get() const noexcept { return p_; }
    T* operator->() const noexcept { return p_; }
    T& operator*() const noexcept { return *p_; }
    explicit operator bool() const noexcept { return p_ != nullptr; }
    T* detach() noexcept { return detail::take(p_); }
    bool operator==(const Ref& o) const noexcept { return p_ == o.p_; }

  private:
    T* p_ = nullptr;
};

}  // namespace detail
}  // namespace v1
}  // namespace asyncio
