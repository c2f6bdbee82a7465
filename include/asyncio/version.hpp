// The version of these headers, and of the library that the program really runs on.
#pragma once

#include <string_view>

#include "asyncio/detail/config.hpp"

// Of these headers.
#define ASYNCIO_VERSION_MAJOR 0
#define ASYNCIO_VERSION_MINOR 2
#define ASYNCIO_VERSION_PATCH 0

// One number for `#if`: 1.2.3 is 10203.
#define ASYNCIO_VERSION \
    (ASYNCIO_VERSION_MAJOR * 10000 + ASYNCIO_VERSION_MINOR * 100 + ASYNCIO_VERSION_PATCH)

namespace asyncio {
inline namespace v1 {

// The version of the linked library as "MAJOR.MINOR.PATCH"; with the shared library it can be later
// than that of the headers a program was compiled with.
ASYNCIO_API std::string_view version() noexcept;

// The same as one number, to compare with ASYNCIO_VERSION.
ASYNCIO_API int version_number() noexcept;

}  // namespace v1
}  // namespace asyncio
