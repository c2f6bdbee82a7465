#include "loop.hpp"

namespace asyncio::inline v1 {
class ThreadPoolExecutor {};
namespace detail {

void close_executor(Loop&) noexcept {}

}  // namespace detail
}  // namespace asyncio::inline v1
