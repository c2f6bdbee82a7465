// Room for values that are aligned to more than blocks of the pool are (16 bytes).
//
// A frame's promise must not be so aligned: it would move away from the head of the frame, where it
// is looked for. So its result then lies in a room with some slack, at an address that is computed.
// The frame itself is aligned as its result and its parameters need; what its body declares cannot
// be seen (docs/traps.md).
#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>

#include "asyncio/detail/thread_state.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

// A value or an exception, made and destroyed by whoever has it.
template <class V>
union OutcomeRoom {
    OutcomeRoom() noexcept {}
    ~OutcomeRoom() {}
    V* address() noexcept { return std::addressof(value_); }

    std::exception_ptr error;

  private:
    V value_;
};
template <class V>
    requires(alignof(V) > kBlockUnit)
union OutcomeRoom<V> {
    OutcomeRoom() noexcept {}
    ~OutcomeRoom() {}
    V* address() noexcept {
        // Safe because the room has slack for the way to the next address that is so aligned.
        const auto first = reinterpret_cast<std::uintptr_t>(room_) + alignof(V) - 1;
        return reinterpret_cast<V*>(first & ~(std::uintptr_t{alignof(V)} - 1));
    }

    std::exception_ptr error;

  private:
    alignas(kBlockUnit) unsigned char room_[sizeof(V) + alignof(V) - kBlockUnit];
};

// A value in an awaiter, which is aligned to no more than 16 bytes, whatever the value is.
template <class V>
class Held {
  public:
    template <class... Args>
        requires std::is_constructible_v<V, Args&&...>
    explicit Held(Args&&... args) : value_(std::forward<Args>(args)...) {}
    V& get() noexcept { return value_; }

  private:
    V value_;
};
template <class V>
    requires(alignof(V) > kBlockUnit)
class Held<V> {
  public:
    template <class... Args>
        requires std::is_constructible_v<V, Args&&...>
    explicit Held(Args&&... args) {
        std::construct_at(room_.address(), std::forward<Args>(args)...);
    }
    Held(Held&& o) noexcept(std::is_nothrow_move_constructible_v<V>) {
        std::construct_at(room_.address(), std::move(o.get()));
    }
    Held& operator=(Held&&) = delete;
    ~Held() { std::destroy_at(room_.address()); }
    V& get() noexcept { return *room_.address(); }

  private:
    OutcomeRoom<V> room_;
};

// What a parameter asks of the frame that keeps it.
template <class T>
inline constexpr std::size_t kKeptAlignment = alignof(T);
template <class T>
inline constexpr std::size_t kKeptAlignment<T&> = 1;
template <class T>
inline constexpr std::size_t kKeptAlignment<T&&> = 1;
template <>
inline constexpr std::size_t kKeptAlignment<void> = 1;

template <class... Ts>
constexpr std::size_t strictest() noexcept {
    std::size_t most = 1;
    ((most = kKeptAlignment<Ts> > most ? kKeptAlignment<Ts> : most), ...);
    return most;
}

// The promise P of a frame whose block is aligned as asked.
template <class P, std::size_t kAlignment>
struct AlignedPromise : P {
    static void* operator new(std::size_t size) {
        return ::operator new(size, std::align_val_t(kAlignment));
    }
    static void operator delete(void* p, std::size_t size) noexcept {
        ::operator delete(p, size, std::align_val_t(kAlignment));
    }
};

template <class P, std::size_t kAlignment>
using PromiseFor = std::conditional_t<(kAlignment > kBlockUnit), AlignedPromise<P, kAlignment>, P>;

}  // namespace detail
}  // namespace v1
}  // namespace asyncio
