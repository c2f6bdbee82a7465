// What a child process was asked to be.
#pragma once

#include <cstddef>
#include <exception>

#include "asyncio/subprocess.hpp"
#include "os/processes.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

// A copy of the arguments of create_subprocess_exec and its kin.
struct SubprocessPlan {
    SpawnRequest request;
    subprocess::Stdio stdio[3];
    std::size_t limit = 0;
    std::exception_ptr error;  // what is wrong with it
};

}  // namespace detail
}  // namespace v1
}  // namespace asyncio
