// Loops and fork(2): PX-04. Each child says by its exit status how it went.
#include <asyncio/events.hpp>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <asyncio/contextvars.hpp>
#include <asyncio/parallel.hpp>
#include <asyncio/runners.hpp>
#include <asyncio/signals.hpp>
#include <asyncio/subprocess.hpp>
#include <asyncio/tasks.hpp>
#include <asyncio/threads.hpp>
#include <asyncio/timeouts.hpp>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "support.hpp"

namespace {

using namespace asyncio;
using namespace std::chrono_literals;

constexpr const char* kOfParent =
    "this event loop belongs to the parent process: a child of fork() needs a loop of its own";
constexpr const char* kNoThreads = "the sanitizer starts no threads in a child of several threads";

// The child's end: 0 if `expectations` of it all held. Never runs what the parent left to be run at
// exit, and is killed if it hangs.
[[noreturn]] void leave_child() { std::_Exit(testing::Test::HasFailure() ? 1 : 0); }

void kill_if_it_hangs() { ::alarm(20); }

int status_of(pid_t child) {
    int status = -1;
    while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    return status;
}

// Runs `in_child` in a child of this process; the test fails if an expectation in it does.
template <class F>
void in_child_of_fork(F in_child) {
    const pid_t child = ::fork();
    if (child == 0) {
        kill_if_it_hangs();
        in_child();
        leave_child();
    }
    EXPECT_EQ(status_of(child), 0);
}

class PipeEnds {
  public:
    PipeEnds() { EXPECT_EQ(::pipe2(fds_, O_CLOEXEC | O_NONBLOCK), 0); }
    PipeEnds(const PipeEnds&) = delete;
    PipeEnds& operator=(const PipeEnds&) = delete;
    ~PipeEnds() {
        ::close(fds_[0]);
        ::close(fds_[1]);
    }
    int reader() const { return fds_[0]; }
    void write() const { EXPECT_EQ(::write(fds_[1], "x", 1), 1); }
    bool take() const {
        char c;
        return ::read(fds_[0], &c, 1) == 1;
    }

