// ctest: timeout=120
// Each allocation of a scenario fails once: it is run again and again, and in the n-th run the n-th
// one is refused. The scenario then succeeds all the same or ends with std::bad_alloc; nothing
// leaks, nothing hangs or terminates, and the loop serves as before. And each call of the back end
// fails once, in several ways, with the same demands.
#include <asyncio.hpp>

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <functional>
#include <iterator>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "faults/fault_backend.hpp"
#include "loop/loop.hpp"
#include "support.hpp"

namespace {

// Blocks that are in use, and how many are given until one is refused (negative: all are).
std::atomic<std::ptrdiff_t> blocks{0};
std::atomic<std::ptrdiff_t> left{-1};

[[maybe_unused]] bool refused() noexcept {
    if (left.load(std::memory_order_relaxed) < 0) return false;
    return left.fetch_sub(1, std::memory_order_relaxed) == 0;
}

}  // namespace

// clang links its thread sanitizer's own operator new into the program, and two cannot be.
#if defined(__SANITIZE_THREAD__)
constexpr bool kOwnNew = false;
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define ALLOCATIONS_NO_NEW 1
#endif
constexpr bool kOwnNew = !__has_feature(thread_sanitizer);
#else
constexpr bool kOwnNew = true;
#endif

#if !defined(__SANITIZE_THREAD__) && !defined(ALLOCATIONS_NO_NEW)
// Not inlined: g++ would then see a block of operator new given to free().
[[gnu::noinline]] void* operator new(std::size_t size) {
    void* const p = refused() ? nullptr : std::malloc(size ? size : 1);
    if (!p) throw std::bad_alloc();
    blocks.fetch_add(1, std::memory_order_relaxed);
    return p;
}
// The address sanitizer has one of its own in place of the standard library's, which calls the
// above.
[[gnu::noinline]] void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
    void* const p = refused() ? nullptr : std::malloc(size ? size : 1);
    if (p) blocks.fetch_add(1, std::memory_order_relaxed);
    return p;
}
[[gnu::noinline]] void operator delete(void* p) noexcept {
    if (p) blocks.fetch_sub(1, std::memory_order_relaxed);
    std::free(p);
}
[[gnu::noinline]] void operator delete(void* p, std::size_t) noexcept { ::operator delete(p); }
#endif

