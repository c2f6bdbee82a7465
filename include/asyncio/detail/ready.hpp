// An awaitable that is there already, for calls that Python awaits but that never wait.
#pragma once

#include <concepts>
#include <coroutine>
#include <utility>

#include "asyncio/detail/promise.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

template <class T>
class [[nodiscard("co_await it")]] Ready {
  public:
    using asyncio_native = void;

    explicit Ready(T value) : value_(std::forward<T>(value)) {}
    bool await_ready() const noexcept { return true; }
    template <std::derived_from<PromiseBase> P>
    void await_suspend(std::coroutine_handle<P>) const noexcept {}
    T await_resume() { return std::forward<T>(value_); }

  private:
    T value_;
};

}  // namespace detail
}  // namespace v1
}  // namespace asyncio