  private:
    int fds_[2];
};

class Fork : public testing::TestWithParam<const char*> {
  protected:
    std::unique_ptr<EventLoop> make() const {
        if (std::string_view(GetParam()) == "io_uring") return UringEventLoop::create();
        return EpollEventLoop::create();
    }
    void run(Coroutine<> main) const {
        const auto loop = make();
        loop->run_until_complete(wait_for(std::move(main), 40s));
        loop->close();
    }
};

INSTANTIATE_TEST_SUITE_P(On, Fork, testing::Values("epoll", "io_uring"),
                         [](const auto& param) { return std::string(param.param); });

TEST_P(Fork, TheChildHasNoRunningLoopAndNoCurrentOne) {  // PX-04
    run([]() -> Coroutine<> {
        EventLoop& parent = get_running_loop();
        in_child_of_fork([&] {
            EXPECT_EQ(support::raised<RuntimeError>([] { get_running_loop(); }),
                      "no running event loop");
            EXPECT_EQ(support::raised<RuntimeError>([] { current_task(); }),
                      "no running event loop");
            EXPECT_TRUE(all_loops().empty());
            EXPECT_NE(&get_event_loop(), &parent);
            EXPECT_EQ(get_event_loop().run_until_complete(sleep(1ms, 7)), 7);
            set_event_loop(nullptr);
        });
        co_await sleep(1ms);
        EXPECT_EQ(&get_running_loop(), &parent);
    }());
}

TEST_P(Fork, TheChildMayRunLoopsOfItsOwn) {  // PX-04
    run([]() -> Coroutine<> {
        in_child_of_fork([] {
            for (int i = 0; i < 2; ++i) {
                const int result = asyncio::run([]() -> Coroutine<int> {
                    auto task = create_task(sleep(1ms, 3));
                    Process process = co_await create_subprocess_exec("true");
                    co_return co_await process.wait() + co_await task;
                });
                EXPECT_EQ(result, 3);
            }
        });
        co_await sleep(1ms);
    }());
}

TEST_P(Fork, TheParentsLoopIsRefused) {  // PX-04
    const auto loop = make();
    const PipeEnds pipe;
    const auto use = [&] {
        const auto refused = [](auto f) { return support::raised<RuntimeError>(f); };
        EXPECT_EQ(refused([&] { loop->call_soon([] {}); }), kOfParent);
        EXPECT_EQ(refused([&] { loop->call_soon_threadsafe([] {}); }), kOfParent);
        EXPECT_EQ(refused([&] { loop->call_later(1ms, [] {}); }), kOfParent);
        EXPECT_EQ(refused([&] { loop->add_reader(pipe.reader(), [] {}); }), kOfParent);
        EXPECT_EQ(refused([&] { loop->add_signal_handler(SIGUSR1, [] {}); }), kOfParent);
        EXPECT_EQ(refused([&] { loop->create_task(sleep(1ms)); }), kOfParent);
        EXPECT_EQ(refused([&] { loop->run_until_complete(sleep(1ms)); }), kOfParent);
        EXPECT_EQ(refused([&] { loop->run_forever(); }), kOfParent);
    };
    // While it does not run, and while it does.
    in_child_of_fork([&] {
        use();
        EXPECT_TRUE(loop->is_closed());
        loop->close();
    });
    loop->call_soon([&] {
        in_child_of_fork(use);
        loop->stop();
    });
    loop->run_forever();
    EXPECT_FALSE(loop->is_closed());
    loop->close();
}

TEST_P(Fork, AChildThatGoesOnWithTheParentsLoopIsStopped) {  // PX-04
    const auto loop = make();
    pid_t child = -1;
    bool went_on = false;
    loop->call_soon([&] {
        child = ::fork();
        if (child != 0) return loop->stop();
        kill_if_it_hangs();
        // What is queued already does not run in the child either.
    });
    loop->call_soon([&] { went_on = true; });
    try {
        loop->run_forever();
    } catch (const RuntimeError& e) {
        EXPECT_EQ(child, 0);
        EXPECT_STREQ(e.what(), kOfParent);
        EXPECT_FALSE(went_on);
        leave_child();
    }
    ASSERT_GT(child, 0);
    EXPECT_TRUE(went_on);
    EXPECT_EQ(status_of(child), 0);
    loop->close();
}

TEST_P(Fork, ATaskThatGoesOnInTheChildEndsWithItsNextWait) {  // PX-04
    const auto loop = make();
    pid_t child = -1;
    try {
        loop->run_until_complete([&]() -> Coroutine<> {
            child = ::fork();
            if (child == 0) kill_if_it_hangs();
            co_await sleep(0s);
            EXPECT_NE(child, 0) << "the child went on";
            co_await sleep(1ms);
        });
    } catch (const RuntimeError& e) {
        EXPECT_EQ(child, 0);
        EXPECT_STREQ(e.what(), kOfParent);
        leave_child();
    }
    ASSERT_GT(child, 0);
    EXPECT_EQ(status_of(child), 0);
    loop->close();
}

TEST_P(Fork, TheChildTakesNoEventsAway) {  // PX-04
    const auto loop = make();
    const PipeEnds pipe;
    int events = 0;
    loop->add_reader(pipe.reader(), [&] {
        if (!pipe.take()) return;
        ++events;
        loop->stop();
    });
    const auto expect_event = [&] {
        const int before = events;
        pipe.write();
        const auto limit = loop->call_later(20s, [&] { loop->stop(); });
        while (events == before && limit.when() > loop->time()) loop->run_forever();
        EXPECT_EQ(events, before + 1);
    };
    expect_event();
    // It tries to take what is watched out, closes everything and ends; the parent still hears.
    in_child_of_fork([&] {
        EXPECT_FALSE(loop->remove_reader(pipe.reader()));
        loop->close();
        asyncio::run(sleep(1ms));
    });
    expect_event();
    // One that runs all that is due at exit. Its own loop goes with it, the parent's stays.
    const pid_t child = ::fork();
    if (child == 0) {
        kill_if_it_hangs();
        get_event_loop().run_until_complete(sleep(0s));
        std::quick_exit(0);
    }
    EXPECT_EQ(status_of(child), 0);
    expect_event();
    loop->close();
}

TEST_P(Fork, TheChildClosesWhatTheLoopsHaveOpened) {  // PX-04
    const auto descriptors = [] {
        int count = 0;
        for (int fd = 0; fd < 100; ++fd) count += ::fcntl(fd, F_GETFD) >= 0;
        return count;
    };
    const int before = descriptors();
    const auto loop = make();
    loop->run_until_complete(sleep(0s));
    EXPECT_GT(descriptors(), before);
    in_child_of_fork([&] { EXPECT_EQ(descriptors(), before); });
    loop->close();
}

TEST_P(Fork, WakingTheParentsLoopInTheChildWakesNobody) {  // PX-04
    run([]() -> Coroutine<> {
        EventLoop& loop = get_running_loop();
        in_child_of_fork([&] {
            std::thread([&] {
                EXPECT_EQ(support::raised<RuntimeError>([&] { loop.call_soon_threadsafe([] {}); }),
                          kOfParent);
            }).join();
        });
        co_await sleep(1ms);
    }());
}

TEST_P(Fork, SignalsHaveTheirOldEffectInTheChild) {  // PX-04
    const auto loop = make();
    int told = 0;
    loop->add_signal_handler(SIGTERM, [&] { ++told; });
    const pid_t child = ::fork();
    if (child == 0) {
        kill_if_it_hangs();
        while (true) ::pause();
    }
    ::kill(child, SIGTERM);
    const int status = status_of(child);
    EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM) << status;
    loop->run_until_complete(sleep(5ms));
    EXPECT_EQ(told, 0);
    ::raise(SIGTERM);
    loop->run_until_complete(sleep(5ms));
    EXPECT_EQ(told, 1);
    // And the child may catch them anew.
    in_child_of_fork([] {
        const int signal = asyncio::run([]() -> Coroutine<int> {
            get_running_loop().call_soon([] { ::raise(SIGTERM); });
            co_return co_await signals::wait(SIGTERM);
        });
        EXPECT_EQ(signal, SIGTERM);
        struct sigaction now{};
        ::sigaction(SIGTERM, nullptr, &now);
        EXPECT_EQ(now.sa_handler, SIG_DFL);
    });
    loop->close();
}

