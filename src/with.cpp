#include "asyncio/with.hpp"

namespace asyncio::inline v1::detail {

void throw_no_result() { throw RuntimeError("body was suppressed and has no result"); }

}  // namespace asyncio::inline v1::detail
