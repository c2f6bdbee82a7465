// Reading by the table of offsets alone: processes that were made up, each with a layout of its
// own.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "asyncio/detail/debug_block.hpp"
#include "inspect/reader.hpp"

namespace {

using namespace asyncio::detail::reading;
using asyncio::detail::DebugBlock;
using asyncio::detail::DebugWait;
using asyncio::detail::kDebugFormat;
using asyncio::detail::kDebugMinor;
using asyncio::detail::kDebugNone;

// The memory of a process that does not exist, page by page.
class MadeUp final : public Memory {
  public:
    // Room for an object.
    Address make(std::size_t size) {
        const Address at = next_;
        next_ += (size + 63) / 64 * 64;
        return at;
    }
    template <class T>
    void put(Address at, T value) {
        for (std::size_t i = 0; i < sizeof value; ++i) {
            char c;
            std::memcpy(&c, reinterpret_cast<const char*>(&value) + i, 1);
            page(at + i)[(at + i) % kPage] = c;
        }
    }
    Address text(const std::string& text) {
        const Address at = make(text.size() + 1);
        for (std::size_t i = 0; i <= text.size(); ++i) put(at + i, text.c_str()[i]);
        return at;
    }

  private:
    std::vector<char>& page(Address at) {
        auto& p = pages_[at / kPage];
        p.resize(kPage);
        return p;
    }
    std::uint32_t fetch(Address address, char* to) override {
        std::uint32_t got = 0;
        for (std::size_t i = 0; i < kPages; ++i) {
            const auto found = pages_.find(address / kPage + i);
            if (found == pages_.end()) continue;
            std::memcpy(to + i * kPage, found->second.data(), kPage);
            got |= 1u << i;
        }
        return got;
    }

    std::map<Address, std::vector<char>> pages_;
    Address next_ = 0x10'0000;
};

// A layout in which nothing stands where this library has it.
class Layout {
  public:
    explicit Layout(unsigned seed) : random_(seed) {
        std::memset(&block, 0, sizeof block);
        block.size = sizeof block;
        block.format = kDebugFormat;
        block.minor = kDebugMinor;
        block.pointer = 8;
        block.long_name = 1;
        auto& l = block.loop;
        scatter({&l.following, &l.number, &l.closed, &l.debug, &l.running, &l.asleep, &l.first_task,
                 &l.ready, &l.batch, &l.inbox, &l.owner, &l.steps, &l.rounds, &l.iterations,
                 &l.clock, &l.backend_name});
        l.timers = place(2);
        l.timer_size = 24;
        scatter({&block.thread.loop, &block.thread.task, &block.thread.id});
        auto& f = block.future;
        taken_ = {0};  // an object begins with its table of functions
        scatter({&f.state, &f.flags, &f.callbacks, &f.waiting, &f.place, &f.next, &block.task.leaf,
                 &block.task.name, &block.task.following, &block.task.previous,
                 &block.task.cancels});
        f.is_task = 4;
        f.must_cancel = 1 << (random_() % 8 + 8);
        f.pending = static_cast<std::uint8_t>(random_() % 4);
        f.finished = static_cast<std::uint8_t>(f.pending + 1);
        taken_.clear();
        block.task.extra_name = place(2);
        taken_.clear();
        scatter({&block.frame.link, &block.frame.place});
        block.frame.bits = 15;
        block.frame.root = 4;
        taken_.clear();
        scatter({&block.place.file, &block.place.function, &block.place.line});
        taken_ = {0};
        scatter({&block.waiter.task, &block.waiter.state, &block.waiter.kind});
        std::strcpy(block.task_type, "4Work");
        std::strcpy(block.future_type, "6Future");
        std::strcpy(block.waiter_type, "4Wait");
        std::strcpy(block.lined_type, "5Lined");
        std::strcpy(block.serving_type, "7ServingI");
        std::strcpy(block.gather_type, "6Gather");
        taken_ = {0, static_cast<std::uint16_t>(block.waiter.kind / 8),
                  static_cast<std::uint16_t>(block.waiter.task / 8),
                  static_cast<std::uint16_t>(block.waiter.state / 8)};
        when = place(1);
    }