AsyncGenerator<int> three_numbers() {
    for (int i = 1; i <= 3; ++i) co_yield i;
}

// Its list is the parent's, whether or not that loop has had a generator before.
TEST(ForkInRun, AGeneratorGoesOnInTheChild) {  // PX-04
    for (const bool before : {false, true}) {
        asyncio::run([before]() -> Coroutine<> {
            if (before) {
                auto own = three_numbers();
                EXPECT_EQ(co_await own.next(), 1);
            }
            int sum = 0;
            const pid_t child = ::fork();
            if (child == 0) {
                {
                    auto numbers = three_numbers();
                    while (const auto n = co_await numbers.next()) sum += *n;
                }
                ::_exit(sum == 6 ? 42 : 1);
            }
            int status = 0;
            EXPECT_EQ(::waitpid(child, &status, 0), child);
            EXPECT_EQ(WEXITSTATUS(status), 42);
        });
    }
}

TEST(ForkInRun, CtrlCEndsTheChild) {  // PX-04, R-08
    asyncio::run([]() -> Coroutine<> {
        const pid_t child = ::fork();
        if (child == 0) {
            kill_if_it_hangs();
            while (true) ::pause();
        }
        ::kill(child, SIGINT);
        const int status = status_of(child);
        EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGINT) << status;
        co_await sleep(1ms);
    });
}

TEST(ForkInRun, TheErrorLeavesRunInTheChild) {  // PX-04
    pid_t child = -1;
    try {
        asyncio::run([&]() -> Coroutine<> {
            child = ::fork();
            if (child == 0) kill_if_it_hangs();
            while (child == 0) co_await sleep(1ms);
        });
    } catch (const RuntimeError& e) {
        EXPECT_EQ(child, 0);
        EXPECT_STREQ(e.what(), kOfParent);
        EXPECT_EQ(asyncio::run(sleep(0s, 5)), 5);
        leave_child();
    }
    EXPECT_EQ(status_of(child), 0);
}

