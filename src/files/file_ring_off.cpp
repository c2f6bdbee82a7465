// In place of file_ring.cpp, in a build without liburing.
#include "files/file_requests.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

std::shared_ptr<FileBackend> make_ring_files(Loop&, std::shared_ptr<FileBackend>) {
    return nullptr;
}

}  // namespace detail
}  // namespace v1
}  // namespace asyncio