    static constexpr std::size_t kSize = 1024;  // of every object

    DebugBlock block;
    std::uint16_t when = 0;  // in a waiter: until when it sleeps

  private:
    std::uint16_t place(std::size_t words) {
        for (;;) {
            const auto at = static_cast<std::uint16_t>(random_() % (kSize / 8 - words));
            bool is_free = true;
            for (std::size_t i = 0; i < words; ++i) {
                is_free &= std::find(taken_.begin(), taken_.end(), at + i) == taken_.end();
            }
            if (!is_free) continue;
            for (std::size_t i = 0; i < words; ++i) {
                taken_.push_back(static_cast<std::uint16_t>(at + i));
            }
            return static_cast<std::uint16_t>(at * 8);
        }
    }
    void scatter(std::initializer_list<std::uint16_t*> fields) {
        for (std::uint16_t* const field : fields) *field = place(1);
    }

    std::mt19937 random_;
    std::vector<std::uint16_t> taken_;
};

// A process with one loop and two tasks: one sleeps, the other awaits it.
struct Process {
    explicit Process(unsigned seed) : layout(seed) {
        DebugBlock& b = layout.block;
        const auto object = [&] { return memory.make(Layout::kSize); };
        const auto of_type = [&](const std::string& name, Address base) {
            const Address type = memory.make(32);
            memory.put(type + 8, memory.text(name));
            memory.put(type + 16, base);
            const Address table = memory.make(64) + 16;
            memory.put(table - 8, type);
            return std::pair(table, type);
        };
        const auto place = [&](const std::string& function, std::uint32_t line) {
            const Address at = object();
            memory.put(at + b.place.file, memory.text("made_up.cpp"));
            memory.put(at + b.place.function, memory.text(function));
            memory.put(at + b.place.line, line);
            return at;
        };
        const auto future_type = of_type("6Future", 0).second;
        const Address task_table = of_type("4Work", future_type).first;
        const Address wait_table = of_type("4Wait", 0).first;

        const Address loop = object(), thread = object();
        sleeper = object();
        awaiter = object();
        const Address list = memory.make(32);
        memory.put(list, loop);
        b.loops = reinterpret_cast<const void*>(list);
        memory.put(loop + b.loop.number, std::uint64_t{7});
        memory.put(loop + b.loop.running, std::uint8_t{1});
        memory.put(loop + b.loop.asleep, std::uint8_t{1});
        memory.put(loop + b.loop.steps, std::uint64_t{12'345});
        memory.put(loop + b.loop.rounds, std::uint64_t{100});
        memory.put(loop + b.loop.iterations, std::uint32_t{11});
        memory.put(loop + b.loop.clock, std::int64_t{1'000'000'000});
        memory.put(loop + b.loop.backend_name, memory.text("made-up"));
        memory.put(loop + b.loop.owner, thread);
        memory.put(loop + b.loop.first_task, sleeper);
        memory.put(thread + b.thread.loop, loop);
        memory.put(thread + b.thread.id, std::int32_t{4242});

        // What it is for: a sleep of two more seconds.
        const Address wait = object(), waits = memory.make(8);
        const Address kind = memory.make(sizeof(DebugWait));
        DebugWait sleep{"sleep",    kDebugNone,  kDebugNone, kDebugNone,
                        kDebugNone, layout.when, kDebugNone};
        memory.put(kind, sleep);
        memory.put(waits, kind);
        b.waits = reinterpret_cast<const DebugWait* const*>(waits);
        b.waits_count = 1;
        b.waits_size = sizeof(DebugWait);
        memory.put(wait, wait_table);
        memory.put(wait + layout.when, std::int64_t{3'000'000'000});

        for (const Address task : {sleeper, awaiter}) {
            memory.put(task, task_table);
            memory.put(task + b.future.state, b.future.pending);
        }
        memory.put(sleeper + b.task.following, awaiter);
        memory.put(sleeper + b.future.waiting, wait);
        memory.put(awaiter + b.future.waiting, sleeper);
        memory.put(awaiter + b.future.flags, b.future.must_cancel);
        memory.put(awaiter + b.task.name, std::uint64_t{17 * 2 + 1});
        // Who awaits it is in a ring of one.
        memory.put(sleeper + b.future.callbacks, awaiter);
        memory.put(awaiter + b.future.next, awaiter);
        const Address extra = object();
        memory.put(sleeper + b.task.name, extra);
        memory.put(extra + b.task.extra_name, memory.text("the sleeper"));
        memory.put(extra + b.task.extra_name + 8, std::uint64_t{11});

        const Address inner = object(), outer = object();
        memory.put(sleeper + b.task.leaf, inner);
        memory.put(inner + b.frame.place, place("void nap(int)", 3));
        memory.put(inner + b.frame.link, outer);
        memory.put(outer + b.frame.place, place("void work()", 9));
        memory.put(outer + b.frame.link, sleeper | b.frame.root);
    }

    std::vector<Loop> read() {
        std::vector<Loop> loops;
        const Reading reading;
        memory.forget();
        Reader(memory, layout.block, reading).read_loops(loops);
        return loops;
    }

    Layout layout;
    MadeUp memory;
    Address sleeper = 0;
    Address awaiter = 0;
};

TEST(Reader, GoesByTheTableAlone) {
    for (unsigned seed = 0; seed < 200; ++seed) {
        SCOPED_TRACE(seed);
        Process process(seed);
        const auto loops = process.read();
        ASSERT_EQ(loops.size(), 1u);
        const Loop& loop = loops.front();
        EXPECT_EQ(loop.number, 7u);
        EXPECT_TRUE(loop.running && loop.asleep && !loop.debug);
        EXPECT_EQ(loop.backend, "made-up");
        EXPECT_EQ(loop.steps, 12'345u);
        EXPECT_EQ(loop.iterations, 111u);
        EXPECT_EQ(loop.thread, 4242);
        ASSERT_EQ(loop.tasks.size(), 2u);
        const Task& sleeper = loop.tasks[0];
        EXPECT_EQ(sleeper.name, "the sleeper");
        EXPECT_EQ(sleeper.state, TaskState::kWaiting);
        EXPECT_EQ(sleeper.waits_for, "sleep, 2.0 s left");
        EXPECT_EQ(sleeper.awaited_by, std::vector{process.awaiter});
        ASSERT_EQ(sleeper.stack.size(), 2u);
        EXPECT_EQ(sleeper.stack[0].function, "work");
        EXPECT_EQ(sleeper.stack[1].function, "nap");
        EXPECT_EQ(sleeper.stack[1].file, "made_up.cpp");
        EXPECT_EQ(sleeper.stack[1].line, 3u);
        const Task& awaiter = loop.tasks[1];
        EXPECT_EQ(awaiter.name, "Task-17");
        EXPECT_EQ(awaiter.waits_for, "the sleeper");
        EXPECT_TRUE(awaiter.cancelling);
        EXPECT_FALSE(sleeper.cancelling);
    }
}

// A process that lies: an answer, whatever it is, and soon.
TEST(Reader, SurvivesEveryWordOfALie) {
    for (unsigned seed = 0; seed < 3; ++seed) {
        Process process(seed);
        std::mt19937 random(seed);
        for (int i = 0; i < 2'000; ++i) {
            const Address at = 0x10'0000 + random() % 0x3000 / 8 * 8;
            const auto before = process.memory.get<std::uint64_t>(at);
            if (!before) continue;
            const std::uint64_t lies[] = {0,
                                          1,
                                          ~std::uint64_t{0},
                                          at,
                                          process.sleeper,
                                          std::uint64_t{1} << (random() % 64),
                                          *before ^ std::uint64_t{1} << (random() % 64)};
            process.memory.put(at, lies[random() % std::size(lies)]);
            (void)process.read();
            process.memory.put(at, *before);
        }
        EXPECT_EQ(process.read().front().tasks.size(), 2u);
    }
}

}  // namespace
