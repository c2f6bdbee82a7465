// The nodes of a loop's ready queue, in debug builds: what tells that one enters twice.
//
// A node that enters twice breaks the queue's links: nodes between are lost, or one runs for ever,
// or a task's next await ends by itself. All of that is seen much later and elsewhere.
#pragma once

#ifdef ASYNCIO_READY_ONCE

#include <cstddef>
#include <string>

#include "asyncio/detail/loop_core.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

// A set of addresses. Its memory is malloc's, so that tests which count or refuse what operator new
// gives see what a release build does. Without memory it looks no more.
class ReadyNodes {
  public:
    ReadyNodes() = default;
    ReadyNodes(const ReadyNodes&) = delete;
    ReadyNodes& operator=(const ReadyNodes&) = delete;
    ~ReadyNodes();

    // False: it is there already.
    bool insert(Node& node) noexcept;
    // Whether it is there or not: a program that was compiled without this queues unseen.
    void erase(Node& node) noexcept;

  private:
    std::size_t home_of(const Node* node) const noexcept;
    std::size_t place_of(const Node* node) const noexcept;
    bool grow() noexcept;

    Node** slots_ = nullptr;  // linear probing; null: free
    std::size_t mask_ = 0;    // slots less one; the number of slots is a power of two
    std::size_t count_ = 0;
    bool blind_ = false;  // there was no memory
};

// tasks/repr.cpp: the task's name, or the type.
std::string name_of(Node& node);

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

#endif