namespace {

using namespace asyncio;
using namespace std::chrono_literals;

// Which run it is, for who looks at a crash or a hang.
const char* scenario_name = "";
std::ptrdiff_t scenario_run = 0;

void tell_run(const char* what) noexcept {
    char text[200];
    const int n = std::snprintf(text, sizeof text, "%s in scenario %s, allocation %td\n", what,
                                scenario_name, scenario_run);
    [[maybe_unused]] const ssize_t written =
        ::write(STDERR_FILENO, text, static_cast<std::size_t>(n));
}

// True for std::bad_alloc and groups of nothing else. What else may come of it: the errors that say
// that a thing could not be done for want of memory.
bool is_no_memory(const std::exception_ptr& error) {
    if (const auto* group = detail::find<BaseExceptionGroup>(error)) {
        for (const auto& member : group->exceptions()) {
            if (!is_no_memory(member)) return false;
        }
        return true;
    }
    if (const auto* os = detail::find<OSError>(error)) return os->code().value() == ENOMEM;
    return detail::find<std::bad_alloc>(error) != nullptr;
}

using Scenario = std::function<Coroutine<int>()>;
constexpr int kDone = 4711;  // what a scenario gives that did all

// Whether the loop still does what it is for.
void check_loop(EventLoop& loop) {
    int called = 0;
    loop.call_soon([&] { ++called; });
    const auto check = [&]() -> Coroutine<int> {
        auto one = create_task([]() -> Coroutine<int> {
            co_await sleep(1ms);
            co_return 1;
        });
        co_return co_await one + called;
    };
    EXPECT_EQ(loop.run_until_complete(check), 2)
        << scenario_name << ", allocation " << scenario_run;
}

// The number of allocations, or one less than the run in which all was given.
void fail_each(const char* name, std::unique_ptr<EventLoop> (*make)(), const Scenario& scenario) {
    if (!kOwnNew) GTEST_SKIP() << "the sanitizer has its own operator new";
    scenario_name = name;
    const auto previous = std::set_terminate([] {
        tell_run("terminate");
        std::abort();
    });
    ::signal(SIGALRM, [](int) {
        tell_run("hang");
        std::abort();
    });
    bool all_given = false;
    bool leaked = false;  // in the run before
    const auto sink = log::set_sink([](log::Level, std::string_view) {});
    const int wait_ms = make == &VirtualTimeEventLoop::create ? 200 : 2000;
    // The first run is whole, and makes what stays.
    for (std::ptrdiff_t n = -1; !all_given; ++n) {
        scenario_run = n;
        ::alarm(20 * (support::kAddressSanitizer ? 5 : 1));
        const std::ptrdiff_t before = blocks.load();
        std::exception_ptr error;
        {
            const auto loop = make();
            loop->set_exception_handler([](EventLoop&, const ExceptionContext&) {});
            int result = 0;
            left.store(n);
            try {
                result = loop->run_until_complete(scenario());
            } catch (...) {
                // Looked at below.
                error = std::current_exception();
            }
            all_given = left.exchange(-1) >= 0;
            if (error) {
                EXPECT_TRUE(is_no_memory(error))
                    << name << ", allocation " << n << ": " << detail::describe(error);
            } else {
                EXPECT_EQ(result, kDone) << name << ", allocation " << n;
            }
            error = nullptr;
            check_loop(*loop);
            loop->close();
        }
        // Threads that end, which a loop on virtual time has too, give back what is theirs a moment
        // later.
        for (int i = 0; i < wait_ms && n >= 0 && blocks.load() > before; ++i) ::usleep(1000);
        // What stays may be made by the first run that comes to it: so it is run once more.
        const bool leaks = n >= 0 && blocks.load() > before;
        EXPECT_FALSE(leaks && leaked)
            << name << ", allocation " << n << " leaks " << blocks.load() - before << " blocks";
        leaked = leaks && !leaked;
        if (leaked) --n;
    }
    ::alarm(0);
    std::set_terminate(previous);
    log::set_sink(sink);
}

// ---- a call of the back end fails
// ----------------------------------------------------------------

class OneCall final : public faults::FaultPlan {
  public:
    OneCall(int call, unsigned how) noexcept : call_(call), how_(how) {}
    bool fails(const char* call, unsigned& how) noexcept override {
        if (ended || ++calls_ != call_) return false;
        failed = call;
        how = how_;
        return true;
    }
    const char* failed = nullptr;
    bool ended = false;

