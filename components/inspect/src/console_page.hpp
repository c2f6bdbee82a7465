// The page of `asyncio console`, which the build makes of page/.
#pragma once

#include <string>

namespace asyncio {
inline namespace v1 {
namespace detail {
namespace reading {

std::string console_page();

}  // namespace reading
}  // namespace detail
}  // namespace v1
}  // namespace asyncio
