// The classes of errors, but those of the system and groups. Hierarchy and texts follow CPython
// (parity rows XC-01 to XC-10).
#include "asyncio/exceptions.hpp"

#include "base/exception_parts.hpp"

namespace asyncio {
inline namespace v1 {

namespace {

using detail::empty_string;
using detail::error_name;
using detail::text_or;

}  // namespace

// ---- BaseException and its kin ----------------------------------------------------------------

BaseException::BaseException(const std::string& message) {
    if (!message.empty()) message_ = std::make_shared<const std::string>(message);
}

BaseException::~BaseException() = default;

const std::string& BaseException::message() const noexcept {
    return message_ ? *message_ : empty_string();
}

const char* BaseException::what() const noexcept { return message().c_str(); }
const char* CancelledError::what() const noexcept { return BaseException::what(); }
const char* KeyboardInterrupt::what() const noexcept {
    return text_or(BaseException::what(), error_name("KeyboardInterrupt"));
}
const char* GeneratorExit::what() const noexcept {
    return text_or(BaseException::what(), error_name("GeneratorExit"));
}

SystemExit::SystemExit(int code) : BaseException(std::to_string(code)), code_(code) {}

SystemExit::SystemExit(const std::string& message)
    : BaseException(message), code_(1), has_text_(true) {}

const char* SystemExit::what() const noexcept { return BaseException::what(); }

// ---- Ordinary errors --------------------------------------------------------------------------

const char* RuntimeError::what() const noexcept {
    return text_or(std::runtime_error::what(), error_name("RuntimeError"));
}
const char* ValueError::what() const noexcept {
    return text_or(std::invalid_argument::what(), error_name("ValueError"));
}
const char* TypeError::what() const noexcept {
    return text_or(std::logic_error::what(), error_name("TypeError"));
}
const char* LookupError::what() const noexcept {
    return text_or(std::logic_error::what(), error_name("LookupError"));
}
const char* KeyError::what() const noexcept {
    return text_or(std::logic_error::what(), error_name("KeyError"));
}
const char* NotImplementedError::what() const noexcept {
    return text_or(std::runtime_error::what(), error_name("NotImplementedError"));
}
const char* StopAsyncIteration::what() const noexcept {
    return text_or(std::runtime_error::what(), error_name("StopAsyncIteration"));
}
const char* EOFError::what() const noexcept {
    return text_or(std::runtime_error::what(), error_name("EOFError"));
}
const char* InvalidStateError::what() const noexcept {
    return text_or(std::logic_error::what(), error_name("InvalidStateError"));
}
const char* DeadlockError::what() const noexcept {
    return text_or(std::runtime_error::what(), error_name("DeadlockError"));
}
const char* SendfileNotAvailableError::what() const noexcept {
    return text_or(std::runtime_error::what(), error_name("SendfileNotAvailableError"));
}
const char* BrokenBarrierError::what() const noexcept {
    return text_or(std::runtime_error::what(), error_name("BrokenBarrierError"));
}
const char* QueueEmpty::what() const noexcept {
    return text_or(std::runtime_error::what(), error_name("QueueEmpty"));
}
const char* QueueFull::what() const noexcept {
    return text_or(std::runtime_error::what(), error_name("QueueFull"));
}
const char* QueueShutDown::what() const noexcept {
    return text_or(std::runtime_error::what(), error_name("QueueShutDown"));
}

namespace {

std::string incomplete_read_text(std::size_t read, std::optional<std::size_t> expected) {
    return std::to_string(read) + " bytes read on a total of " +
           (expected ? std::to_string(*expected) : "undefined") + " expected bytes";
}

}  // namespace

IncompleteReadError::IncompleteReadError(std::string partial_bytes,
                                         std::optional<std::size_t> expected_bytes)
    : EOFError(incomplete_read_text(partial_bytes.size(), expected_bytes)),
      partial(std::move(partial_bytes)),
      expected(expected_bytes) {}

IncompleteReadError::IncompleteReadError(const std::string& message) : EOFError(message) {}

const char* IncompleteReadError::what() const noexcept {
    return text_or(std::runtime_error::what(), error_name("IncompleteReadError"));
}

LimitOverrunError::LimitOverrunError(const std::string& message, std::size_t consumed_bytes)
    : std::runtime_error(message), consumed(consumed_bytes) {}

const char* LimitOverrunError::what() const noexcept {
    return text_or(std::runtime_error::what(), error_name("LimitOverrunError"));
}

}  // namespace v1
}  // namespace asyncio
