// Type-erased callables: a copyable one for handlers (shared, reference counted). `std::function`
// would cost every user of the library the whole of <functional>.
#pragma once

#include <cstddef>
#include <type_traits>
#include <utility>

#include "asyncio/detail/destroy.hpp"
#include "asyncio/detail/refcount.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

template <class Signature>
class Function;

template <class R, class... Args>
class Function<R(Args...)> {
    struct Base {
        virtual R call(Args... args) = 0;
        virtual ~Base() = default;
        void retain() noexcept { count.add(); }
        void release() noexcept {
            if (count.drop()) delete this;
        }
        RefCount count{1};
    };
    template <class F>
    struct Holder final : Base {
        explicit Holder(F f) : fn(std::move(f)) {}
        R call(Args... args) override { return (*fn)(std::forward<Args>(args)...); }
        Kept<F> fn;
    };

  public:
    Function() noexcept = default;
    Function(std::nullptr_t) noexcept {}
    template <class F>
        requires(!std::is_same_v<std::remove_cvref_t<F>, Function> &&
                 std::is_invocable_r_v<R, std::decay_t<F>&, Args...>)
    Function(F&& f) {
        if constexpr (std::is_pointer_v<std::remove_cvref_t<F>>) {
            if (f == nullptr) return;
        }
        base_ = Ref<Base>::adopt(new Holder<std::decay_t<F>>(std::forward<F>(f)));
    }

    explicit operator bool() const noexcept { return static_cast<bool>(base_); }
    // It lives until it has returned, whatever it does to this object meanwhile.
    R operator()(Args... args) const {
        const Ref<Base> kept = base_;
        return kept->call(std::forward<Args>(args)...);
    }

  private:
    Ref<Base> base_;
};

}  // namespace detail
}  // namespace v1
}  // namespace asyncio
