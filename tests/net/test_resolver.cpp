// loop.getaddrinfo() and getnameinfo(), on threads apart from to_thread's: DN-01, DN-02. The
// system's resolver is replaced by one that the test lets answer, hang or fail; names that are
// looked up for real are /etc/hosts's localhost.
//
// ctest: simulated
#include <asyncio.hpp>

#include <gtest/gtest.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "net/resolver.hpp"
#include "support.hpp"
#include "threads/default_executor.hpp"

namespace {

using asyncio::AddrInfo;
using asyncio::Coroutine;
using asyncio::EventLoop;
using asyncio::SocketAddress;
using asyncio::component::find_service;
using asyncio::detail::DefaultExecutor;
using asyncio::detail::NameAnswer;
using asyncio::detail::NameQuery;
using asyncio::detail::Resolver;
using namespace std::chrono_literals;
using namespace std::string_view_literals;

// Stands in for the system's resolver while it lives. A name "slow..." is answered only once
// open() was called; "bad..." fails; "throw..." runs out of memory.
class FakeResolver {
  public:
    FakeResolver() {
        const std::lock_guard lock(state().mutex);
        state().open = false;
        state().asked.clear();
        asyncio::detail::replace_ask_system(&FakeResolver::ask);
    }
    FakeResolver(const FakeResolver&) = delete;
    FakeResolver& operator=(const FakeResolver&) = delete;
    ~FakeResolver() {
        open();
        std::unique_lock lock(state().mutex);
        state().changed.wait(lock, [] { return state().inside == 0; });
        asyncio::detail::replace_ask_system(nullptr);
    }
    static void open() {
        const std::lock_guard lock(state().mutex);
        state().open = true;
        state().changed.notify_all();
    }
    // The hosts that were asked for so far.
    static std::vector<std::string> asked() {
        const std::lock_guard lock(state().mutex);
        return state().asked;
    }
    static std::size_t count() { return asked().size(); }
    static int most_inside() {
        const std::lock_guard lock(state().mutex);
        return state().most_inside;
    }

