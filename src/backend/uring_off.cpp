// In place of the io_uring back end, in a build without liburing.
#include "backend/backend.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

std::unique_ptr<Backend> make_uring_backend(std::string& why, UringSizes) {
    why = "this build of libasyncio was made without liburing";
    return nullptr;
}

}  // namespace detail
}  // namespace v1
}  // namespace asyncio
