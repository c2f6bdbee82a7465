// How explore() goes through orders.
#pragma once

#include <memory>
#include <span>

#include "asyncio/testing.hpp"
#include "orders.hpp"

namespace asyncio {
inline namespace v1 {
namespace testing {

class Search {
  public:
    Search() = default;
    Search(const Search&) = delete;
    Search& operator=(const Search&) = delete;
    virtual ~Search() = default;

    // What the next run is to choose by. Null: every order that it knows was tried.
    virtual Source* next() = 0;
    // The run is over, and chose this.
    virtual void ran(std::span<const Choice> choices) = 0;
};

// `most`: runs, at most.
std::unique_ptr<Search> make_search(const Strategy& strategy, std::uint64_t seed,
                                    std::uint64_t most);

}  // namespace testing
}  // namespace v1
}  // namespace asyncio
