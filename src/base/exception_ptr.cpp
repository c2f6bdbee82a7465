// Of which class an error is, without a throw.
//
// The loop asks of nearly every exception what it is, and a rethrow to find out would cost a
// microsecond and more. Therefore the type is matched as the C++ runtime matches it when it looks
// for a handler (Itanium C++ ABI, with libstdc++'s type_info::__do_catch), without a throw. Other
// standard libraries get the rethrow.
#include "asyncio/detail/exception_ptr.hpp"

#include <cxxabi.h>

#include <utility>

#include "asyncio/exceptions.hpp"
#include "base/exception_parts.hpp"
#include "base/traces.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

#ifdef __GLIBCXX__

namespace {

// libstdc++ keeps these two members private and offers no other way to them without a throw.
// An explicit instantiation may name private members ([temp.spec.general]/6), and its friend
// function hands them out; a library that renames them stops the build here.
void* thrown_object(const std::exception_ptr& error) noexcept;
std::exception_ptr& nested_of(std::nested_exception& nested) noexcept;

template <auto Object>
struct ThrownObjectAccess {
    friend void* thrown_object(const std::exception_ptr& error) noexcept { return error.*Object; }
};
template struct ThrownObjectAccess<&std::exception_ptr::_M_exception_object>;

template <auto Pointer>
struct NestedAccess {
    friend std::exception_ptr& nested_of(std::nested_exception& nested) noexcept {
        return nested.*Pointer;
    }
};
template struct NestedAccess<&std::nested_exception::_M_ptr>;

}  // namespace

void* object_of(const std::exception_ptr& error) noexcept { return thrown_object(error); }

const std::type_info* thrown_type(const std::exception_ptr& error) noexcept {
    return error.__cxa_exception_type();
}

const void* find_exception(const std::exception_ptr& error, const std::type_info& wanted) noexcept {
    if (!error) return nullptr;
    const std::type_info* thrown = thrown_type(error);
    void* object = thrown_object(error);
    // Safe because the thrown object is a pointer then; the runtime matches the pointer's value.
    if (thrown->__is_pointer_p()) object = *static_cast<void**>(object);
    // 1 is what the runtime passes for a handler's own type, as opposed to what it points to.
    return wanted.__do_catch(thrown, &object, 1) ? object : nullptr;
}

void set_nested(std::nested_exception& nested, std::exception_ptr cause) noexcept {
    nested_of(nested) = std::move(cause);
}

std::exception_ptr take_nested(std::nested_exception& nested) noexcept {
    return std::exchange(nested_of(nested), nullptr);
}

#else

const std::type_info* thrown_type(const std::exception_ptr& error) noexcept {
    try {
        std::rethrow_exception(error);
    } catch (...) {
        // Not lost: the caller has `error`, and it was thrown only to ask for its type.
        return abi::__cxa_current_exception_type();
    }
}

void set_nested(std::nested_exception& nested, std::exception_ptr cause) noexcept {
    try {
        std::rethrow_exception(std::move(cause));
    } catch (...) {
        nested =
            std::nested_exception();  // Takes up the exception that is being handled: the cause.
    }
}

std::exception_ptr take_nested(std::nested_exception& nested) noexcept {
    std::exception_ptr cause = nested.nested_ptr();
    nested = std::nested_exception();  // and that of the exception that is being handled, if any
    return cause;
}

#endif

bool is_cancelled_error(const std::exception_ptr& error) noexcept {
    return holds<CancelledError>(error);
}

bool is_base_exception(const std::exception_ptr& error) noexcept {
    return holds<BaseException>(error) && !holds<ExceptionGroup>(error);
}

bool is_exit_error(const std::exception_ptr& error) noexcept {
    return holds<KeyboardInterrupt>(error) || holds<SystemExit>(error);
}

std::exception_ptr cancelled_error(const std::string* message) {
    // The exception itself has the reserve of the C++ runtime, where memory is out.
    static const Forever<std::exception_ptr> without_message([] {
        const std::exception_ptr made = std::make_exception_ptr(CancelledError());
        never_trace(made);
        return made;
    }());
    if (!message) return *without_message;
    return std::make_exception_ptr(CancelledError(*message));
}

}  // namespace detail

}  // namespace v1
}  // namespace asyncio
