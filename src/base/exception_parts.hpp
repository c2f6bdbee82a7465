// What the sources of exceptions share: names for errors without a message, and statics that stay.
#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <new>
#include <string>
#include <string_view>
#include <typeinfo>
#include <utility>

namespace asyncio {
inline namespace v1 {
namespace detail {

// A static object that is never destroyed: exceptions may be looked at, and tasks cancelled, while
// the program's statics go away. Not from operator new: who asks for it may be noexcept, and
// memory out.
template <class T>
class Forever {
  public:
    template <class... A>
    explicit Forever(A&&... arguments) {
        ::new (static_cast<void*>(storage_)) T(std::forward<A>(arguments)...);
    }
    // Safe because the constructor has made a T there.
    const T& operator*() const noexcept {
        return *std::launder(reinterpret_cast<const T*>(storage_));
    }

  private:
    alignas(T) std::byte storage_[sizeof(T)];
};

inline const std::string& empty_string() noexcept {
    static const Forever<std::string> empty;
    return *empty;
}

// What Python's OSError says of itself.
inline std::string numbered_text(int number, const std::string& text) {
    return "[Errno " + std::to_string(number) + "] " + text;
}

// What an error without a message says in C++: what() alone reaches many a log. All are in one
// object, so that is_name() can tell such a text from a message that reads alike.
inline constexpr char kNames[][26] = {"KeyboardInterrupt",
                                      "GeneratorExit",
                                      "RuntimeError",
                                      "ValueError",
                                      "TypeError",
                                      "LookupError",
                                      "KeyError",
                                      "NotImplementedError",
                                      "StopAsyncIteration",
                                      "EOFError",
                                      "InvalidStateError",
                                      "DeadlockError",
                                      "SendfileNotAvailableError",
                                      "BrokenBarrierError",
                                      "QueueEmpty",
                                      "QueueFull",
                                      "QueueShutDown",
                                      "IncompleteReadError",
                                      "LimitOverrunError",
                                      "BlockingIOError",
                                      "ChildProcessError",
                                      "ConnectionError",
                                      "BrokenPipeError",
                                      "ConnectionAbortedError",
                                      "ConnectionRefusedError",
                                      "ConnectionResetError",
                                      "FileExistsError",
                                      "FileNotFoundError",
                                      "InterruptedError",
                                      "IsADirectoryError",
                                      "NotADirectoryError",
                                      "PermissionError",
                                      "ProcessLookupError",
                                      "TimeoutError",
                                      "AddressInUseError",
                                      "gaierror",
                                      "SSLError",
                                      "SSLCertVerificationError",
                                      "OSError"};

consteval const char* error_name(std::string_view wanted) {
    for (const auto& n : kNames) {
        if (wanted == n) return n;
    }
    throw "not in kNames";
}

// Safe because the numbers are only compared.
inline bool is_name(const char* text) noexcept {
    const auto begin = reinterpret_cast<std::uintptr_t>(kNames);
    return reinterpret_cast<std::uintptr_t>(text) - begin < sizeof kNames;
}

inline const char* text_or(const char* text, const char* name) noexcept {
    return *text ? text : name;
}

// The type of what was thrown. `error` is not null.
const std::type_info* thrown_type(const std::exception_ptr& error) noexcept;
#ifdef __GLIBCXX__
// Where it is; null for a null pointer.
void* object_of(const std::exception_ptr& error) noexcept;
#endif

// As the last line of Python's traceback: "ValueError: msg".
std::string title_of(const std::exception_ptr& error);

// Takes the cause out of an exception that was raised while another was handled.
std::exception_ptr take_nested(std::nested_exception& nested) noexcept;

}  // namespace detail
}  // namespace v1
}  // namespace asyncio
