// What stops a task or the program: BaseException, CancelledError and their kin. XC-01, XC-09.
#pragma once

#include <memory>
#include <string>

#include "asyncio/detail/config.hpp"

namespace asyncio {
inline namespace v1 {

// Root of everything that `catch (const std::exception&)` must not swallow. User classes that are
// "not an Exception" in Python's sense derive from it too.
class ASYNCIO_API BaseException {
  public:
    BaseException() noexcept = default;
    explicit BaseException(const std::string& message);
    BaseException(const BaseException&) noexcept = default;
    BaseException& operator=(const BaseException&) noexcept = default;
    virtual ~BaseException();

    // The message as text; for groups with the number of members. Never null.
    virtual const char* what() const noexcept;

    // The message alone, empty if there is none.
    const std::string& message() const noexcept;

  private:
    std::shared_ptr<const std::string> message_;  // Null: no message.
};

// A task was asked to stop (XC-01); the message is the one given to cancel().
class ASYNCIO_API CancelledError : public BaseException {
  public:
    using BaseException::BaseException;
    const char* what() const noexcept override;
};

// Ctrl-C. Leaves the event loop instead of being kept in a task (XC-09).
class ASYNCIO_API KeyboardInterrupt : public BaseException {
  public:
    using BaseException::BaseException;
    const char* what() const noexcept override;
};

// Asks the program to end (XC-09). Leaves the event loop instead of being kept in a task.
class ASYNCIO_API SystemExit : public BaseException {
  public:
    SystemExit() noexcept = default;
    // `code`: the program's exit status.
    explicit SystemExit(int code);
    // `message`: for standard error; the exit status is then 1.
    explicit SystemExit(const std::string& message);

    const char* what() const noexcept override;
    // The program's exit status.
    int code() const noexcept { return code_; }
    // Whether it was made from a text, which is to be printed when the program ends.
    bool has_text() const noexcept { return has_text_; }

  private:
    int code_ = 0;
    bool has_text_ = false;
};

// Thrown at the co_yield of an asynchronous generator that is being closed.
class ASYNCIO_API GeneratorExit : public BaseException {
  public:
    using BaseException::BaseException;
    const char* what() const noexcept override;
};

}  // namespace v1
}  // namespace asyncio
