#include "loop.hpp"

namespace asyncio::inline v1::detail {

void drop_generators(Loop&) noexcept {}

}  // namespace asyncio::inline v1::detail
