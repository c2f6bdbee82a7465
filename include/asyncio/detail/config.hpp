// What every public header needs to know about the compiler, and nothing else.
#pragma once

#if !defined(__cpp_exceptions)
#error "libasyncio reports errors as exceptions: compile without -fno-exceptions."
#endif
#if !defined(__cpp_rtti)
#error "libasyncio matches exceptions by their type: compile without -fno-rtti."
#endif
#if !defined(__cpp_impl_coroutine)
#error "libasyncio needs C++20 coroutines: compile with -std=c++20 or later."
#endif

// What the library exports; all else is hidden, so that two versions can live in one process.
#define ASYNCIO_API __attribute__((visibility("default")))

// Set where the compiler copies closures and brace-initialised aggregates bitwise inside a
// `co_await` expression (docs/traps.md): functions that return awaitables then refuse what that
// would break.
#if defined(__GNUC__) && !defined(__clang__) && __GNUC__ < 13
#define ASYNCIO_COPIES_CLOSURES_BITWISE 1
#else
#define ASYNCIO_COPIES_CLOSURES_BITWISE 0
#endif

// With -DASYNCIO_LIFETIMEBOUND clang warns where a coroutine or a task keeps what is gone before it
// runs (docs/traps.md). Off by default, as every function that returns a Coroutine and is none must
// then be marked ASYNCIO_CORO_WRAPPER.
#if defined(ASYNCIO_LIFETIMEBOUND) && defined(__clang__)
#define ASYNCIO_CORO_TYPE [[clang::coro_return_type]] [[clang::coro_lifetimebound]]
#define ASYNCIO_CORO_WRAPPER [[clang::coro_wrapper]] [[clang::coro_disable_lifetimebound]]
#else
#define ASYNCIO_CORO_TYPE
#define ASYNCIO_CORO_WRAPPER
#endif
