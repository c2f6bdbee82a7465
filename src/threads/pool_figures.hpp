// How many threads the pools of this process have, and what waits for one.
#pragma once

#include <atomic>
#include <cstdint>

namespace asyncio {
inline namespace v1 {
namespace detail {

// Of all ThreadPoolExecutors, those of the loops too. For a monitoring system: nobody acts on them.
struct PoolFigures {
    std::atomic<std::int64_t> threads{0};
    std::atomic<std::int64_t> queued{0};  // jobs that found no thread
};
extern constinit PoolFigures pool_figures;

}  // namespace detail
}  // namespace v1
}  // namespace asyncio
