// The library's own awaitables, each cancelled at every point that its task has, and in many orders
// beside others: none loses what it was given, and none leaves anything.
//
// ctest: timeout=120
#include <gtest/gtest.h>
#include <asyncio.hpp>
#include <asyncio/testing.hpp>
#include <asyncio/testing/gtest.hpp>
#include <asyncio/testing_network.hpp>
#include <asyncio/testing_streams.hpp>

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace {

using asyncio::Coroutine;
using asyncio::create_task;
using asyncio::StreamReader;
using asyncio::StreamWriter;
using namespace asyncio::testing;
using namespace std::chrono_literals;

void must(bool condition, const char* what) {
    if (!condition) throw asyncio::ValueError(what);
}

// Ends tasks that are still there, and takes their errors.
template <class T>
Coroutine<> end(asyncio::Task<T> task) {
    task.cancel();
    static_cast<void>(co_await asyncio::as_result(task));
}

// ---- waiting for one another --------------------------------------------------------------------

// `body` beside another one that works on the same thing; both are over before it is looked at.
template <class T>
Coroutine<> beside(std::shared_ptr<T> thing, Coroutine<> (*body)(T&), Coroutine<> (*other)(T&),
                   void (*check)(T&)) {
    const auto second = create_task(other(*thing), {.name = "other"});
    const auto outcome = co_await asyncio::as_result(body(*thing));
    static_cast<void>(co_await asyncio::as_result(asyncio::wait_for(second, 1h)));
    co_await settled();
    check(*thing);
    outcome.value();
}

Coroutine<> lock_for_a_second(asyncio::Lock& lock) {
    const auto held = co_await lock.scoped();
    co_await asyncio::sleep(1s);
}
void is_free(asyncio::Lock& lock) { must(!lock.locked(), "the lock is held by nobody"); }

Coroutine<> one_of_two_places(asyncio::Semaphore& places) {
    for (int i = 0; i < 3; ++i) {
        const auto held = co_await places.scoped();
        co_await asyncio::sleep(0s);
    }
}
void has_one_place(asyncio::Semaphore& places) { must(!places.locked(), "a place is lost"); }

struct Noticed {
    asyncio::Condition condition;
    int items = 0, taken = 0;
};
Coroutine<> waits_for_items(Noticed& n) {
    co_await n.condition.acquire();
    const auto outcome =
        co_await asyncio::as_result(n.condition.wait_for([&n] { return n.items > n.taken; }));
    if (outcome) ++n.taken;
    n.condition.release();
    outcome.value();
}
Coroutine<> brings_items(Noticed& n) {
    for (int i = 0; i < 2; ++i) {
        co_await asyncio::sleep(1s);
        const auto held = co_await n.condition.scoped();
        ++n.items;
        n.condition.notify();
    }
}
void nobody_holds_it(Noticed& n) { must(!n.condition.locked(), "the condition is held by nobody"); }

struct Numbers {
    asyncio::Queue<int> queue{1};
    std::vector<int> put, got;
};
Coroutine<> puts(Numbers& n) {
    for (int i = 0; i < 4; ++i) {
        co_await n.queue.put(i);
        n.put.push_back(i);
    }
}
Coroutine<> gets(Numbers& n) {
    for (int i = 0; i < 4; ++i) n.got.push_back(co_await asyncio::wait_for(n.queue.get(), 10s));
}
void all_that_was_put_is_there(Numbers& n) {
    while (!n.queue.empty()) n.got.push_back(n.queue.get_nowait());
    must(n.got == n.put, "an item is lost, twice there, or out of order");
}

Coroutine<> waits_for_an_event(asyncio::Event& event) { co_await event.wait(); }
Coroutine<> sets_it(asyncio::Event& event) {
    co_await asyncio::sleep(1s);
    event.set();
}
void nothing(asyncio::Event&) {}

Coroutine<> meets(asyncio::Barrier& barrier) { static_cast<void>(co_await barrier.wait()); }
Coroutine<> meets_or_leaves(asyncio::Barrier& barrier) {
    co_await asyncio::sleep(1s);
    const auto met = co_await asyncio::as_result(asyncio::wait_for(barrier.wait(), 1s));
    if (!met) co_await barrier.abort();
}
void nobody_waits(asyncio::Barrier& barrier) {
    must(barrier.n_waiting() == 0, "somebody waits at the barrier");
}

template <class T, class... Args>
Scenario pair_of(Coroutine<> (*body)(T&), Coroutine<> (*other)(T&), void (*check)(T&),
                 Args... args) {
    return [=] { return beside(std::make_shared<T>(args...), body, other, check); };
}

// ---- tasks --------------------------------------------------------------------------------------

Coroutine<int> after(std::chrono::seconds delay, int value) {
    co_await asyncio::sleep(delay);
    co_return value;
}

Coroutine<> gathers() {
    auto [a, b] = co_await asyncio::gather(after(1s, 1), after(2s, 2));
    must(a == 1 && b == 2, "gather");
}
Coroutine<> waits_for_the_first() {
    std::vector tasks{create_task(after(1s, 1)), create_task(after(2s, 2))};
    const auto outcome = co_await asyncio::as_result(
        asyncio::wait(tasks, {.return_when = asyncio::FIRST_COMPLETED}));
    for (const auto& task : tasks) co_await end(task);
    outcome.value();
}
Coroutine<> times_out() {
    const auto outcome = co_await asyncio::as_result(asyncio::wait_for(after(1h, 1), 1s));
    must(!outcome, "wait_for");
    if (!outcome.holds<asyncio::TimeoutError>()) outcome.value();
}
Coroutine<> shields() {
    const auto inner = create_task(after(1s, 1));
    const auto outcome = co_await asyncio::as_result(asyncio::shield(inner));
    must(!inner.cancelled(), "a shield lets a cancel through");
    static_cast<void>(co_await asyncio::as_result(asyncio::wait_for(inner, 1h)));
    outcome.value();
}
Coroutine<> takes_them_as_they_come() {
    std::vector tasks{create_task(after(2s, 2)), create_task(after(1s, 1))};
    const auto takes = [](std::vector<asyncio::Task<int>>& all) -> Coroutine<> {
        auto each = asyncio::as_completed(all);
        int sum = 0;
        while (auto next = co_await each.next()) sum += next->result();
        must(sum == 3, "as_completed");
    };
    const auto outcome = co_await asyncio::as_result(takes(tasks));
    for (const auto& task : tasks) co_await end(task);
    outcome.value();
}
Coroutine<> groups() {
    int done = 0;
    const auto part = [](int& count) -> Coroutine<> {
        co_await asyncio::sleep(1s);
        ++count;
    };
    const auto body = [&](asyncio::TaskGroup& group) -> Coroutine<> {
        group.create_task(part(done));
        group.create_task(part(done));
        co_await asyncio::sleep(2s);
    };
    co_await asyncio::with(asyncio::TaskGroup(), body);
    must(done == 2, "a group has not waited");
}
asyncio::AsyncGenerator<int> counts(bool& ended) {
    struct Ends {
        bool& ended;
        ~Ends() { ended = true; }
    } const ends{ended};
    for (int i = 0;; ++i) {
        co_await asyncio::sleep(1s);
        co_yield i;
    }
}
Coroutine<> generates() {
    bool ended = false;
    const auto takes = [](bool& over) -> Coroutine<> {
        auto numbers = counts(over);
        for (int i = 0; i < 3; ++i) must(*co_await numbers.next() == i, "a number is lost");
        co_await numbers.aclose();
    };
    const auto outcome = co_await asyncio::as_result(takes(ended));
    co_await settled();
    must(ended || !outcome, "a generator goes on");
    outcome.value();
}
Coroutine<> calls_threads() {
    const auto doubled = [](int n) { return 2 * n; };
    auto [a, b] =
        co_await asyncio::gather(asyncio::to_thread(doubled, 1), asyncio::to_thread(doubled, 2));
    must(a == 2 && b == 4, "to_thread");
}
Coroutine<> writes_and_reads_a_file() {
    const auto outcome = co_await asyncio::as_result([]() -> Coroutine<> {
        auto folder = co_await asyncio::temporary_directory();
        const std::string path = folder.path() + "/file";
        co_await asyncio::write_file(path, "text");
        must(co_await asyncio::read_file(path) == "text", "a file");
        co_await folder.cleanup();
    }());
    outcome.value();
}

// ---- streams ------------------------------------------------------------------------------------

Coroutine<> sends_back(StreamReader reader, StreamWriter writer) {
    const auto works = [](StreamReader& from, StreamWriter& to) -> Coroutine<> {
        while (const auto line = co_await from.next()) {
            to.write(*line);
            co_await to.drain();
        }
    };
    const auto outcome = co_await asyncio::as_result(works(reader, writer));
    writer.close();
    if (outcome.holds<asyncio::CancelledError>()) outcome.value();
}
Coroutine<> talks_in_memory() {
    auto [client, server] = memory_streams();
    const auto answering = create_task(sends_back(server.first, server.second));
    const auto asks = [](asyncio::StreamPair& to) -> Coroutine<> {
        to.second.write("one\nlonger one\n");
        co_await to.second.drain();
        must(co_await to.first.readline() == "one\n", "readline");
        must(co_await to.first.readexactly(7) == "longer ", "readexactly");
        must(co_await to.first.readuntil("\n") == "one\n", "readuntil");
    };
    const auto outcome = co_await asyncio::as_result(asks(client));
    client.second.close();
    static_cast<void>(co_await asyncio::as_result(asyncio::wait_for(answering, 1h)));
    co_await settled();
    outcome.value();
}

Coroutine<> talks_to_a_server() {
    auto server = co_await asyncio::start_server(&sends_back, "127.0.0.1", 0);
    const auto asks = [](int port) -> Coroutine<> {
        auto [reader, writer] = co_await asyncio::open_connection("127.0.0.1", port);
        writer.write("hello\n");
        co_await writer.drain();
        must(co_await reader.readline() == "hello\n", "an answer");
        writer.close();
        co_await writer.wait_closed();
    };
    const auto outcome =
        co_await asyncio::as_result(asks(server.sockets()[0].getsockname().port()));
    server.close();
    server.abort_clients();
    const auto closed = co_await asyncio::as_result(asyncio::wait_for(server.wait_closed(), 1h));
    co_await settled();
    closed.value();
    outcome.value();
}
Coroutine<> exchanges_datagrams() {
    auto one = co_await asyncio::open_datagram_endpoint({.local_addr = {"127.0.0.1", 7}});
    const auto sends = [](asyncio::DatagramEndpoint& to) -> Coroutine<> {
        auto other = co_await asyncio::open_datagram_endpoint({.remote_addr = {"127.0.0.1", 7}});
        co_await other.send("hello");
        must((co_await to.receive()).data == "hello", "a datagram");
        other.close();
    };
    const auto outcome = co_await asyncio::as_result(sends(one));
    one.close();
    co_await settled();
    outcome.value();
}

struct Case {
    const char* name;
    Scenario (*make)();
    bool network = false;
};
template <Coroutine<> (*scenario)()>
Scenario plain() {
    return [] { return scenario(); };
}

const Case cases[] = {
    {"Lock", [] { return pair_of(&lock_for_a_second, &lock_for_a_second, &is_free); }},
    {"Semaphore",
     [] { return pair_of(&one_of_two_places, &one_of_two_places, &has_one_place, 1); }},
    {"Condition", [] { return pair_of(&waits_for_items, &brings_items, &nobody_holds_it); }},
    {"QueuePut", [] { return pair_of(&puts, &gets, &all_that_was_put_is_there); }},
    {"QueueGet", [] { return pair_of(&gets, &puts, &all_that_was_put_is_there); }},
    {"Event", [] { return pair_of(&waits_for_an_event, &sets_it, &nothing); }},
    {"Barrier", [] { return pair_of(&meets, &meets_or_leaves, &nobody_waits, 2); }},
    {"gather", plain<gathers>},
    {"wait", plain<waits_for_the_first>},
    {"wait_for", plain<times_out>},
    {"shield", plain<shields>},
    {"as_completed", plain<takes_them_as_they_come>},
    {"TaskGroup", plain<groups>},
    {"AsyncGenerator", plain<generates>},
    {"to_thread", plain<calls_threads>},
    {"files", plain<writes_and_reads_a_file>},
    {"memory_streams", plain<talks_in_memory>},
    {"streams", plain<talks_to_a_server>, true},
    {"datagrams", plain<exchanges_datagrams>, true},
};

class Ourselves : public ::testing::TestWithParam<Case> {};

TEST_P(Ourselves, ACancelAtAnyPointIsFine) {
    EXPECT_GT(cancel_everywhere(GetParam().make(), {.run = {.network = GetParam().network}}).points,
              1u);
}
TEST_P(Ourselves, AnyOrderIsFine) {
    const RunOptions run{.network = GetParam().network};
    EXPECT_GT(explore(GetParam().make(), {.strategy = Random{}, .most = 300, .run = run}).runs, 0u);
    EXPECT_GT(explore(GetParam().make(), {.strategy = Delays{2}, .most = 300, .run = run}).runs,
              0u);
}

// Of those whose tasks end one another, whichever fails.
class OurselvesWithoutMemory : public ::testing::TestWithParam<Case> {};

TEST_P(OurselvesWithoutMemory, NoPointLeavesAnything) {
    const RunOptions run{.network = GetParam().network};
    EXPECT_GT(fail_allocations(GetParam().make(), {.run = run}).points, 1u);
}

const Case cases_without_memory[] = {
    {"wait_for", plain<times_out>},
    {"TaskGroup", plain<groups>},
    {"AsyncGenerator", plain<generates>},
    {"files", plain<writes_and_reads_a_file>},
    {"datagrams", plain<exchanges_datagrams>, true},
};
INSTANTIATE_TEST_SUITE_P(Each, OurselvesWithoutMemory, ::testing::ValuesIn(cases_without_memory),
                         [](const auto& info) { return std::string(info.param.name); });
INSTANTIATE_TEST_SUITE_P(Each, Ourselves, ::testing::ValuesIn(cases),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