  private:
    struct State {
        std::mutex mutex;
        std::condition_variable changed;
        bool open = false;
        int inside = 0;
        int most_inside = 0;
        std::vector<std::string> asked;
    };
    static State& state() {
        static State* const s = new State;  // threads may outlive main
        return *s;
    }
    static void ask(const NameQuery& query, NameAnswer& answer) {
        std::unique_lock lock(state().mutex);
        state().asked.push_back(query.address ? query.address.repr() : query.host);
        state().most_inside = std::max(state().most_inside, ++state().inside);
        if (query.host.rfind("slow", 0) == 0) {
            state().changed.wait(lock, [] { return state().open; });
        }
        --state().inside;
        state().changed.notify_all();
        if (query.host.rfind("throw", 0) == 0) throw std::bad_alloc();
        if (query.host.rfind("bad", 0) == 0) {
            answer.error = EAI_AGAIN;
        } else if (query.host.rfind("errno", 0) == 0) {
            answer.error = EAI_SYSTEM;
            answer.system_error = ECONNREFUSED;
        } else if (query.address) {
            answer.host = "name";
            answer.service = "service";
        } else {
            answer.infos.push_back({AF_INET, SOCK_STREAM, 6, "", SocketAddress("192.0.2.1", 0)});
            answer.infos.push_back({AF_INET6, SOCK_STREAM, 6, "", SocketAddress("2001:db8::1", 0)});
        }
    }
};

template <class F>
auto run(F main) {
    const auto loop = asyncio::new_event_loop();
    return loop->run_until_complete(main(*loop));
}

std::string text_of(const std::vector<AddrInfo>& infos) {
    std::string text;
    for (const AddrInfo& info : infos) {
        if (!text.empty()) text += ' ';
        text += info.address.repr();
    }
    return text;
}

asyncio::AddrInfoOptions stream() {
    asyncio::AddrInfoOptions options;
    options.type = SOCK_STREAM;
    return options;
}

// Lets the loop run until `fn()` is true, but for ever; the test's time limit ends that.
template <class F>
Coroutine<> until(F fn) {
    while (!fn()) co_await asyncio::sleep(1ms);
}

TEST(GetAddrInfo, NumericHostsNeverLeaveTheLoopsThread) {  // DN-01
    const FakeResolver fake;
    run([](EventLoop& loop) -> Coroutine<> {
        support::Iterations iterations(loop);
        const auto v4 = co_await loop.getaddrinfo("127.0.0.1", 80, stream());
        EXPECT_EQ(v4.size(), 1u);
        EXPECT_EQ(v4.at(0).family, AF_INET);
        EXPECT_EQ(v4.at(0).type, SOCK_STREAM);
        EXPECT_EQ(v4.at(0).proto, IPPROTO_TCP);
        EXPECT_EQ(text_of(v4), "('127.0.0.1', 80)");
        EXPECT_EQ(text_of(co_await loop.getaddrinfo("::1", "443", stream())), "('::1', 443, 0, 0)");
        EXPECT_EQ(text_of(co_await loop.getaddrinfo("fe80::1%3", 1, stream())),
                  "('fe80::1', 1, 0, 3)");
        EXPECT_EQ(text_of(co_await loop.getaddrinfo("127.1", 1, stream())), "('127.0.0.1', 1)");
        EXPECT_EQ((co_await loop.getaddrinfo("127.0.0.1", 80)).size(), 3u);
        EXPECT_EQ(iterations.passed(), 0);
        EXPECT_FALSE(find_service<Resolver>(loop.core()));
    });
    EXPECT_EQ(FakeResolver::count(), 0u);
}

TEST(GetAddrInfo, NoHostIsAnsweredAtOnce) {  // DN-01
    const FakeResolver fake;
    run([](EventLoop& loop) -> Coroutine<> {
        auto options = stream();
        options.family = AF_INET;
        EXPECT_EQ(text_of(co_await loop.getaddrinfo("", 80, options)), "('127.0.0.1', 80)");
        options.flags = AI_PASSIVE;
        EXPECT_EQ(text_of(co_await loop.getaddrinfo("", 80, options)), "('0.0.0.0', 80)");
        const auto nothing = co_await asyncio::as_result(loop.getaddrinfo("", std::nullopt));
        EXPECT_EQ(support::error_text<asyncio::gaierror>(nothing),
                  "[Errno -2] Name or service not known");
    });
    EXPECT_EQ(FakeResolver::count(), 0u);
}

TEST(GetAddrInfo, ErrorsAreThoseOfPython) {  // DN-01
    run([](EventLoop& loop) -> Coroutine<> {
        asyncio::AddrInfoOptions v4_only;
        v4_only.family = AF_INET;
        const auto family = co_await asyncio::as_result(loop.getaddrinfo("::1", 80, v4_only));
        EXPECT_EQ(support::error_text<asyncio::gaierror>(family),
                  "[Errno -9] Address family for hostname not supported");
        asyncio::AddrInfoOptions no_type;
        no_type.type = 99;
        const auto type = co_await asyncio::as_result(loop.getaddrinfo("localhost", 80, no_type));
        EXPECT_EQ(support::error_text<asyncio::gaierror>(type),
                  "[Errno -7] ai_socktype not supported");
        const auto zero = co_await asyncio::as_result(loop.getaddrinfo("a\0b"sv, 80));
        EXPECT_EQ(support::error_text<asyncio::gaierror>(zero),
                  "[Errno -2] Name or service not known");
        const auto port = co_await asyncio::as_result(loop.getaddrinfo("127.0.0.1", 65536));
        EXPECT_EQ(support::error_text<asyncio::ValueError>(port), "port must be 0-65535.");
        const auto low = co_await asyncio::as_result(loop.getaddrinfo("127.0.0.1", -2));
        EXPECT_EQ(support::error_text<asyncio::ValueError>(low), "port must be 0-65535.");
    });
}

TEST(GetAddrInfo, LooksUpTheSystemsNames) {  // DN-01
    run([](EventLoop& loop) -> Coroutine<> {
        auto options = stream();
        options.family = AF_INET;
        EXPECT_EQ(text_of(co_await loop.getaddrinfo("localhost", 80, options)),
                  "('127.0.0.1', 80)");
        EXPECT_EQ(text_of(co_await loop.getaddrinfo("localhost", "80", options)),
                  "('127.0.0.1', 80)");
        const auto service =
            co_await asyncio::as_result(loop.getaddrinfo("localhost", "no such service", options));
        EXPECT_EQ(support::error_text<asyncio::gaierror>(service),
                  "[Errno -8] Servname not supported for ai_socktype");
    });
}

TEST(GetAddrInfo, NamesAreAnsweredWithThePort) {  // DN-01
    const FakeResolver fake;
    run([](EventLoop& loop) -> Coroutine<> {
        EXPECT_EQ(text_of(co_await loop.getaddrinfo("host", 8080, stream())),
                  "('192.0.2.1', 8080) ('2001:db8::1', 8080, 0, 0)");
        EXPECT_EQ(text_of(co_await loop.getaddrinfo("host", std::nullopt, stream())),
                  "('192.0.2.1', 0) ('2001:db8::1', 0, 0, 0)");
    });
}

TEST(GetAddrInfo, FailuresOfTheLookupReachTheWaiter) {  // DN-01
    const FakeResolver fake;
    run([](EventLoop& loop) -> Coroutine<> {
        const auto bad = co_await asyncio::as_result(loop.getaddrinfo("bad", 80));
        EXPECT_EQ(support::error_text<asyncio::gaierror>(bad),
                  "[Errno -3] Temporary failure in name resolution");
        const auto memory = co_await asyncio::as_result(loop.getaddrinfo("throw", 80));
        EXPECT_EQ(support::error_text<asyncio::gaierror>(memory),
                  "[Errno -10] Memory allocation failure");
        const auto system = co_await asyncio::as_result(loop.getaddrinfo("errno", 80));
        EXPECT_EQ(support::error_text<asyncio::ConnectionRefusedError>(system),
                  "[Errno 111] Connection refused");
    });
}

TEST(GetAddrInfo, OneQuestionIsAskedOnce) {  // DN-01
    const FakeResolver fake;
    run([](EventLoop& loop) -> Coroutine<> {
        std::vector<asyncio::Task<std::vector<AddrInfo>>> tasks;
        for (int port = 0; port < 100; ++port) {
            tasks.push_back(loop.create_task(loop.getaddrinfo("slow", port, stream())));
        }
        auto other = stream();
        other.family = AF_INET6;
        auto apart = loop.create_task(loop.getaddrinfo("slow", 80, other));
        co_await until([] { return FakeResolver::count() == 2; });
        EXPECT_EQ(find_service<Resolver>(loop.core())->threads(), 2);
        FakeResolver::open();
        for (int port = 0; port < 100; ++port) {
            EXPECT_EQ((co_await tasks[static_cast<std::size_t>(port)]).at(0).address.port(), port);
        }
        co_await apart;
    });
    EXPECT_EQ(FakeResolver::count(), 2u);
}

TEST(GetAddrInfo, ThreadsGrowToALimitAndTheRestWaits) {  // DN-01
    const FakeResolver fake;
    run([](EventLoop& loop) -> Coroutine<> {
        std::vector<asyncio::Task<std::vector<AddrInfo>>> tasks;
        for (int i = 0; i < 40; ++i) {
            tasks.push_back(loop.create_task(loop.getaddrinfo("slow" + std::to_string(i), 1)));
        }
        co_await until([] { return FakeResolver::count() == 32; });
        EXPECT_EQ(find_service<Resolver>(loop.core())->threads(), 32);
        FakeResolver::open();
        for (auto& task : tasks) EXPECT_EQ((co_await task).size(), 2u);
    });
    EXPECT_EQ(FakeResolver::count(), 40u);
    EXPECT_LE(FakeResolver::most_inside(), 32);
}

TEST(GetAddrInfo, AThreadServesOneLookupAfterTheOther) {  // DN-01
    const FakeResolver fake;
    run([](EventLoop& loop) -> Coroutine<> {
        for (int i = 0; i < 20; ++i) co_await loop.getaddrinfo("host" + std::to_string(i), 1);
        EXPECT_EQ(find_service<Resolver>(loop.core())->threads(), 1);
    });
}

TEST(GetAddrInfo, ThreadsWithoutWorkEnd) {  // DN-01
    const FakeResolver fake;
    asyncio::detail::set_lookup_idle_time(1ms);
    run([](EventLoop& loop) -> Coroutine<> {
        co_await loop.getaddrinfo("host", 1);
        co_await until([&] { return find_service<Resolver>(loop.core())->threads() == 0; });
        EXPECT_EQ((co_await loop.getaddrinfo("host", 1)).size(), 2u);
    });
    asyncio::detail::set_lookup_idle_time(10s);
    EXPECT_EQ(FakeResolver::count(), 2u);
}

TEST(GetAddrInfo, DoesNotUseTheDefaultExecutor) {  // DN-01
    const FakeResolver fake;
    run([](EventLoop& loop) -> Coroutine<> {
        co_await loop.getaddrinfo("host", 1);
        EXPECT_FALSE(find_service<DefaultExecutor>(loop.core()));
    });
}

TEST(GetAddrInfo, CancelledBeforeItBeginsAsksNobody) {  // DN-01
    const FakeResolver fake;
    run([](EventLoop& loop) -> Coroutine<> {
        auto task = loop.create_task(loop.getaddrinfo("host", 1));
        task.cancel();
        co_await asyncio::wait(task);
        EXPECT_TRUE(task.cancelled());
    });
    EXPECT_EQ(FakeResolver::count(), 0u);
}

TEST(GetAddrInfo, CancelledWhileItHangsResumesAtOnce) {  // DN-01
    const FakeResolver fake;
    run([](EventLoop& loop) -> Coroutine<> {
        auto task = loop.create_task(loop.getaddrinfo("slow", 1));
        co_await until([] { return FakeResolver::count() == 1; });
        support::Iterations iterations(loop);
        task.cancel("enough");
        const auto outcome = co_await asyncio::as_result(task);
        EXPECT_EQ(support::error_text<asyncio::CancelledError>(outcome), "enough");
        EXPECT_LE(iterations.passed(), 3);

        // The hanging question cannot be stopped; who asks it again joins it.
        auto again = loop.create_task(loop.getaddrinfo("slow", 7));
        co_await asyncio::sleep(0s);
        EXPECT_EQ(find_service<Resolver>(loop.core())->threads(), 1);
        FakeResolver::open();
        EXPECT_EQ((co_await again).at(0).address.port(), 7);
    });
    EXPECT_EQ(FakeResolver::count(), 1u);
}

TEST(GetAddrInfo, OneOfTwoWaitersCancelled) {  // DN-01
    const FakeResolver fake;
    run([](EventLoop& loop) -> Coroutine<> {
        auto one = loop.create_task(loop.getaddrinfo("slow", 1));
        auto two = loop.create_task(loop.getaddrinfo("slow", 2));
        co_await until([] { return FakeResolver::count() == 1; });
        one.cancel();
        co_await asyncio::wait(one);
        FakeResolver::open();
        EXPECT_EQ((co_await two).at(0).address.port(), 2);
        EXPECT_TRUE(one.cancelled());
    });
}

TEST(GetAddrInfo, CancelledInTheTickOfTheAnswer) {  // DN-01, S-44
    const FakeResolver fake;
    run([](EventLoop& loop) -> Coroutine<> {
        asyncio::Task<std::vector<AddrInfo>> victim;
        auto canceller = loop.create_task([&]() -> Coroutine<> {
            co_await loop.getaddrinfo("slow", 1);
            victim.cancel();
        });
        co_await asyncio::sleep(0s);
        victim = loop.create_task(loop.getaddrinfo("slow", 2));
        co_await until([] { return FakeResolver::count() == 1; });
        FakeResolver::open();
        co_await asyncio::wait(victim, canceller);
        EXPECT_TRUE(victim.cancelled());
    });
}

TEST(GetAddrInfo, NotBegunAndCancelledIsNeverAsked) {  // DN-01
    const FakeResolver fake;
    run([](EventLoop& loop) -> Coroutine<> {
        std::vector<asyncio::Task<std::vector<AddrInfo>>> tasks;
        for (int i = 0; i < 32; ++i) {
            tasks.push_back(loop.create_task(loop.getaddrinfo("slow" + std::to_string(i), 1)));
        }
        co_await until([] { return FakeResolver::count() == 32; });
        auto last = loop.create_task(loop.getaddrinfo("slow last", 1));
        co_await asyncio::sleep(0s);
        last.cancel();
        co_await asyncio::wait(last);
        FakeResolver::open();
        for (auto& task : tasks) co_await task;
    });
    EXPECT_EQ(FakeResolver::count(), 32u);
}

TEST(GetAddrInfo, TheLoopClosesWhileALookupHangs) {  // DN-01
    const FakeResolver fake;
    const auto loop = asyncio::new_event_loop();
    const auto begin = std::chrono::steady_clock::now();
    {
        support::LogCapture log;
        auto waiting = loop->create_task(loop->getaddrinfo("slow", 1));
        loop->run_until_complete(until([] { return FakeResolver::count() == 1; }));
        waiting = asyncio::Task<std::vector<AddrInfo>>();
        loop->close();
    }
    EXPECT_LT(std::chrono::steady_clock::now() - begin, 5s);
    FakeResolver::open();
}

TEST(GetAddrInfo, TheProcessExitsWhileALookupHangs) {  // DN-01
    GTEST_FLAG_SET(death_test_style, "threadsafe");
    const auto hang_and_exit = [] {
        asyncio::detail::replace_ask_system([](const NameQuery&, NameAnswer&) {
            for (;;) ::pause();
        });
        const auto loop = asyncio::new_event_loop();
        auto main = [&]() -> Coroutine<> {
            co_await asyncio::wait_for(loop->getaddrinfo("host", 1), 10ms);
        };
        EXPECT_THROW(loop->run_until_complete(main), asyncio::TimeoutError);
        loop->close();
        std::exit(7);
    };
    EXPECT_EXIT(hang_and_exit(), testing::ExitedWithCode(7), "");
}

TEST(GetAddrInfo, VirtualTimeWaitsForTheAnswer) {  // DN-01
    const FakeResolver fake;
    support::run_virtual([]() -> Coroutine<> {
        EventLoop& loop = asyncio::get_running_loop();
        auto asking = loop.create_task(loop.getaddrinfo("host", 1));
        auto sleeping = asyncio::create_task(asyncio::sleep(1h));
        EXPECT_EQ((co_await asking).size(), 2u);
        EXPECT_FALSE(sleeping.done());
        EXPECT_LT(loop.time().time_since_epoch(), 1h);
        sleeping.cancel();

        // One that nobody waits for does not hold the clock up.
        auto hanging = loop.create_task(loop.getaddrinfo("slow", 1));
        co_await asyncio::sleep(0s);
        hanging.cancel();
        co_await asyncio::sleep(1h);
        EXPECT_GE(loop.time().time_since_epoch(), 1h);
    });
}

TEST(GetAddrInfo, ClosedLoopAndForeignLoopAreRefused) {  // DN-01
    const auto other = asyncio::new_event_loop();
    const auto closed = asyncio::new_event_loop();
    closed->close();
    run([&](EventLoop&) -> Coroutine<> {
        const auto refused = co_await asyncio::as_result(closed->getaddrinfo("127.0.0.1", 1));
        EXPECT_EQ(support::error_text<asyncio::RuntimeError>(refused), "Event loop is closed");
        const auto foreign = co_await asyncio::as_result(other->getaddrinfo("127.0.0.1", 1));
        EXPECT_EQ(support::error_text<asyncio::RuntimeError>(foreign),
                  "this loop does not run in the task that awaits its call");
    });
}

TEST(GetAddrInfo, DebugModeReportsTheTimeItTook) {  // DN-01
    const FakeResolver fake;
    const support::LogCapture log;
    const auto loop = asyncio::new_event_loop();
    loop->set_debug(true);
    loop->slow_callback_duration = 0s;
    loop->run_until_complete([&]() -> Coroutine<> {
        co_await loop->getaddrinfo("host", 80, stream());
        loop->slow_callback_duration = 1h;
        auto options = stream();
        options.family = AF_INET;
        co_await loop->getaddrinfo("host", "http", options);
    });
    std::string all;
    for (const auto& line : log.lines(asyncio::log::Level::DEBUG)) all += line + '\n';
    EXPECT_NE(all.find("Get address info host:80, type=1\n"), std::string::npos) << all;
    EXPECT_NE(all.find("Getting address info host:80, type=1 took "), std::string::npos) << all;
    EXPECT_NE(all.find("Getting address info host:'http', family=2, type=1 took "),
              std::string::npos)
        << all;
    const auto slow = log.lines(asyncio::log::Level::INFO);
    bool told = false;
    for (const auto& line : slow) told |= line.find("host:80, type=1 took") != line.npos;
    EXPECT_TRUE(told) << "a slow one is more than a debug message";
    for (const auto& line : slow) EXPECT_EQ(line.find("'http'"), line.npos) << line;
}

TEST(GetNameInfo, NumbersNeverLeaveTheLoopsThread) {  // DN-02
    const FakeResolver fake;
    run([](EventLoop& loop) -> Coroutine<> {
        support::Iterations iterations(loop);
        const auto [host, service] = co_await loop.getnameinfo(SocketAddress("127.0.0.1", 80),
                                                               NI_NUMERICHOST | NI_NUMERICSERV);
        EXPECT_EQ(host, "127.0.0.1");
        EXPECT_EQ(service, "80");
        EXPECT_EQ(iterations.passed(), 0);
    });
    EXPECT_EQ(FakeResolver::count(), 0u);
}

TEST(GetNameInfo, NamesAreLookedUp) {  // DN-02
    run([](EventLoop& loop) -> Coroutine<> {
        const auto [host, service] =
            co_await loop.getnameinfo(SocketAddress("127.0.0.1", 80), NI_NUMERICSERV);
        EXPECT_EQ(host, "localhost");
        EXPECT_EQ(service, "80");
    });
    const FakeResolver fake;
    run([](EventLoop& loop) -> Coroutine<> {
        const auto [host, service] = co_await loop.getnameinfo(SocketAddress("192.0.2.1", 80));
        EXPECT_EQ(host, "name");
        EXPECT_EQ(service, "service");
    });
    EXPECT_EQ(FakeResolver::asked(), (std::vector<std::string>{"('192.0.2.1', 80)"}));
}

TEST(GetNameInfo, OfNoInternetAddress) {  // DN-02
    run([](EventLoop& loop) -> Coroutine<> {
        const auto refused =
            co_await asyncio::as_result(loop.getnameinfo(SocketAddress::unix("/x")));
        EXPECT_EQ(support::error_text<asyncio::gaierror>(refused),
                  "[Errno -6] ai_family not supported");
    });
}

TEST(GetNameInfo, CancelledWhileWaitingAndBefore) {  // DN-02
    const FakeResolver fake;
    run([](EventLoop& loop) -> Coroutine<> {
        auto before = loop.create_task(loop.getnameinfo(SocketAddress("192.0.2.1", 80)));
        before.cancel();
        co_await asyncio::wait(before);
        EXPECT_TRUE(before.cancelled());
        EXPECT_EQ(FakeResolver::count(), 0u);
        auto waiting = loop.create_task(loop.getnameinfo(SocketAddress("192.0.2.1", 80)));
        co_await asyncio::sleep(0s);
        waiting.cancel();
        co_await asyncio::wait(waiting);
        EXPECT_TRUE(waiting.cancelled());
    });
}

TEST(Resolve, TakesAnAddressAsItIs) {  // CN-01
    const FakeResolver fake;
    run([](EventLoop& loop) -> Coroutine<> {
        support::Iterations iterations(loop);
        const auto infos = co_await asyncio::detail::resolve(loop, "::1", 80, 0, SOCK_STREAM, 0,
                                                             AI_PASSIVE | AI_ADDRCONFIG);
        EXPECT_EQ(text_of(infos), "('::1', 80, 0, 0)");
        EXPECT_EQ(infos.at(0).proto, IPPROTO_TCP);
        EXPECT_EQ(iterations.passed(), 0);
        EXPECT_EQ(text_of(co_await asyncio::detail::resolve(loop, "host", 80, 0, SOCK_STREAM)),
                  "('192.0.2.1', 80) ('2001:db8::1', 80, 0, 0)");
    });
    EXPECT_EQ(FakeResolver::count(), 1u);
}

}  // namespace
