// The exception classes of the language: made from what a scenario says, matched by an `except`,
// and printed in a trace.
#pragma once

#include <asyncio.hpp>
#include <exception>
#include <string>

#include "scenario.hpp"

namespace conformance {

// A class of the language: an error that is not an `Exception`, as Python's BaseException.
class BaseError : public asyncio::BaseException {
  public:
    using asyncio::BaseException::BaseException;
};

// Raised out of everything once the trace is closed, so that nothing more happens in a scenario.
class Stopped : public asyncio::BaseException {
  public:
    Stopped() : asyncio::BaseException("the scenario has stopped") {}
};

// Raises: std::runtime_error for a class that the language does not have.
std::exception_ptr make_error(const ExceptionSpec& spec);

// Does `except TYPE` catch it? Raises: std::runtime_error for an unknown type.
bool matches(const std::exception_ptr& error, const std::string& type);

// `Class('msg')`, `Class()`, `Class(...)` for a text that the library made, `Group('msg', [e1,
// e2])`.
std::string show_error(const std::exception_ptr& error);

}  // namespace conformance