TEST(ForkInRun, TheParentsChildrenLiveOn) {  // PX-04
    asyncio::run([]() -> Coroutine<> {
        Process process = co_await create_subprocess_exec("sleep", "1000");
        EventLoop& loop = get_running_loop();
        in_child_of_fork([&] {
            EXPECT_EQ(support::raised<RuntimeError>([&] { loop.call_soon([] {}); }), kOfParent);
            asyncio::run(sleep(1ms));
        });
        co_await sleep(1ms);
        EXPECT_EQ(::kill(process.pid(), 0), 0);
        EXPECT_FALSE(process.returncode().has_value());
        process.kill();
        EXPECT_EQ(co_await process.wait(), -SIGKILL);
    });
}

TEST(ForkInRun, ExecutorsOfTheParentAreLeft) {  // PX-04
    if (support::kThreadSanitizer) GTEST_SKIP() << kNoThreads;
    auto pool = std::make_unique<ThreadPoolExecutor>(2);
    EXPECT_EQ(pool->submit([] { return 1; }).result(), 1);
    asyncio::run([&]() -> Coroutine<> {
        EXPECT_EQ(co_await to_thread([] { return 2; }), 2);
        in_child_of_fork([&] {
            EXPECT_EQ(
                support::raised<RuntimeError>([&] { static_cast<void>(pool->submit([] {})); }),
                "the threads of this executor are the parent's");
            EXPECT_EQ(pool->thread_count(), 0);
            pool->shutdown();
            pool.reset();
            EXPECT_EQ(asyncio::run(to_thread([] { return 3; })), 3);
            ThreadPoolExecutor own(1);
            EXPECT_EQ(own.submit([] { return 4; }).result(), 4);
        });
        EXPECT_EQ(co_await to_thread([] { return 5; }), 5);
    });
    EXPECT_EQ(pool->submit([] { return 6; }).result(), 6);
}

TEST(ForkInRun, AForkOfAForkDoesTheSame) {  // PX-04
    asyncio::run([]() -> Coroutine<> {
        in_child_of_fork([] {
            asyncio::run([]() -> Coroutine<> {
                EventLoop& loop = get_running_loop();
                in_child_of_fork([&] {
                    EXPECT_EQ(support::raised<RuntimeError>([&] { loop.call_soon([] {}); }),
                              kOfParent);
                    EXPECT_EQ(asyncio::run(sleep(0s, 1)), 1);
                });
                co_await sleep(1ms);
            });
        });
        co_await sleep(1ms);
    });
}

TEST(ForkInRun, WhileOtherThreadsMakeAndCloseLoops) {  // PX-04
    // The address sanitizer's locks are held in the child if another thread held them.
    if (support::kAddressSanitizer || support::kThreadSanitizer) GTEST_SKIP() << kNoThreads;
    std::atomic<bool> stop{false};
    std::thread busy([&] {
        while (!stop) {
            asyncio::run([]() -> Coroutine<> {
                get_running_loop().add_signal_handler(SIGUSR1, [] {});
                co_await sleep(0s);
            });
        }
    });
    for (int i = 0; i < 50; ++i) {
        in_child_of_fork([] { EXPECT_EQ(asyncio::run(sleep(0s, 1)), 1); });
    }
    stop = true;
    busy.join();
}

// ---- L14: locks of other threads, and what only the parent can end ------------------------------

