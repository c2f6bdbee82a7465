// The ten tests of docs/testing.md, as a user writes them.
#include <asyncio.hpp>
#include <asyncio/testing/gtest.hpp>
#include <asyncio/testing_network.hpp>
#include <asyncio/testing_streams.hpp>

#include <chrono>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

using namespace std::chrono_literals;
using asyncio::Coroutine, asyncio::StreamReader, asyncio::StreamWriter;
using asyncio::testing::network, asyncio::testing::on, asyncio::testing::settled;

namespace {

// ---- 1. time

class Cache {
  public:
    void put(const std::string& key, int value) { entries_[key] = {value, now()}; }
    std::optional<int> get(const std::string& key) const {
        const auto found = entries_.find(key);
        if (found == entries_.end() || now() - found->second.since >= 24h) return std::nullopt;
        return found->second.value;
    }

  private:
    struct Entry {
        int value;
        asyncio::TimePoint since;
    };
    static asyncio::TimePoint now() { return asyncio::get_running_loop().time(); }
    std::map<std::string, Entry> entries_;
};

ASYNC_TEST(Cache, ForgetsAfterADay) {
    Cache cache;
    cache.put("a", 1);
    co_await asyncio::sleep(23h);
    CO_ASSERT_EQ(cache.get("a"), 1);
    co_await asyncio::sleep(1h);
    CO_ASSERT_EQ(cache.get("a"), std::nullopt);
}

// ---- 2. streams without sockets

Coroutine<> upper_case(StreamReader reader, StreamWriter writer) {
    while (auto line = co_await reader.next()) {
        for (char& c : *line) c = static_cast<char>(std::toupper(c));
        writer.write(*line);
        co_await writer.drain();
    }
    writer.close();
}

ASYNC_TEST(UpperCase, AnswersLineByLine) {
    auto [client, server] = asyncio::testing::memory_streams();
    const auto serving = asyncio::create_task(upper_case(server.first, server.second));
    client.second.write("one\ntwo\n");
    client.second.write_eof();
    CO_ASSERT_EQ(co_await client.first.read(), "ONE\nTWO\n");
    co_await serving;
    client.second.close();
}

// ---- 3. a server, and a connection that is reset

Coroutine<> answers(StreamReader reader, StreamWriter writer) {
    const auto line = co_await asyncio::as_result(reader.readline());
    if (line) writer.write("rows for " + line.value());
    writer.close();
    if (!line.holds<asyncio::ConnectionResetError>()) line.value();
}

Coroutine<> database() {
    auto server = co_await asyncio::start_server(&answers, "0.0.0.0", 5432);
    co_await server.serve_forever();
}

Coroutine<std::string> ask_once(std::string query) {
    auto [reader, writer] = co_await asyncio::open_connection("db", 5432);
    writer.write(query + '\n');
    const auto answer = co_await reader.read();
    writer.close();
    if (answer.empty()) throw asyncio::ConnectionResetError("no answer");
    co_return answer;
}

Coroutine<std::string> ask(std::string query) {
    for (int tries = 1;; ++tries) {
        auto answer = co_await asyncio::as_result(ask_once(query));
        if (answer) co_return answer.value();
        if (tries == 3 || !answer.holds<asyncio::OSError>()) std::rethrow_exception(answer.error());
        co_await asyncio::sleep(100ms * tries);
    }
}

// What each test of the client begins and ends with.
Coroutine<> with_database(Coroutine<> body) {
    const auto server = asyncio::create_task(on(network().host("db"), database()));
    co_await settled();
    co_await std::move(body);
    server.cancel();
    static_cast<void>(co_await asyncio::as_result(server));
    co_await settled();
}

constexpr asyncio::testing::RunOptions kNetwork{.network = true};

Coroutine<> reset_and_ask() {
    auto& net = network();
    net.set_links({.latency = 10ms});
    const auto answer = asyncio::create_task(ask("users"));
    co_await asyncio::sleep(15ms);  // it is connected, and its question is on the way
    net.reset(net.here(), net.host("db"));
    CO_ASSERT_EQ(co_await answer, "rows for users\n");
}

ASYNC_TEST(Client, AsksAgainAfterAReset, .run = kNetwork) {
    co_await with_database(reset_and_ask());
}

// ---- 4. a partition

Coroutine<> cut_off() {
    auto& net = network();
    net.partition(net.here(), net.host("db"));
    CO_ASSERT_THROWS(asyncio::TimeoutError, asyncio::wait_for(ask("users"), 30s));
    CO_ASSERT_EQ(asyncio::testing::elapsed(), 30s);
    net.heal(net.here(), net.host("db"));
    CO_ASSERT_EQ(co_await ask("users"), "rows for users\n");
}

ASYNC_TEST(Client, GivesUpBehindAPartition, .run = kNetwork) { co_await with_database(cut_off()); }

// ---- 5. datagrams that are lost

// Tells all others what it knows, each second.
Coroutine<> gossip(int self, std::vector<std::set<int>>& known) {
    auto endpoint = co_await asyncio::open_datagram_endpoint({.local_addr = {"0.0.0.0", 7}});
    const auto listens = [](asyncio::DatagramEndpoint from, std::set<int>& mine) -> Coroutine<> {
        for (;;) mine.insert(std::stoi(std::string((co_await from.receive()).data)));
    };
    const auto listener = asyncio::create_task(listens(endpoint, known[self]));
    known[self].insert(self);
    for (int round = 0; round < 20; ++round) {
        const auto peer = "node" + std::to_string(asyncio::testing::random() % 5);
        const asyncio::SocketAddress to(network().address_of(network().host(peer)), 7);
        for (const int number : std::set(known[self])) {
            co_await endpoint.send_to(std::to_string(number), to);
        }
        co_await asyncio::sleep(1s);
    }
    listener.cancel();
    static_cast<void>(co_await asyncio::as_result(listener));
    endpoint.close();
}

ASYNC_TEST(Gossip, ReachesAllThoughAFifthIsLost, .seeds = 50, .run = kNetwork) {
    network().set_links({.latency = 20ms, .jitter = 20ms, .loss = 0.2, .duplicate = 0.05});
    std::vector<std::set<int>> known(5);
    std::vector<asyncio::Task<>> all;
    for (int i = 0; i < 5; ++i) {
        const auto host = network().host("node" + std::to_string(i));
        all.push_back(asyncio::create_task(on(host, gossip(i, known))));
    }
    co_await asyncio::wait(all);
    for (const auto& each : known) CO_ASSERT_EQ(each.size(), 5u);
    co_await settled();
}

// ---- 6. every order

struct Account {
    int balance = 100;
    asyncio::Lock lock;
};

Coroutine<> pay(Account& account, int sum) {
    const auto held = co_await account.lock.scoped();
    if (account.balance < sum) co_return;
    co_await asyncio::sleep(0s);  // asks somebody
    account.balance -= sum;
}

Coroutine<> pay_three_times() {
    Account account;
    std::vector<asyncio::Task<>> payments;
    for (int i = 0; i < 3; ++i) payments.push_back(asyncio::create_task(pay(account, 60)));
    co_await asyncio::wait(payments);
    EXPECT_EQ(account.balance, 40);
}

TEST(Account, NoOrderSpendsTwice) { asyncio::testing::explore(pay_three_times); }

// ---- 7. a cancel at every point

Coroutine<> uses_a_place() {
    asyncio::Semaphore places(2);
    const auto work = [](asyncio::Semaphore& s) -> Coroutine<> {
        const auto place = co_await s.scoped();
        co_await asyncio::sleep(1s);
        co_await asyncio::sleep(1s);
    };
    const auto outcome = co_await asyncio::as_result(work(places));
    EXPECT_FALSE(places.locked());
    outcome.value();
}

TEST(Places, ComeBackWhereverItIsCancelled) {
    EXPECT_GT(asyncio::testing::cancel_everywhere(uses_a_place).points, 0u);
}

// ---- 8. no memory at every point

Coroutine<> counts_words() {
    asyncio::Queue<std::string> words(2);
    const auto reads = [](asyncio::Queue<std::string>& to) -> Coroutine<> {
        for (const char* const word : {"a", "rather", "long", "text"}) co_await to.put(word);
    };
    const auto body = [&](asyncio::TaskGroup& group) -> Coroutine<> {
        group.create_task(reads(words));
        std::size_t letters = 0;
        for (int i = 0; i < 4; ++i) letters += (co_await words.get()).size();
        EXPECT_EQ(letters, 15u);
    };
    co_await asyncio::with(asyncio::TaskGroup(), body);
}

TEST(Words, AreCountedOrMemoryIsMissed) {
    EXPECT_GT(asyncio::testing::fail_allocations(counts_words).points, 0u);
}

// ---- 9. a disk that is full

// Writes the settings anew, so that others see the old ones or the new ones.
Coroutine<> saves_settings() {
    auto folder = co_await asyncio::temporary_directory();
    const std::string path = folder.path() + "/settings";
    const auto old = co_await asyncio::as_result(asyncio::replace_file(path, "volume 1\n"));
    const auto saved = co_await asyncio::as_result(asyncio::replace_file(path, "volume 2\n"));
    const auto is = co_await asyncio::as_result(asyncio::read_file(path));
    co_await folder.cleanup();
    if (!is) co_return;
    const std::set<std::string> may_be{"volume 1\n", "volume 2\n"};
    EXPECT_TRUE(!old || may_be.contains(is.value()));
    EXPECT_TRUE(!saved || is.value() == "volume 2\n");
}

TEST(Settings, AreNeverHalfWritten) {
    EXPECT_GT(asyncio::testing::fail_files(saves_settings, {.error = ENOSPC}).points, 0u);
}

// ---- 10. what happens rarely

// Sends to the first peer that answers, or to the second one after a while.
Coroutine<int> first_of_two() {
    const auto slow = [](int number) -> Coroutine<int> {
        if (asyncio::testing::buggify()) co_await asyncio::sleep(10s);
        co_await asyncio::sleep(0s);
        co_return number;
    };
    const auto first = asyncio::create_task(slow(1));
    const auto answer = co_await asyncio::as_result(asyncio::wait_for(first, 1s));
    asyncio::testing::sometimes("the first is slow", !answer);
    if (answer) co_return answer.value();
    co_return co_await slow(2);
}

Coroutine<> asks_two() {
    const int answer = co_await first_of_two();
    EXPECT_TRUE(answer == 1 || answer == 2);
}

ASYNC_TEST(TwoPeers, OneAnswers, .seeds = 100) { co_await asks_two(); }

}  // namespace
