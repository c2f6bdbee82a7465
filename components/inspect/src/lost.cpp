#include "lost.hpp"

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <optional>
#include <string>
#include <unordered_map>
#include <unordered_set>

namespace asyncio {
inline namespace v1 {
namespace detail {
namespace reading {

namespace {

constexpr std::size_t kNobody = ~std::size_t{0};
constexpr std::size_t kMostFree = 10'000'000;
// An object that is not in a frame stands in a larger one of unknown size: who refers to so many
// bytes before it may mean it.
constexpr Address kBefore = 16 * 1024;
constexpr Address kBehind = 256;
// Memory is copied in pieces, and forgotten again.
constexpr std::size_t kPiece = 64 * 1024;
constexpr std::size_t kPiecesKept = 256;
// A mapping that is larger is, as a rule, somebody's table of all addresses (a sanitizer's).
constexpr Address kLargest = Address{1} << 36;
// What a thread keeps above its stack.
constexpr Address kThreadLocals = 64 * 1024;

struct Range {
    Address begin = 0;
    Address end = 0;
    bool contains(Address a) const { return a >= begin && a < end; }
};

// A block of memory as its allocator sees it.
class Blocks {
  public:
    Blocks(Memory& memory, const std::vector<Block>& tables) : memory_(memory), tables_(tables) {}

    // The block of the pool in which an address lies. An empty one: a slab's head, or what has been
    // given back with its slab.
    std::optional<Range> pooled(Address at) {
        for (const Block& table : tables_) {
            const auto& p = table.pool;
            if (p.slab_size == 0) continue;
            const Address slab = at & ~(Address{p.slab_size} - 1);
            const std::uint32_t size = block_size(slab, p);
            if (size == kNoSlab) continue;
            const Address first = slab + p.head;
            if (size == 0 || at < first) return Range{at, at};
            const Address begin = first + (at - first) / size * size;
            return Range{begin, begin + size};
        }
        return std::nullopt;
    }

    // A block of malloc(3) that begins there. glibc notes the size of each before it, and in the
    // next one's whether it is in use: three that fit are no accident.
    std::optional<Range> allocated(Address begin) {
        if (begin % 16 != 0) return std::nullopt;
        std::uint64_t first = 0;
        Address at = begin - kHeader;
        for (int i = 0; i < 3; ++i) {
            const auto word = memory_.get<std::uint64_t>(at);
            if (!word) return std::nullopt;
            const std::uint64_t size = *word & ~std::uint64_t{7};
            const bool before_in_use = (*word & 1) != 0;
            if (size < 32 || size % 16 != 0 || size > kMostAllocated) return std::nullopt;
            if (i == 0) first = size;
            if (i == 1 && !before_in_use) return std::nullopt;
            at += size;
        }
        return Range{begin, begin - kHeader + first};
    }

    std::optional<Range> of_frame(Address frame) {
        if (const auto block = pooled(frame)) return block;
        return allocated(frame);
    }

  private:
    static constexpr Address kHeader = 8;
    static constexpr std::uint64_t kMostAllocated = 1 << 30;
    static constexpr std::uint32_t kNoSlab = ~std::uint32_t{0};

    std::uint32_t block_size(Address slab, const DebugBlock::Pool& p) {
        const auto known = slabs_.find(slab);
        if (known != slabs_.end()) return known->second;
        std::uint32_t size = kNoSlab;
        if (memory_.get<std::uint64_t>(slab + p.mark_at).value_or(0) == p.mark) {
            size = memory_.get<std::uint32_t>(slab + p.block_size).value_or(0);
            if (size > p.slab_size) size = kNoSlab;
        }
        return slabs_[slab] = size;
    }

    Memory& memory_;
    const std::vector<Block>& tables_;
    std::unordered_map<Address, std::uint32_t> slabs_;
};

// What one or more tasks wait for.
struct Awaited {
    Range means;                       // who points there may mean it
    Range own;                         // what stands there is its own
    std::vector<std::size_t> waiters;  // tasks
    std::vector<std::size_t> users;    // tasks whose frames refer to it
    bool known_to_others = false;      // something else refers to it
};

class Search {
  public:
    Search(ProcessMemory& memory, const std::vector<Block>& tables, int pid,
           const Snapshot& snapshot)
        : memory_(memory), tables_(tables), blocks_(memory, tables), pid_(pid) {
        for (const Loop& loop : snapshot.loops) {
            loops_.push_back(&loop);
            for (const Task& task : loop.tasks) {
                numbers_.emplace(task.id, tasks_.size());
                tasks_.push_back(&task);
            }
        }
        live_.resize(tasks_.size());
    }

    std::vector<Address> find() {
        find_owners();
        find_free();
        find_awaited();
        begin();
        if (!awaited_.empty()) scan();
        spread();
        std::vector<Address> lost;
        for (std::size_t i = 0; i < tasks_.size(); ++i) {
            if (!live_[i]) lost.push_back(tasks_[i]->id);
        }
        return lost;
    }

  private:
    void own(std::optional<Range> block, std::size_t task) {
        if (block && block->begin != block->end) owned_.push_back({*block, task});
    }

    // The blocks of each task: its state and its frames.
    void find_owners() {
        for (std::size_t i = 0; i < tasks_.size(); ++i) {
            own(blocks_.pooled(tasks_[i]->id), i);
            for (const Address frame : tasks_[i]->frames) {
                own(blocks_.of_frame(frame - tables_.front().frame.head), i);
            }
        }
        std::sort(owned_.begin(), owned_.end(),
                  [](const Owned& a, const Owned& b) { return a.block.begin < b.block.begin; });
    }

    const std::pair<const Range*, std::size_t> owner_of(Address at) const {
        const auto after =
            std::upper_bound(owned_.begin(), owned_.end(), at,
                             [](Address a, const Owned& owned) { return a < owned.block.begin; });
        if (after == owned_.begin()) return {nullptr, kNobody};
        const Owned& owned = *(after - 1);
        if (!owned.block.contains(at)) return {nullptr, kNobody};
        return {&owned.block, owned.task};
    }

    // Blocks that a thread has freed and kept: what stands in them is old.
    void find_free() {
        std::unordered_set<Address> threads;
        for (const Loop* loop : loops_) {
            if (loop->owner == 0 || !threads.insert(loop->owner).second) continue;
            for (const Block& table : tables_) {
                for (std::size_t list = 0; list < table.pool.free_count; ++list) {
                    Address block =
                        memory_.get<Address>(loop->owner + table.pool.free + list * sizeof(Address))
                            .value_or(0);
                    while (block != 0 && free_.size() < kMostFree && free_.insert(block).second) {
                        block = memory_.get<Address>(block).value_or(0);
                    }
                }
            }
        }
    }

    void find_awaited() {
        std::unordered_map<Address, std::size_t> objects;
        for (std::size_t i = 0; i < tasks_.size(); ++i) {
            const Task& task = *tasks_[i];
            if (task.state != TaskState::kWaiting || task.ends != Task::Ends::kObject) continue;
            const auto [found, added] = objects.emplace(task.object, awaited_.size());
            if (added) awaited_.push_back(object_at(task.object, task.object_size));
            awaited_[found->second].waiters.push_back(i);
        }
        for (const Awaited& a : awaited_) {
            all_.begin = all_.end == 0 ? a.means.begin : std::min(all_.begin, a.means.begin);
            all_.end = std::max(all_.end, a.means.end);
        }
        order_.resize(awaited_.size());
        for (std::size_t i = 0; i < order_.size(); ++i) order_[i] = i;
        std::sort(order_.begin(), order_.end(), [&](std::size_t a, std::size_t b) {
            return awaited_[a].means.begin < awaited_[b].means.begin;
        });
        for (const Awaited& a : awaited_) {
            longest_ = std::max(longest_, a.means.end - a.means.begin);
        }
    }

    Awaited object_at(Address object, std::uint64_t size) {
        Awaited awaited;
        awaited.own = {object, object + size};
        const auto [block, owner] = owner_of(object);
        if (block) {
            // In a frame, whose task finds it without a pointer.
            awaited.means = *block;
            awaited.users.push_back(owner);
        } else if (const auto pooled = blocks_.pooled(object)) {
            awaited.own = awaited.means = *pooled;  // a future; a frame that no task runs
        } else if (const auto heap = blocks_.allocated(object)) {
            awaited.means = *heap;
        } else {
            awaited.means = {object - std::min(object, kBefore), object + kBehind};
            awaited.known_to_others = is_of_program(object);
        }
        return awaited;
    }

    // A global, or on a stack: code finds it without a pointer.
    bool is_of_program(Address at) const {
        const auto& mappings = memory_.mappings();
        for (std::size_t i = 0; i < mappings.size(); ++i) {
            const Mapping& m = mappings[i];
            if (at < m.begin || at >= m.end) continue;
            if (m.file == "[stack]" || m.file.starts_with('/')) return true;
            // .bss: what follows a file's last part without a gap.
            return m.file.empty() && i > 0 && mappings[i - 1].end == m.begin &&
                   mappings[i - 1].file.starts_with('/');
        }
        return true;
    }

    // Those that go on without anybody's doing.
    void begin() {
        for (std::size_t i = 0; i < tasks_.size(); ++i) {
            const Task& task = *tasks_[i];
            if (task.state != TaskState::kWaiting || task.ends == Task::Ends::kOutside)
                make_live(i);
        }
        for (const Loop* loop : loops_) {
            for (const Address timed : loop->timed) wakes(timed);
        }
    }

    // A timer stands in the frame of the task that it will wake, or leads there.
    void wakes(Address timer) {
        const std::size_t owner = owner_of(timer).second;
        if (owner != kNobody) return make_live(owner);
        const Range around = blocks_.pooled(timer).value_or(
            Range{timer - std::min(timer, kBehind), timer + kBehind});
        for (Address at = around.begin & ~Address{7}; at < around.end; at += sizeof(Address)) {
            const std::size_t led = owner_of(memory_.get<Address>(at).value_or(0)).second;
            if (led != kNobody) make_live(led);
        }
    }

    void make_live(std::size_t task) {
        if (live_[task]) return;
        live_[task] = true;
        left_.push_back(task);
    }

    // Stacks of loops' threads: what runs there runs the loop, and does nothing else meanwhile.
    std::vector<Range> stacks() const {
        std::vector<Range> found;
        for (const Loop* loop : loops_) {
            if (!loop->asleep) continue;  // its step may know what nothing else does
            for (const Mapping& m : memory_.mappings()) {
                if (m.file == "[stack]" && loop->thread == pid_) found.push_back({m.begin, m.end});
                const bool holds = loop->owner >= m.begin && loop->owner < m.end;
                const std::optional<Address> top = stack_pointer(loop->thread);
                if (m.file.empty() && holds && top && *top >= m.begin && *top < loop->owner &&
                    loop->owner - m.begin > kThreadLocals) {
                    found.push_back({m.begin, loop->owner - kThreadLocals});
                }
            }
        }
        return found;
    }

    // proc(5): "number arguments... stack-pointer program-counter" of a thread that waits in a
    // call.
    std::optional<Address> stack_pointer(int thread) const {
        std::ifstream call("/proc/" + std::to_string(pid_) + "/task/" + std::to_string(thread) +
                           "/syscall");
        std::string word, last, before;
        while (call >> word) {
            before = last;
            last = word;
        }
        unsigned long long at = 0;
        if (std::sscanf(before.c_str(), "0x%llx", &at) != 1) return std::nullopt;
        return at;
    }

    void scan() {
        const std::vector<Range> skipped = stacks();
        std::vector<Address> words(kPiece / sizeof(Address));
        std::size_t pieces = 0;
        for (const Mapping& m : memory_.mappings()) {
            if (!m.writable) continue;
            if (m.end - m.begin > kLargest) {
                std::fprintf(
                    stderr,
                    "asyncio: %llu GiB at 0x%llx were not looked at: a task that something "
                    "there refers to may be told as lost\n",
                    static_cast<unsigned long long>((m.end - m.begin) >> 30),
                    static_cast<unsigned long long>(m.begin));
                continue;
            }
            for (Address at = m.begin; at < m.end; at += kPiece) {
                const std::size_t size = std::min<Address>(kPiece, m.end - at);
                if (++pieces % kPiecesKept == 0) memory_.forget();
                scan_piece(at, size, words.data(), skipped);
            }
        }
    }

    void scan_piece(Address at, std::size_t size, Address* words,
                    const std::vector<Range>& skipped) {
        constexpr std::size_t kPage = 4096;
        for (std::size_t from = 0; from < size; from += kPage) {
            const std::size_t n = std::min(kPage, size - from);
            if (!memory_.read(at + from, words, n)) continue;
            for (std::size_t i = 0; i < n / sizeof(Address); ++i) {
                if (!all_.contains(words[i])) continue;
                const Address place = at + from + i * sizeof(Address);
                const auto here = [&](const Range& r) { return r.contains(place); };
                if (std::any_of(skipped.begin(), skipped.end(), here)) continue;
                refers(place, words[i]);
            }
        }
    }

    // The word at `place` may be a pointer to something that is awaited.
    void refers(Address place, Address to) {
        std::optional<std::size_t> owner;
        const Address from = to - std::min(to, longest_);
        auto at =
            std::lower_bound(order_.begin(), order_.end(), from,
                             [&](std::size_t i, Address a) { return awaited_[i].means.begin < a; });
        for (; at != order_.end() && awaited_[*at].means.begin <= to; ++at) {
            Awaited& awaited = awaited_[*at];
            if (awaited.known_to_others || !awaited.means.contains(to)) continue;
            if (awaited.own.contains(place)) continue;
            if (!owner) {
                owner = owner_of(place).second;
                if (*owner == kNobody && is_dead(place)) return;
            }
            if (*owner == kNobody) {
                awaited.known_to_others = true;
            } else if (awaited.users.empty() || awaited.users.back() != *owner) {
                awaited.users.push_back(*owner);
            }
        }
    }

    bool is_dead(Address place) {
        const auto block = blocks_.pooled(place);
        return block && (block->begin == block->end || free_.contains(block->begin));
    }

    // From those that can run to all that they can let run.
    void spread() {
        std::unordered_map<std::size_t, std::vector<std::size_t>> uses;  // task: awaited
        for (std::size_t i = 0; i < awaited_.size(); ++i) {
            for (const std::size_t user : awaited_[i].users) uses[user].push_back(i);
            if (awaited_[i].known_to_others) end(i);
        }
        while (!left_.empty()) {
            const std::size_t task = left_.back();
            left_.pop_back();
            for (const Address waiter : tasks_[task]->awaited_by) {
                const auto found = numbers_.find(waiter);
                if (found != numbers_.end()) make_live(found->second);
            }
            for (const std::size_t i : uses[task]) end(i);
        }
    }

    void end(std::size_t awaited) {
        for (const std::size_t waiter : awaited_[awaited].waiters) make_live(waiter);
    }

    struct Owned {
        Range block;
        std::size_t task;
    };

    ProcessMemory& memory_;
    const std::vector<Block>& tables_;
    Blocks blocks_;
    int pid_;
    std::vector<const Loop*> loops_;
    std::vector<const Task*> tasks_;
    std::unordered_map<Address, std::size_t> numbers_;  // of tasks
    std::vector<Owned> owned_;                          // by where they begin
    std::unordered_set<Address> free_;
    std::vector<Awaited> awaited_;
    std::vector<std::size_t> order_;  // of them, by where what means them begins
    Range all_;                       // what means any of them
    Address longest_ = 0;
    std::vector<bool> live_;
    std::vector<std::size_t> left_;  // live ones that are still to be followed
};

}  // namespace

std::vector<Address> find_lost(ProcessMemory& memory, const std::vector<Block>& blocks, int pid,
                               const Snapshot& snapshot) {
    return Search(memory, blocks, pid, snapshot).find();
}

}  // namespace reading
}  // namespace detail
}  // namespace v1
}  // namespace asyncio