  private:
    const int call_;
    const unsigned how_;
    int calls_ = 0;
};

std::size_t open_descriptors() {
    const std::filesystem::directory_iterator descriptors("/proc/self/fd");
    return static_cast<std::size_t>(std::distance(begin(descriptors), end(descriptors)));
}

std::unique_ptr<component::Backend> make_backend(bool uring) {
    std::string why;
    return uring ? component::make_uring_backend(why) : component::make_epoll_backend();
}

// What a scenario may give if it does not do all: what was injected, and what a peer sees of it.
bool is_of_a_fault(const std::exception_ptr& error) {
    if (const auto* group = detail::find<BaseExceptionGroup>(error)) {
        for (const auto& member : group->exceptions()) {
            if (!is_of_a_fault(member)) return false;
        }
        return true;
    }
    // A time-out would be a wake-up that is lost.
    return detail::find<OSError>(error) && !detail::find<TimeoutError>(error);
}

// Each call of the back end fails once, in each way.
void fail_each_call(const char* name, bool uring, const Scenario& scenario) {
    constexpr unsigned kWays = 12;
    if (!make_backend(uring)) return;
    scenario_name = name;
    const auto sink = log::set_sink([](log::Level, std::string_view) {});
    ::signal(SIGALRM, [](int) {
        tell_run("hang");
        std::abort();
    });
    bool all_done = false;
    for (int call = 1; !all_done; ++call) {
        for (unsigned how = 0; how < kWays && !all_done; ++how) {
            scenario_run = call * 100 + static_cast<int>(how);
            ::alarm(60);
            const std::size_t before = open_descriptors();
            OneCall plan(call, how);
            {
                const auto made = component::new_event_loop(
                    std::make_unique<faults::FaultBackend>(make_backend(uring), plan));
                EventLoop& loop = *made;
                loop.set_exception_handler([](EventLoop&, const ExceptionContext&) {});
                try {
                    EXPECT_EQ(loop.run_until_complete(scenario()), kDone);
                } catch (...) {
                    // It may fail.
                    EXPECT_TRUE(plan.failed && is_of_a_fault(std::current_exception()))
                        << detail::describe(std::current_exception());
                }
                plan.ended = true;
                check_loop(loop);
                loop.close();
            }
            all_done = !plan.failed;
            for (int i = 0; i < 2000 && open_descriptors() != before; ++i) ::usleep(1000);
            EXPECT_EQ(open_descriptors(), before);
            if (testing::Test::HasFailure()) {
                ADD_FAILURE() << name << (uring ? " on io_uring" : " on epoll") << ": call " << call
                              << " (" << (plan.failed ? plan.failed : "none") << "), way " << how;
                all_done = true;
            }
        }
    }
    ::alarm(0);
    log::set_sink(sink);
}

void fail_each_virtual(const char* name, const Scenario& scenario) {
    fail_each(name, &VirtualTimeEventLoop::create, scenario);
}
void fail_each_real(const char* name, const Scenario& scenario) {
    fail_each(name, &EpollEventLoop::create, scenario);
    fail_each(name, &UringEventLoop::create, scenario);
    fail_each_call(name, false, scenario);
    fail_each_call(name, true, scenario);
}

Coroutine<int> give(int value, Delay delay) {
    co_await sleep(delay);
    co_return value;
}

// ---- structure

TEST(OneFailure, TaskGroups) {
    fail_each_virtual("task groups", []() -> Coroutine<int> {
        int sum = 0;
        const auto body = [&sum](TaskGroup& tg) -> Coroutine<> {
            const auto child = [&sum](int i) -> Coroutine<> {
                co_await sleep(1ms * i);
                sum += i;
            };
            for (int i = 1; i <= 4; ++i) tg.create_task(child(i), {.name = "a child with a name"});
            co_await sleep(1ms);
        };
        co_await with(TaskGroup{}, body);
        co_return sum == 10 ? kDone : sum;
    });
}

TEST(OneFailure, TaskGroupsWhoseChildrenFail) {
    fail_each_virtual("failing task groups", []() -> Coroutine<int> {
        const auto fails = [](Delay delay) -> Coroutine<> {
            co_await sleep(delay);
            throw ValueError("a reason that is longer than what fits into a short string");
        };
        const auto body = [&](TaskGroup& tg) -> Coroutine<> {
            tg.create_task(fails(1ms));
            tg.create_task(fails(1ms));
            tg.create_task(give(1, 1h));
            co_await sleep(1h);
        };
        auto outcome = co_await as_result(with(TaskGroup{}, body));
        if (is_no_memory(outcome.error())) throw std::bad_alloc();
        const auto* group = detail::find<BaseExceptionGroup>(outcome.error());
        // One of them, or all, may be the failure that is tested.
        co_return group ? kDone : 1;
    });
}

TEST(OneFailure, Timeouts) {
    fail_each_virtual("timeouts", []() -> Coroutine<int> {
        auto body = []() -> Coroutine<> { co_await sleep(1h); };
        auto over = co_await as_result(with(timeout(1ms), body));
        if (is_no_memory(over.error())) throw std::bad_alloc();
        if (!over.holds<TimeoutError>()) co_return 1;
        if (co_await wait_for(give(1, 1ms), 1s) != 1) co_return 2;
        auto late = co_await as_result(wait_for(give(1, 1h), 1ms));
        if (is_no_memory(late.error())) throw std::bad_alloc();
        if (!late.holds<TimeoutError>()) co_return 3;
        auto inner = [body]() -> Coroutine<> { co_await with(timeout(1s), body); };
        auto nested = co_await as_result(with(timeout(1ms), inner));
        if (is_no_memory(nested.error())) throw std::bad_alloc();
        co_return nested.holds<TimeoutError>() ? kDone : 4;
    });
}

TEST(OneFailure, GatherAndShield) {
    fail_each_virtual("gather", []() -> Coroutine<int> {
        const auto [a, b] = co_await gather(give(1, 2ms), give(2, 1ms));
        std::vector<Coroutine<int>> many;
        many.reserve(5);
        for (int i = 0; i < 5; ++i) many.push_back(give(i, 1ms * i));
        const std::vector<int> all = co_await gather(std::move(many));
        const int c = co_await shield(give(3, 1ms));
        co_return a + b + c == 6 && all.size() == 5 ? kDone : 1;
    });
}

TEST(OneFailure, WaitAndAsCompleted) {
    fail_each_virtual("wait", []() -> Coroutine<int> {
        std::vector<Task<int>> tasks;
        for (int i = 0; i < 4; ++i) tasks.push_back(create_task(give(i, 1ms * i)));
        WaitOptions first;
        first.return_when = FIRST_COMPLETED;
        const auto some = co_await wait(tasks, first);
        WaitOptions limited;
        limited.timeout = 1s;
        const auto all = co_await wait(tasks, limited);
        if (all.done.size() != 4 || some.done.empty()) co_return 1;
        std::vector<Task<int>> more;
        for (int i = 0; i < 3; ++i) more.push_back(create_task(give(i, 1ms * i)));
        int sum = 0;
        auto completed = as_completed(more, AsCompletedOptions{.timeout = 1h});
        while (auto next = co_await completed.next()) sum += next->result();
        co_return sum == 3 ? kDone : 2;
    });
}

TEST(OneFailure, FuturesAndCallbacks) {
    fail_each_virtual("futures", []() -> Coroutine<int> {
        EventLoop& loop = get_running_loop();
        auto future = loop.create_future<std::string>();
        // Shared, since those that were added are called even if a later one finds no memory.
        const auto called = std::make_shared<int>(0);
        for (int i = 0; i < 3; ++i) {
            future.add_done_callback([called](const auto&) { ++*called; });
        }
        std::string result = "a result that takes a block of its own";
        loop.call_soon([future, result = std::move(result)]() mutable {
            if (!future.done()) future.set_result(std::move(result));
        });
        const auto timer = loop.call_later(1h, [] {});
        const std::string text = co_await future;
        co_await sleep(0s);
        co_return *called == 3 && text.size() == 38 ? kDone : *called;
    });
}

// ---- coordination

TEST(OneFailure, Queues) {
    fail_each_virtual("queues", []() -> Coroutine<int> {
        Queue<std::string> queue(2);
        int sum = 0;
        const auto consume = [&]() -> Coroutine<> {
            for (int i = 0; i < 6; ++i) {
                sum += static_cast<int>((co_await queue.get()).size());
                queue.task_done();
            }
        };
        const auto produce = [&]() -> Coroutine<> {
            for (int i = 0; i < 6; ++i) co_await queue.put(std::string(40, 'x'));
            co_await queue.join();
        };
        const auto body = [&](TaskGroup& tg) -> Coroutine<> {
            tg.create_task(consume());
            tg.create_task(produce());
            co_return;
        };
        co_await with(TaskGroup{}, body);
        PriorityQueue<int> sorted;
        for (int i = 0; i < 20; ++i) co_await sorted.put(20 - i);
        co_return sum == 240 && co_await sorted.get() == 1 ? kDone : sum;
    });
}

TEST(OneFailure, Locks) {
    fail_each_virtual("locks", []() -> Coroutine<int> {
        Lock lock;
        Semaphore semaphore(1);
        Event event;
        Condition condition;
        Barrier barrier(2);
        int sum = 0;
        const auto one = [&]() -> Coroutine<> {
            {
                const auto held = co_await lock.scoped();
                co_await sleep(1ms);
            }
            {
                const auto unit = co_await semaphore.scoped();
                co_await sleep(1ms);
            }
            co_await barrier.wait();
            sum += 1;
        };
        const auto waits = [&]() -> Coroutine<> {
            co_await event.wait();
            sum += 10;
        };
        const auto sets = [&]() -> Coroutine<> {
            co_await sleep(1ms);
            event.set();
        };
        const auto body = [&](TaskGroup& tg) -> Coroutine<> {
            tg.create_task(one());
            tg.create_task(one());
            tg.create_task(waits());
            tg.create_task(sets());
            co_return;
        };
        co_await with(TaskGroup{}, body);
        co_return sum == 12 && !lock.locked() && !semaphore.locked() ? kDone : sum;
    });
}

AsyncGenerator<std::string> numbers(int n) {
    for (int i = 0; i < n; ++i) {
        co_await sleep(1ms);
        co_yield std::string(40, static_cast<char>('a' + i));
    }
}

TEST(OneFailure, Generators) {
    fail_each_virtual("generators", []() -> Coroutine<int> {
        auto whole = numbers(3);
        std::size_t sum = 0;
        while (auto next = co_await whole.next()) sum += next->size();
        auto begun = numbers(3);
        co_await begun.next();
        co_await begun.aclose();
        auto dropped = numbers(3);
        co_await dropped.next();
        co_return sum == 120 ? kDone : 1;
    });
}

// ---- the system

Coroutine<> echo(StreamReader r, StreamWriter w) {
    const std::string line = co_await r.readline();
    w.write(line);
    co_await w.drain();
    w.close();
    co_await w.wait_closed();
}

TEST(OneFailure, StreamsOverLoopback) {
    fail_each_real("streams", []() -> Coroutine<int> {
        // A connection that the server could not serve is closed: then nothing comes.
        const auto body = []() -> Coroutine<int> {
            auto server = co_await start_server(echo, "127.0.0.1", 0);
            const int port = server.sockets().front().getsockname().port();
            auto [r, w] = co_await open_connection("127.0.0.1", port);
            w.write("a line of some length, more than a short string has room for\n");
            co_await w.drain();
            const std::string line = co_await r.readline();
            w.close();
            server.close();
            co_return line.empty() || line.size() == 61 ? kDone : static_cast<int>(line.size());
        };
        auto outcome = co_await as_result(wait_for(body(), 10s));
        if (outcome.holds<ConnectionError>()) co_return kDone;
        co_return outcome.value();
    });
}

// A protocol that is replaced by its own method lives until that has returned.
TEST(OneFailure, ReplacedProtocols) {
    struct Quiet final : Protocol {
        void data_received(std::string_view) override { connection.close(); }
        Transport connection;
    };
    struct Replaced final : Protocol {
        explicit Replaced(bool& gone) : gone_(gone) {}
        ~Replaced() override { gone_ = true; }
        void connection_made(Transport& made) override { connection = made; }
        void data_received(std::string_view) override {
            bool& gone = gone_;
            auto next = std::make_shared<Quiet>();
            next->connection = connection;
            try {
                connection.set_protocol(next);
            } catch (const std::bad_alloc&) {
                EXPECT_FALSE(gone);
                connection.close();
                throw;
            }
            EXPECT_FALSE(gone);
            connection.close();
        }
        Transport connection;

      private:
        bool& gone_;
    };
    bool gone = false;  // outlives what a failure leaves to the loop
    fail_each_real("replaced protocols", [&gone]() -> Coroutine<int> {
        gone = false;
        auto [mine, theirs] = Socket::pair();
        EventLoop& loop = get_running_loop();
        const auto make = [&gone] { return std::make_shared<Replaced>(gone); };
        auto made = co_await loop.create_connection(make, {.sock = std::move(mine)});
        co_await loop.sock_sendall(theirs, "enough");
        const std::string end = co_await wait_for(loop.sock_recv(theirs, 1), 10s);
        co_return end.empty() ? kDone : 1;
    });
}

TEST(OneFailure, Datagrams) {
    fail_each_real("datagrams", []() -> Coroutine<int> {
        auto [mine, theirs] = Socket::pair(AF_UNIX, SOCK_DGRAM);
        auto one = co_await open_datagram_endpoint({.sock = std::move(mine)});
        auto two = co_await open_datagram_endpoint({.sock = std::move(theirs)});
        co_await one.send("a datagram that is longer than a short string has room for");
        const Datagram got = co_await wait_for(two.receive(), 10s);
        one.close();
        two.close();
        co_return got.data.size() == 58 ? kDone : static_cast<int>(got.data.size());
    });
}

TEST(OneFailure, SocketCalls) {
    fail_each_real("socket calls", []() -> Coroutine<int> {
        EventLoop& loop = get_running_loop();
        auto [mine, theirs] = Socket::pair();
        auto reading = create_task(loop.sock_recv(mine, 100));
        co_await sleep(0s);
        co_await loop.sock_sendall(theirs, "enough for a string of its own on the heap");
        const std::string text = co_await reading;
        co_return text.size() == 42 ? kDone : 1;
    });
}

TEST(OneFailure, Subprocesses) {
    fail_each_real("subprocesses", []() -> Coroutine<int> {
        SubprocessOptions pipes;
        pipes.stdin_ = subprocess::PIPE;
        pipes.stdout_ = subprocess::PIPE;
        auto process = co_await create_subprocess_exec(pipes, "cat");
        const auto [out, err] =
            co_await process.communicate("through a pipe and back again, twice");
        const int code = co_await process.wait();
        // What could not be read is not there: the pipe was closed.
        co_return code == 0 || code == -SIGPIPE ? kDone : 100 + code;
    });
}

TEST(OneFailure, Files) {
    fail_each_real("files", []() -> Coroutine<int> {
        File file = co_await temporary_file();
        co_await file.write(std::string(10'000, 'x'));
        co_await file.seek(0);
        const std::string all = co_await file.read();
        co_await file.sync();
        co_await file.close();
        co_return all.size() == 10'000 ? kDone : 1;
    });
}

// Nothing that refers to the loop: a job whose waiter found no memory may outlive it.
TEST(OneFailure, Threads) {
    fail_each_real("threads", []() -> Coroutine<int> {
        const auto length = [](const std::string& s) { return s.size(); };
        const std::string text(50, 'x');
        const std::size_t n = co_await to_thread(length, text);
        EventLoop& loop = get_running_loop();
        const int three = co_await loop.run_in_executor(nullptr, [] { return 3; });
        co_return n == 50 && three == 3 ? kDone : 1;
    });
}

// A call from another thread: the task begins only if its end will be told.
TEST(OneFailure, ThreadsafeCalls) {
    fail_each_virtual("threadsafe calls", []() -> Coroutine<int> {
        const auto ran = std::make_shared<bool>(false);
        auto task = [ran]() -> Coroutine<int> {
            *ran = true;
            co_return 1;
        };
        const auto future = run_coroutine_threadsafe(task, get_running_loop());
        while (!future.done()) co_await sleep(1ms);
        co_await sleep(1ms);
        const std::exception_ptr error = future.exception(0s);
        if (!error) co_return kDone;
        if (*ran) co_return 1;
        std::rethrow_exception(error);
    });
}

// The same from another thread, which waits. It is joined whatever fails here, since it refers to
// the loop: also when that closes, which ends its wait.
TEST(OneFailure, ThreadsafeCallsOfAnotherThread) {
    fail_each_real("threadsafe calls of another thread", []() -> Coroutine<int> {
        EventLoop& loop = get_running_loop();
        int three = 0;
        std::exception_ptr error;
        std::atomic<bool> ended{false};
        std::thread other([&] {
            try {
                three = run_coroutine_threadsafe(give(3, 1ms), loop).result();
            } catch (...) {
                // Raised below.
                error = std::current_exception();
            }
            ended = true;
        });
        struct Join {
            std::thread& thread;
            ~Join() {
                if (thread.joinable()) thread.join();
            }
        } join{other};
        while (!ended) {
            try {
                co_await sleep(1ms);
            } catch (const std::bad_alloc&) {
                // It has failed once, and does so no more.
            }
        }
        other.join();
        if (error) std::rethrow_exception(error);
        co_return three == 3 ? kDone : 1;
    });
}

TEST(OneFailure, LoopsOnThreads) {
    fail_each_virtual("loops on threads", []() -> Coroutine<int> {
        const auto index = [](int i) -> Coroutine<int> { co_return i; };
        const std::vector<int> all = co_await run_on_threads(1, index);
        co_await to_thread([] {});
        co_await get_running_loop().shutdown_default_executor();
        co_return all.size() == 1 ? kDone : 1;
    });
}

}  // namespace
