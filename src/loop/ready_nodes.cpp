#include "loop/ready_nodes.hpp"

#ifdef ASYNCIO_READY_ONCE

#include <cstdint>
#include <cstdlib>
#include <string>
#include <utility>

#include "asyncio/log.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

ReadyNodes::~ReadyNodes() { std::free(slots_); }

std::size_t ReadyNodes::home_of(const Node* node) const noexcept {
    // Safe because the address is only a number here.
    const auto address = static_cast<std::uint64_t>(reinterpret_cast<std::uintptr_t>(node));
    return static_cast<std::size_t>(address * 0x9e3779b97f4a7c15 >> 32) & mask_;
}

// Where it is, or the free slot where it would be.
std::size_t ReadyNodes::place_of(const Node* node) const noexcept {
    std::size_t i = home_of(node);
    while (slots_[i] && slots_[i] != node) i = (i + 1) & mask_;
    return i;
}

bool ReadyNodes::grow() noexcept {
    const std::size_t before = slots_ ? mask_ + 1 : 0;
    const std::size_t now = before ? 2 * before : 64;
    auto* const slots = static_cast<Node**>(std::calloc(now, sizeof(Node*)));
    if (!slots) return false;
    Node** const old = std::exchange(slots_, slots);
    mask_ = now - 1;
    for (std::size_t i = 0; i < before; ++i) {
        if (old[i]) slots_[place_of(old[i])] = old[i];
    }
    std::free(old);
    return true;
}

bool ReadyNodes::insert(Node& node) noexcept {
    if (blind_) return true;
    if (2 * (count_ + 1) > mask_ && !grow()) {
        blind_ = true;
        return true;
    }
    Node*& slot = slots_[place_of(&node)];
    if (slot) return false;
    slot = &node;
    ++count_;
    return true;
}

void ReadyNodes::erase(Node& node) noexcept {
    if (blind_ || !slots_) return;
    std::size_t hole = place_of(&node);
    if (!slots_[hole]) return;
    --count_;
    // Those behind it move up, as far as each may: a search ends at the first free slot.
    for (std::size_t i = (hole + 1) & mask_; slots_[i]; i = (i + 1) & mask_) {
        const std::size_t home = home_of(slots_[i]);
        if (((i - home) & mask_) < ((i - hole) & mask_)) continue;
        slots_[hole] = slots_[i];
        hole = i;
    }
    slots_[hole] = nullptr;
}

void ReadyQueue::note_in(ReadyNodes& nodes, Node& node) noexcept {
    if (nodes.insert(node)) return;
    log::write(log::Level::CRITICAL, "a node entered the ready queue twice: " + name_of(node));
    std::abort();
}

void ReadyQueue::leaves_from(ReadyNodes& nodes, Node& node) noexcept { nodes.erase(node); }

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

#endif
