// Result<T>: a value or an exception, thrown nowhere on the way (`as_result`,
// `gather(return_exceptions)`).
#pragma once

#include <exception>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>

#include "asyncio/detail/config.hpp"
#include "asyncio/exceptions.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

struct Unit {
    bool operator==(const Unit&) const = default;
};

// How a result of type T is kept: references as pointers, void as nothing, all without a const.
template <class T>
struct StoredAs {
    using type = T;
};
template <class T>
struct StoredAs<const T> {
    using type = T;
};
template <class T>
struct StoredAs<T&> {
    using type = T*;
};
template <>
struct StoredAs<void> {
    using type = Unit;
};
template <class T>
using Stored = typename StoredAs<T>::type;

// Whether a T can be copied. The standard's trait says so of every container, whose copy then does
// not compile if its elements cannot be copied.
template <class T>
inline constexpr bool kCopyable = std::is_copy_constructible_v<T>;
template <class T>
    requires requires(const T& t) {
        typename T::value_type;
        t.begin();
    } && (!std::is_same_v<typename T::value_type, T>)
inline constexpr bool kCopyable<T> =
    std::is_copy_constructible_v<T> && kCopyable<typename T::value_type>;

}  // namespace detail

// A value of type T or an exception. Made by the library; `Result<void>` exists.
template <class T = void>
class [[nodiscard("look at the outcome, or take its value()")]] Result {
    using Value = detail::Stored<T>;

  public:
    // A result that holds `error`, which must not be null.
    static Result failure(std::exception_ptr error) noexcept {
        return Result(Failure{}, std::move(error));
    }
    // A result that holds a value made from `args`.
    template <class... Args>
    static Result success(Args&&... args) {
        return Result(Success{}, std::forward<Args>(args)...);
    }

    Result(const Result& o)
        requires detail::kCopyable<Value>
        : has_value_(o.has_value_) {
        if (has_value_) {
            std::construct_at(std::addressof(value_), o.value_);
        } else {
            ::new (static_cast<void*>(&error_)) std::exception_ptr(o.error_);
        }
    }
    Result(Result&& o) noexcept(std::is_nothrow_move_constructible_v<Value>)
        : has_value_(o.has_value_) {
        if (has_value_) {
            std::construct_at(std::addressof(value_), std::move(o.value_));
        } else {
            ::new (static_cast<void*>(&error_)) std::exception_ptr(std::move(o.error_));
        }
    }
    Result& operator=(const Result& o)
        requires detail::kCopyable<Value>
    {
        if (this != &o) *this = Result(o);
        return *this;
    }
    Result& operator=(Result&& o) noexcept(std::is_nothrow_move_constructible_v<Value>) {
        if (this != &o) {
            std::destroy_at(this);
            std::construct_at(this, std::move(o));
        }
        return *this;
    }
    ~Result() {
        if (has_value_) {
            std::destroy_at(std::addressof(value_));
        } else {
            std::destroy_at(&error_);
        }
    }

    // False if it holds an exception.
    bool has_value() const noexcept { return has_value_; }
    explicit operator bool() const noexcept { return has_value_; }

    // The value. Raises: the stored exception.
    decltype(auto) value() & {
        check();
        return get(value_);
    }
    decltype(auto) value() const& {
        check();
        return get(value_);
    }
    T value() && {
        check();
        if constexpr (std::is_void_v<T>) {
            return;
        } else if constexpr (std::is_reference_v<T>) {
            return *value_;
        } else {
            return std::move(value_);
        }
    }

    // The exception; null if there is a value.
    std::exception_ptr error() const noexcept { return has_value_ ? std::exception_ptr() : error_; }
    // True if it holds an exception of class E or one derived from it. Throws nothing.
    template <class E>
    bool holds() const noexcept {
        return !has_value_ && detail::holds<E>(error_);
    }

  private:
    struct Success {};
    struct Failure {};
    template <class... Args>
    explicit Result(Success, Args&&... args) : has_value_(true) {
        std::construct_at(std::addressof(value_), std::forward<Args>(args)...);
    }
    explicit Result(Failure, std::exception_ptr e) noexcept : has_value_(false) {
        // Here and above no construct_at: every file that includes this would compile it.
        ::new (static_cast<void*>(&error_)) std::exception_ptr(std::move(e));
    }
    void check() const {
        if (!has_value_) std::rethrow_exception(error_);
    }
    template <class V>
    static decltype(auto) get(V& v) {
        if constexpr (std::is_void_v<T>) {
            return;
        } else if constexpr (std::is_reference_v<T>) {
            return (*v);
        } else {
            return (v);
        }
    }

    union {
        Value value_;
        std::exception_ptr error_;
    };
    bool has_value_;
};

}  // namespace v1
}  // namespace asyncio