TEST(ForkInRun, AWaitForWhatTheParentsThreadsDoRaises) {  // L14.
    const std::string wrong = "the thread that this result comes from is the parent's";
    std::atomic<bool> release{false};
    ThreadPoolExecutor pool(1);
    const auto wait = [&] {
        while (!release) std::this_thread::yield();
        return 1;
    };
    const auto running = pool.submit(wait);
    const auto queued = pool.submit([] { return 2; });
    const auto over = [] {
        const ConcurrentFuture<int> f;
        f.set_result(3);
        return f;
    }();
    const ConcurrentFuture<int> own;
    std::thread other([&] {
        const auto loop = EpollEventLoop::create();
        loop->run_until_complete([&]() -> Coroutine<> {
            EventLoop& here = get_running_loop();
            const auto of_loop = run_coroutine_threadsafe(sleep(1h, 4), here);
            in_child_of_fork([&] {
                for (const auto& f : {running, queued, of_loop}) {
                    EXPECT_EQ(support::raised<RuntimeError>([&] { (void)f.result(); }), wrong);
                    EXPECT_EQ(support::raised<RuntimeError>([&] { (void)f.result(1h); }), wrong);
                    EXPECT_EQ(support::raised<RuntimeError>([&] { (void)f.exception(); }), wrong);
                }
                EXPECT_EQ(over.result(), 3);
                own.set_result(5);
                EXPECT_EQ(own.result(), 5);
                asyncio::run([&]() -> Coroutine<> {
                    EXPECT_EQ(support::raised<RuntimeError>([&] { (void)wrap_future(running); }),
                              wrong);
                    EXPECT_EQ(co_await wrap_future(over), 3);
                });
                EXPECT_TRUE(queued.cancel());
                EXPECT_TRUE(of_loop.cancel());
            });
            of_loop.cancel();
            co_await sleep(1ms);
        });
        loop->close();
    });
    other.join();
    release = true;
    EXPECT_EQ(running.result(), 1);
    EXPECT_EQ(queued.result(), 2);
}

TEST(ForkInRun, SleepersOfTheParentDoNotHoldTheChildUp) {  // L14.
    if (support::kThreadSanitizer) GTEST_SKIP() << kNoThreads;
    // More than there are places to sleep at.
    std::vector<ConcurrentFuture<int>> slept(64);
    std::vector<std::thread> sleepers;
    std::atomic<size_t> started{0};
    for (auto& f : slept) {
        sleepers.emplace_back([&] {
            ++started;
            EXPECT_EQ(f.result(), 1);
        });
    }
    // A thread that the address sanitizer is still making known holds a lock of its, which a child
    // would never get.
    while (started < slept.size()) std::this_thread::yield();
    std::this_thread::sleep_for(20ms);
    for (int i = 0; i < 3; ++i) {
        in_child_of_fork([&] {
            for (auto& f : slept) {
                EXPECT_THROW((void)f.result(1us), TimeoutError);
                std::thread setter([&] {
                    std::this_thread::sleep_for(100us);
                    f.set_result(2);
                });
                EXPECT_EQ(f.result(), 2);
                setter.join();
            }
        });
    }
    for (auto& f : slept) f.set_result(1);
    for (auto& t : sleepers) t.join();
}

TEST(ForkInRun, AReceiverOfTheParentTakesNothingInTheChild) {  // L14.
    asyncio::run([]() -> Coroutine<> {
        const Channel<int> channel(1);
        auto receive = [](Channel<int> from) -> Coroutine<int> {
            co_return *co_await from.receive();
        };
        auto waiting = create_task(receive(channel));
        co_await sleep(0s);
        in_child_of_fork([&] {
            // Sent outside of a loop, on the thread that ran the parent's.
            const auto own = EpollEventLoop::create();
            auto here = own->create_task(receive(channel));
            own->run_once(0s);
            EXPECT_TRUE(channel.try_send(8));
            EXPECT_EQ(own->run_until_complete(wait_for(here, 10s)), 8);
        });
        EXPECT_TRUE(channel.try_send(9));
        EXPECT_EQ(co_await waiting, 9);
    });
}

TEST(ForkInRun, AThreadOfAPoolMayFork) {  // L14.
    if (support::kAddressSanitizer || support::kThreadSanitizer) GTEST_SKIP() << kNoThreads;
    ThreadPoolExecutor pool(2);
    std::atomic<bool> shut{false};
    auto job = [&] {
        while (!shut) std::this_thread::yield();
        in_child_of_fork([&] {
            pool.shutdown(true);
            ThreadPoolExecutor own(2);
            EXPECT_EQ(own.submit([] { return 4; }).result(), 4);
            own.shutdown(true);
            EXPECT_EQ(asyncio::run(to_thread([] { return 5; })), 5);
        });
    };
    auto first = pool.submit(job);
    auto second = pool.submit(job);
    std::thread waiter([&] { pool.shutdown(true); });
    std::this_thread::sleep_for(1ms);
    shut = true;
    first.result();
    second.result();
    waiter.join();
}

