#include "asyncio/version.hpp"

#define ASYNCIO_TEXT_OF(number) #number
#define ASYNCIO_TEXT(number) ASYNCIO_TEXT_OF(number)

namespace asyncio {
inline namespace v1 {

std::string_view version() noexcept {
    return ASYNCIO_TEXT(ASYNCIO_VERSION_MAJOR) "." ASYNCIO_TEXT(
        ASYNCIO_VERSION_MINOR) "." ASYNCIO_TEXT(ASYNCIO_VERSION_PATCH);
}

int version_number() noexcept { return ASYNCIO_VERSION; }

}  // namespace v1
}  // namespace asyncio
