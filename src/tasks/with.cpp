#include "asyncio/with.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

void throw_no_result() { throw RuntimeError("body was suppressed and has no result"); }

}  // namespace detail
}  // namespace v1
}  // namespace asyncio
