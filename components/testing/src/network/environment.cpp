// ASYNCIO_BACKEND=simulated: a whole program on a network that is made up, each thread on its own.
#include <cstdlib>
#include <memory>
#include <string_view>
#include <utility>

#include "../one_run.hpp"
#include "asyncio/component/backends.hpp"
#include "backend.hpp"
#include "world.hpp"

// For the linker: `-u asyncio_simulated_backend` takes this file out of the archive.
extern "C" ASYNCIO_API const bool asyncio_simulated_backend;

namespace asyncio {
inline namespace v1 {
namespace testing {

namespace {

// Numbers that are closed after it has gone, by objects of static duration, are EBADF.
struct ThreadWorld {
    SimulatedWorld world{with_seed({}).seed};
    ThreadWorld() = default;
    ThreadWorld(const ThreadWorld&) = delete;
    ThreadWorld& operator=(const ThreadWorld&) = delete;
    ~ThreadWorld() { component::set_simulated_sockets(nullptr); }
};

SimulatedWorld& world_of_thread() {
    thread_local ThreadWorld of_thread;
    return of_thread.world;
}

std::unique_ptr<component::Backend> simulated_in_place_of(
    std::unique_ptr<component::Backend> real) {
    // A loop on virtual time has no sockets; a run's own simulation is one already.
    if (real->is_virtual()) return real;
    SimulatedWorld& world = world_of_thread();
    component::set_simulated_sockets(&world);
    return make_simulated_backend(world);
}

bool wrap_if_asked() {
    const char* const name = ::secure_getenv("ASYNCIO_BACKEND");
    const bool asked = name && std::string_view(name) == "simulated";
    if (asked) {
        component::wrap_backends(simulated_in_place_of);
        // Of this thread also the sockets that it makes before its first loop.
        component::set_simulated_sockets(&world_of_thread());
    }
    return asked;
}

}  // namespace

}  // namespace testing
}  // namespace v1
}  // namespace asyncio

const bool asyncio_simulated_backend = asyncio::testing::wrap_if_asked();
