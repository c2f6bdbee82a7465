// The loop's timers: a 4-ary heap of (deadline, entry).
//
// Why a heap and not a wheel: insert and cancel are O(log n) with nothing left behind, and the
// order is total, by (deadline, order of making), so that equal deadlines are FIFO (S-07), which
// CPython's heap does not promise. Why 4-ary: a level's four keys are 64 bytes side by side, and
// the depth halves. (Aligning them to a cache line was measured, and gave nothing.) Entries know
// their place, so a cancel needs no search (a timeout around a fast operation is the common case:
// one push and one removal at the same end).
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "asyncio/detail/loop_core.hpp"
#include "base/prefetch.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

class TimerHeap {
  public:
    bool empty() const noexcept { return heap_.empty(); }
    std::size_t size() const noexcept { return heap_.size(); }
    std::int64_t earliest() const noexcept { return heap_.front().when; }

    // Raises: std::bad_alloc.
    void push(TimerEntry& e) {
        e.sequence = ++sequence_;
        heap_.push_back({e.when, &e});
        sift_up(heap_.size() - 1);
    }

    void remove(TimerEntry& e) noexcept {
        const std::size_t i = e.index;
        e.index = TimerEntry::kNotQueued;
        const Item last = heap_.back();
        heap_.pop_back();
        if (i == heap_.size()) return;
        place(i, last);
        if (i > 0 && before(last, heap_[parent(i)])) {
            sift_up(i);
        } else {
            sift_down(i);
        }
    }

    // Takes the earliest entry off and marks it due.
    TimerEntry& pop() noexcept {
        TimerEntry& e = *heap_.front().entry;
        // One of these is next, and with many timers its entry has left the caches.
        const std::size_t end = std::min<std::size_t>(heap_.size(), 5);
        for (std::size_t i = 1; i < end; ++i) prefetch<0, sizeof(TimerEntry)>(heap_[i].entry);
        remove(e);
        e.index = TimerEntry::kDue;
        return e;
    }

    // Forgets all entries, marking them as not queued.
    void clear() noexcept {
        for (const Item& item : heap_) item.entry->index = TimerEntry::kNotQueued;
        heap_.clear();
    }

  private:
    template <class>
    friend struct DebugLayout;

    struct Item {
        std::int64_t when;
        TimerEntry* entry;
    };

    static std::size_t parent(std::size_t i) noexcept { return (i - 1) / 4; }
    static bool before(const Item& a, const Item& b) noexcept {
        if (a.when != b.when) return a.when < b.when;
        return a.entry->sequence < b.entry->sequence;
    }
    void place(std::size_t i, const Item& item) noexcept {
        heap_[i] = item;
        item.entry->index = static_cast<std::uint32_t>(i);
    }

    void sift_up(std::size_t i) noexcept {
        const Item item = heap_[i];
        while (i > 0 && before(item, heap_[parent(i)])) {
            place(i, heap_[parent(i)]);
            i = parent(i);
        }
        place(i, item);
    }

    void sift_down(std::size_t i) noexcept {
        const Item item = heap_[i];
        for (;;) {
            const std::size_t first = 4 * i + 1;
            if (first >= heap_.size()) break;
            const std::size_t end = first + 4 < heap_.size() ? first + 4 : heap_.size();
            std::size_t least = first;
            for (std::size_t c = first + 1; c < end; ++c) {
                if (before(heap_[c], heap_[least])) least = c;
            }
            if (!before(heap_[least], item)) break;
            place(i, heap_[least]);
            i = least;
        }
        place(i, item);
    }

    std::vector<Item> heap_;
    std::uint64_t sequence_ = 0;
};

}  // namespace detail
}  // namespace v1
}  // namespace asyncio
