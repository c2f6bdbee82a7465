// Destroying what a user's code has left with the library: a function, a result. A destructor that
// throws has nobody to raise it to here. It is logged, as Python does with __del__, and the program
// goes on.
#pragma once

#include <memory>
#include <type_traits>
#include <utility>

#include "asyncio/detail/config.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

// Logs the exception that is being handled.
ASYNCIO_API void log_thrown_by_destructor() noexcept;

template <class T>
void destroy_logged(T& object) noexcept {
    if constexpr (std::is_nothrow_destructible_v<T>) {
        std::destroy_at(std::addressof(object));
    } else {
        try {
            std::destroy_at(std::addressof(object));
        } catch (...) {
            // Every exception ends here, and is told of.
            log_thrown_by_destructor();
        }
    }
}

// An object that can be destroyed early, as in std::optional.
template <class T>
class Kept {
  public:
    Kept() noexcept {}
    explicit Kept(T&& object) : object_(std::move(object)), there_(true) {}
    Kept(const Kept&) = delete;
    Kept& operator=(const Kept&) = delete;
    ~Kept() noexcept { reset(); }

    explicit operator bool() const noexcept { return there_; }
    T& operator*() noexcept { return object_; }
    // It must be empty.
    template <class... Args>
    void emplace(Args&&... args) {
        std::construct_at(std::addressof(object_), std::forward<Args>(args)...);
        there_ = true;
    }
    void reset() noexcept {
        if (std::exchange(there_, false)) destroy_logged(object_);
    }

  private:
    union {
        T object_;
    };
    bool there_ = false;
};

}  // namespace detail
}  // namespace v1
}  // namespace asyncio
