// The library's own back ends; what one is: asyncio/component/backends.hpp.
#pragma once

#include <memory>
#include <string>

#include "asyncio/component/backends.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

// Raises: OSError.
std::unique_ptr<Backend> make_epoll_backend();
std::unique_ptr<Backend> make_virtual_backend();

struct UringSizes {
    unsigned entries = 1024;      // operations between two calls of the kernel
    unsigned completions = 8192;  // between two waits; more of them wait in the kernel
    unsigned buffers = 256;       // of 16 KiB, for what is received; a power of two
};
// Null where there is no io_uring; `why` then says why, and what to change. Raises: OSError.
std::unique_ptr<Backend> make_uring_backend(std::string& why, UringSizes sizes = {});

}  // namespace detail
}  // namespace v1
}  // namespace asyncio
