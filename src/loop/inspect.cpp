#include "asyncio/inspect.hpp"

#include <string_view>

#include "loop/loop.hpp"
#include "os/posix.hpp"

namespace asyncio {
inline namespace v1 {

void inspect::allow_tools() noexcept { detail::allow_tracing(); }

namespace detail {

void allow_tools_if_asked() noexcept {
    const char* const value = environment_if_safe("ASYNCIO_ALLOW_TOOLS");
    if (value && *value && std::string_view(value) != "0") allow_tracing();
}

}  // namespace detail
}  // namespace v1
}  // namespace asyncio