TEST(ForkInRun, AChildThatReturnsFromAJobEnds) {  // L14.
    // At its end the sanitizer would look for what the parent's threads hold.
    if (support::kAddressSanitizer || support::kThreadSanitizer) GTEST_SKIP() << kNoThreads;
    ThreadPoolExecutor pool(2);
    auto job = [] {
        const pid_t child = ::fork();
        if (child == 0) kill_if_it_hangs();
        return child;
    };
    const pid_t child = pool.submit(job).result();
    EXPECT_FALSE(WIFSIGNALED(status_of(child)));
    EXPECT_EQ(pool.submit([] { return 1; }).result(), 1);
}

TEST(ForkInRun, TheChildMayDestroyTheParentsLoop) {  // L14.
    auto loop = EpollEventLoop::create();
    loop->run_until_complete([]() -> Coroutine<> {
        [[maybe_unused]] const auto found =
            co_await as_result(get_running_loop().getaddrinfo("localhost", 80));
        co_await to_thread([] {});
    });
    for (int i = 0; i < 20; ++i) {
        in_child_of_fork([&] { loop.reset(); });
    }
    loop->close();
}

// What a thread does over and over while another forks, and what a child then does once.
class Busy {
  public:
    void step(int i) {
        auto& f = futures_[static_cast<std::size_t>(i) % futures_.size()];
        EXPECT_THROW((void)f.result(1us), TimeoutError);
        const ConcurrentFuture<int> own;
        own.set_result(1);
        EXPECT_EQ(own.result(), 1);
        const Channel<int>& channel = channels_[static_cast<std::size_t>(i) % channels_.size()];
        static_cast<void>(channel.try_send(int(i)));
        static_cast<void>(channel.try_receive());
        static_cast<void>(all_loops());
        EXPECT_EQ(get_name(), "7");
        if (i % 8 == 0) use_loop();
        if (i % 32 == 0) use_pool();
    }
    void use_loop() {
        const auto loop = EpollEventLoop::create();
        loop->add_signal_handler(SIGUSR2, [] {});
        const auto& channel = channels_[0];
        loop->run_until_complete([&]() -> Coroutine<> {
            static_cast<void>(channel.try_send(1));
            co_await create_task(sleep(0s));
        });
        loop->close();
    }
    static void use_pool() {
        ThreadPoolExecutor pool(2);
        EXPECT_EQ(pool.submit([] { return 4; }).result(), 4);
        pool.shutdown(true);
    }
    static std::string get_name() {
        ContextVar<int> name("name");
        name.set(7);
        return std::to_string(name.get());
    }

  private:
    std::vector<ConcurrentFuture<int>> futures_ = std::vector<ConcurrentFuture<int>>(64);
    std::vector<Channel<int>> channels_ = std::vector<Channel<int>>(8);
};

TEST(ForkInRun, LocksThatOtherThreadsHoldAreFreeInTheChild) {  // L14.
    if (support::kAddressSanitizer || support::kThreadSanitizer) GTEST_SKIP() << kNoThreads;
    Busy busy;
    std::atomic<bool> stop{false};
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t) {
        threads.emplace_back([&, t] {
            for (int i = t; !stop; ++i) busy.step(i);
        });
    }
    const auto end = std::chrono::steady_clock::now() + 3s;
    for (int n = 0; n < 1500 && std::chrono::steady_clock::now() < end; ++n) {
        in_child_of_fork([&] {
            for (int i = 0; i < 64; ++i) busy.step(i + 1);
            busy.use_loop();
            busy.use_pool();
        });
        if (testing::Test::HasFailure()) break;
    }
    stop = true;
    for (auto& t : threads) t.join();
}

}  // namespace
