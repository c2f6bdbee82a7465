// A back end on virtual time whose descriptors are simulated sockets.
#pragma once

#include <memory>

#include "asyncio/component/backends.hpp"
#include "world.hpp"

namespace asyncio {
inline namespace v1 {
namespace testing {

// `world` stays as long as it.
std::unique_ptr<component::Backend> make_simulated_backend(SimulatedWorld& world);

}  // namespace testing
}  // namespace v1
}  // namespace asyncio
