// The errors of the library, arranged as Python arranges its own (parity rows XC-01 to XC-10).
//
// Two roots, because that is what makes cancellation safe: what asks a task to stop
// (CancelledError, KeyboardInterrupt, SystemExit, GeneratorExit) derives from BaseException and not
// from std::exception, so that `catch (const std::exception&)` never swallows it. All other errors
// derive from std::exception, through the standard class that means the same where there is one.
// The only class with both roots is ExceptionGroup, which is a BaseExceptionGroup in Python too.
//
// An error that was made without a text says its class in what(), since a log line of what() alone
// would say nothing (CancelledError is empty: what() is the message of the cancel). Reports and
// repr() are as Python's.
//
// Copies are cheap and, but for IncompleteReadError, noexcept: texts and group members are shared
// and immutable. Each class has an out-of-line virtual function, so that its type information
// exists once, in the library, and a catch works across shared libraries.
#pragma once

#include "asyncio/detail/exception_ptr.hpp"
#include "asyncio/exceptions/base_exceptions.hpp"
#include "asyncio/exceptions/causes.hpp"
#include "asyncio/exceptions/errors.hpp"
#include "asyncio/exceptions/exception_groups.hpp"
#include "asyncio/exceptions/os_errors.hpp"
