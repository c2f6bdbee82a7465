// Python's `raise error from cause`: an error with the one that led to it. XC-10.
#pragma once

#include <exception>
#include <type_traits>
#include <utility>

#include "asyncio/detail/config.hpp"

namespace asyncio {
inline namespace v1 {

namespace detail {

// Makes `cause` what nested.nested_ptr() returns.
ASYNCIO_API void set_nested(std::nested_exception& nested, std::exception_ptr cause) noexcept;
// Gives its cause up, without recursion.
ASYNCIO_API void drop_nested(std::nested_exception& nested) noexcept;

template <class E>
class ASYNCIO_API WithCause : public E, public std::nested_exception {
  public:
    WithCause(E error, std::exception_ptr cause) : E(std::move(error)) {
        set_nested(*this, std::move(cause));
    }
    WithCause(const WithCause&) = default;
    WithCause(WithCause&&) = default;
    WithCause& operator=(const WithCause&) = default;
    WithCause& operator=(WithCause&&) = default;
    // A long chain of causes needs no stack.
    ~WithCause() override { drop_nested(*this); }
};

}  // namespace detail

// Returns `error` with a cause, Python's `raise error from cause`: an object that is both an E and
// a std::nested_exception, so std::rethrow_if_nested works on it. Throws nothing on the way. With a
// null cause it is just `error`.
template <class E>
std::exception_ptr with_cause(E error, std::exception_ptr cause) {
    static_assert(std::is_class_v<E> && !std::is_final_v<E>,
                  "the error must be a class to derive from");
    static_assert(!std::is_same_v<E, std::exception_ptr>,
                  "give the error itself, not a pointer to it");
    static_assert(!std::is_base_of_v<std::nested_exception, E>, "this error has a cause already");
    if (!cause) return std::make_exception_ptr(std::move(error));
    return std::make_exception_ptr(detail::WithCause<E>(std::move(error), std::move(cause)));
}

// Returns the cause of an error made by with_cause() or std::throw_with_nested(), null if none.
ASYNCIO_API std::exception_ptr cause_of(const std::exception_ptr& error) noexcept;

}  // namespace v1
}  // namespace asyncio
