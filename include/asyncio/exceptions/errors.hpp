// Ordinary errors, Python's and asyncio's own. XC-03 to XC-07.
#pragma once

#include <cstddef>
#include <optional>
#include <stdexcept>
#include <string>

#include "asyncio/detail/config.hpp"

namespace asyncio {
inline namespace v1 {

// Something cannot be done now, or not in this order: what the text says.
class ASYNCIO_API RuntimeError : public std::runtime_error {
  public:
    using std::runtime_error::runtime_error;
    RuntimeError() : std::runtime_error(std::string()) {}
    const char* what() const noexcept override;
};

// An argument has a value that makes no sense.
class ASYNCIO_API ValueError : public std::invalid_argument {
  public:
    using std::invalid_argument::invalid_argument;
    ValueError() : std::invalid_argument(std::string()) {}
    const char* what() const noexcept override;
};

// An argument is of a kind that the call cannot use.
class ASYNCIO_API TypeError : public std::logic_error {
  public:
    using std::logic_error::logic_error;
    TypeError() : std::logic_error(std::string()) {}
    const char* what() const noexcept override;
};

// A key or a context variable without a value.
class ASYNCIO_API LookupError : public std::logic_error {
  public:
    using std::logic_error::logic_error;
    LookupError() : std::logic_error(std::string()) {}
    const char* what() const noexcept override;
};

// There is no such key, user or group.
class ASYNCIO_API KeyError : public LookupError {
  public:
    using LookupError::LookupError;
    const char* what() const noexcept override;
};

// This object, or this loop, cannot do that.
class ASYNCIO_API NotImplementedError : public RuntimeError {
  public:
    using RuntimeError::RuntimeError;
    const char* what() const noexcept override;
};

// The end of an asynchronous iteration, where an iterator reports it as an error.
class ASYNCIO_API StopAsyncIteration : public std::runtime_error {
  public:
    using std::runtime_error::runtime_error;
    StopAsyncIteration() : std::runtime_error(std::string()) {}
    const char* what() const noexcept override;
};

// The stream ended before what was asked for.
class ASYNCIO_API EOFError : public std::runtime_error {
  public:
    using std::runtime_error::runtime_error;
    EOFError() : std::runtime_error(std::string()) {}
    const char* what() const noexcept override;
};

// ---- asyncio's own ----------------------------------------------------------------------------

// A future or task is not in the state that the call needs (XC-03).
class ASYNCIO_API InvalidStateError : public std::logic_error {
  public:
    using std::logic_error::logic_error;
    InvalidStateError() : std::logic_error(std::string()) {}
    const char* what() const noexcept override;
};

// A loop on virtual time has nothing left to wait for: what is suspended can never go on. CPython
// would hang here.
class ASYNCIO_API DeadlockError : public RuntimeError {
  public:
    using RuntimeError::RuntimeError;
    const char* what() const noexcept override;
};

// End of stream before the requested bytes were read (XC-04).
class ASYNCIO_API IncompleteReadError : public EOFError {
  public:
    // `partial`: what was read; `expected`: how many bytes were asked for, unset if any number.
    IncompleteReadError(std::string partial, std::optional<std::size_t> expected);
    explicit IncompleteReadError(const std::string& message);
    const char* what() const noexcept override;

    std::string partial;                  // what was read before the end
    std::optional<std::size_t> expected;  // how many bytes were asked for; unset: any number
};

// The buffer limit was reached while looking for a separator (XC-05).
class ASYNCIO_API LimitOverrunError : public std::runtime_error {
  public:
    // `consumed`: how many bytes of the buffer were searched and are safe to consume.
    explicit LimitOverrunError(const std::string& message, std::size_t consumed = 0);
    const char* what() const noexcept override;

    std::size_t consumed;  // how many bytes of the buffer are known to hold no separator
};

// The system call sendfile cannot be used for this file or socket (XC-06).
class ASYNCIO_API SendfileNotAvailableError : public RuntimeError {
  public:
    using RuntimeError::RuntimeError;
    const char* what() const noexcept override;
};

// A barrier was reset or aborted while tasks waited at it (XC-07).
class ASYNCIO_API BrokenBarrierError : public RuntimeError {
  public:
    using RuntimeError::RuntimeError;
    const char* what() const noexcept override;
};

// get_nowait() of a queue that is empty.
class ASYNCIO_API QueueEmpty : public std::runtime_error {
  public:
    using std::runtime_error::runtime_error;
    QueueEmpty() : std::runtime_error(std::string()) {}
    const char* what() const noexcept override;
};

// put_nowait() into a queue that is full.
class ASYNCIO_API QueueFull : public std::runtime_error {
  public:
    using std::runtime_error::runtime_error;
    QueueFull() : std::runtime_error(std::string()) {}
    const char* what() const noexcept override;
};

// The queue was shut down: nothing is put any more, and nothing more is to be gotten.
class ASYNCIO_API QueueShutDown : public std::runtime_error {
  public:
    using std::runtime_error::runtime_error;
    QueueShutDown() : std::runtime_error(std::string()) {}
    const char* what() const noexcept override;
};

}  // namespace v1
}  // namespace asyncio
