// Which nodes of a ready queue are tasks.
#pragma once

#include <array>
#include <cstdint>
#include <typeinfo>

#include "asyncio/futures.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

// A node does not say what it is, but its class does. Asking takes long, so that answers are kept.
class NodeKinds {
  public:
    // Null if `node` is no task.
    TaskBase* task_of(Node& node) noexcept {
        const std::type_info* const type = &typeid(node);
        // Safe because an address is only a number here, and below.
        Kind& kind = kinds_[(reinterpret_cast<std::uintptr_t>(type) >> 3) % kinds_.size()];
        if (kind.type != type) kind = {type, dynamic_cast<TaskBase*>(&node) != nullptr};
        // Safe because an object of this class was asked.
        return kind.task ? static_cast<TaskBase*>(static_cast<Waitable*>(&node)) : nullptr;
    }

  private:
    struct Kind {
        const std::type_info* type;
        bool task;
    };
    std::array<Kind, 16> kinds_{};  // by the address of the type
};

}  // namespace detail
}  // namespace v1
}  // namespace asyncio
