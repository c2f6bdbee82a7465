// Looking at an exception_ptr: of which class its error is, and how it reads.
#pragma once

#include <exception>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <typeinfo>

#include "asyncio/detail/config.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

// Returns where the part of `error` is that a `catch (T&)` of the type `wanted` would bind to, or
// null if it would not catch (or `error` is null). For a thrown pointer, the pointer.
ASYNCIO_API const void* find_exception(const std::exception_ptr& error,
                                       const std::type_info& wanted) noexcept;

// The same, typed. The pointer is good for as long as an exception_ptr to the object exists.
template <class E>
const E* find(const std::exception_ptr& error) noexcept {
    static_assert(std::is_object_v<E> && !std::is_pointer_v<E>,
                  "name the class, not a pointer to it");
#ifdef __GLIBCXX__
    return static_cast<const E*>(find_exception(error, typeid(E)));
#else
    if (!error) return nullptr;
    try {
        std::rethrow_exception(error);
    } catch (const E& found) {
        return std::addressof(found);
    } catch (...) {
        return nullptr;  // The question was only whether it is an E; the caller still has `error`.
    }
#endif
}

template <class E>
bool holds(const std::exception_ptr& error) noexcept {
    return find<E>(error) != nullptr;
}

// Whether it is a CancelledError, or of a class derived from it.
ASYNCIO_API bool is_cancelled_error(const std::exception_ptr& error) noexcept;
// Whether it is what Python's `except Exception` lets pass: a BaseException, but no ExceptionGroup.
ASYNCIO_API bool is_base_exception(const std::exception_ptr& error) noexcept;
// Whether it leaves the event loop at once: KeyboardInterrupt or SystemExit.
ASYNCIO_API bool is_exit_error(const std::exception_ptr& error) noexcept;

// A CancelledError; without a message always the same object, which costs no allocation.
ASYNCIO_API std::exception_ptr cancelled_error(const std::string* message);

// A string as Python's repr() shows it: quoted, with escapes. UTF-8 stays as it is.
ASYNCIO_API std::string quoted(std::string_view text);
// The message as Python's str() gives it: "" where there is none, and what() names the class.
ASYNCIO_API std::string text_of(const std::exception_ptr& error);
// The class, without namespaces: "ValueError". "NoneType" for a null pointer.
ASYNCIO_API std::string type_name(const std::exception_ptr& error);
// As Python's repr(): "ValueError('msg')", for any type. "None" for a null pointer.
ASYNCIO_API std::string describe(const std::exception_ptr& error);

}  // namespace detail
}  // namespace v1
}  // namespace asyncio
