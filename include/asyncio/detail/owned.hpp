// A pointer that owns one object, as std::unique_ptr does, at a tenth of what that costs every file
// that includes the library.
#pragma once

#include <utility>

#include "asyncio/detail/config.hpp"
#include "asyncio/detail/take.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

// T may be incomplete where no Owned<T> is destroyed or assigned to.
template <class T>
class Owned {
  public:
    constexpr Owned() noexcept = default;
    constexpr explicit Owned(T* p) noexcept : p_(p) {}
    Owned(Owned&& o) noexcept : p_(detail::take(o.p_)) {}
    Owned& operator=(Owned o) noexcept {
        detail::trade(p_, o.p_);
        return *this;
    }
    ~Owned() { delete p_; }

    T* get() const noexcept { return p_; }
    T* operator->() const noexcept { return p_; }
    T& operator*() const noexcept { return *p_; }
    explicit operator bool() const noexcept { return p_ != nullptr; }

  private:
    T* p_ = nullptr;
};

}  // namespace detail
}  // namespace v1
}  // namespace asyncio
