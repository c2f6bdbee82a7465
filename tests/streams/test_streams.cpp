// streams.hpp without a network: the reader fed by hand, the writer over a transport that notes
// what it is asked for. ST-*. Orders and texts were compared with CPython 3.13's.
//
// ctest: simulated
#include <asyncio/streams.hpp>

#include <gtest/gtest.h>

#include <any>
#include <array>
#include <asyncio/locks.hpp>
#include <asyncio/repr.hpp>
#include <asyncio/runners.hpp>
#include <asyncio/taskgroups.hpp>
#include <asyncio/timeouts.hpp>
#include <asyncio/with.hpp>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <limits>
#include <list>
#include <memory>
#include <ranges>
#include <set>
#include <span>
#include <sstream>
#include <string>
#include <string_view>
#include <thread>
#include <unordered_set>
#include <utility>
#include <vector>

#include "support.hpp"

namespace {

using namespace asyncio;
using namespace std::chrono_literals;
using support::error_text;
using support::raised;
using support::run_virtual;

template <class T>
std::string text_of(const Result<T>& r) {
    return r.has_value() ? "ok" : detail::describe(r.error());
}

// Notes what it is asked for.
class FakeTransport final : public detail::TransportBase {
  public:
    explicit FakeTransport(EventLoop& loop) : loop_(loop) { ++alive; }
    ~FakeTransport() override { --alive; }

    EventLoop& loop() const override { return loop_; }
    void close() override {
        if (std::exchange(closing, true)) return;
        ++closes;
    }
    void abort() override { close(); }
    bool is_closing() const override { return closing; }
    std::any get_extra_info(std::string_view name) const override {
        if (name == "sslcontext" && over_tls) return 1;
        if (name == "socket") return 7;
        return {};
    }
    bool is_reading() const override { return reading; }
    void pause_reading() override {
        if (!can_pause) throw NotImplementedError("pause_reading");
        reading = false;
        ++pauses;
    }
    void resume_reading() override { reading = true; }
    void write(std::string_view data) override {
        if (!closing) written += data;
    }
    void writelines(std::span<const std::string_view> pieces) override {
        ++batches;
        for (const std::string_view piece : pieces) write(piece);
    }
    void write_eof() override { written += "<eof>"; }
    bool can_write_eof() const override { return true; }
    std::string repr() const override { return "<Fake>"; }

    static inline int alive = 0;

    bool closing = false;
    bool reading = true;
    bool can_pause = true;
    bool over_tls = false;
    int closes = 0;
    int pauses = 0;
    int batches = 0;
    std::string written;

  private:
    EventLoop& loop_;
};

// Waits until a task is done, however it ends.
Coroutine<> end_of(Task<>& task) {
    const auto outcome = co_await as_result(task);
    EXPECT_TRUE(task.done());
}

// A connection that the test plays.
class Connection {
  public:
    explicit Connection(std::size_t limit = DEFAULT_STREAM_LIMIT)
        : transport(detail::Ref<FakeTransport>::adopt(new FakeTransport(get_running_loop()))),
          protocol(detail::Stream::make(get_running_loop().core(), limit)),
          reader(protocol),
          writer(protocol) {
        Transport handle(detail::Ref<detail::TransportBase>::share(transport.get()));
        protocol->connection_made(handle);
    }
    Connection(const Connection&) = delete;
    Connection& operator=(const Connection&) = delete;

    void feed(std::string_view data) { protocol->data_received(data); }
    void eof() { protocol->eof_received(); }
    void lose(std::exception_ptr error = nullptr) {
        transport->close();
        protocol->connection_lost(std::move(error));
    }

    detail::Ref<FakeTransport> transport;
    std::shared_ptr<detail::Stream> protocol;
    StreamReader reader;
    StreamWriter writer;
};

std::exception_ptr some_error(const char* text = "broken") {
    return std::make_exception_ptr(ConnectionResetError(text));
}

// Runs `body(connection)`.
template <class F>
void with_connection(F body, std::size_t limit = DEFAULT_STREAM_LIMIT) {
    auto main = [&]() -> Coroutine<> {
        Connection c(limit);
        co_await body(c);
    };
    run_virtual(main);
    EXPECT_EQ(FakeTransport::alive, 0);
}

// ---- reading ------------------------------------------------------------------------------------

TEST(StreamReader, RefusesALimitThatIsNone) {  // ST-04
    const auto loop = VirtualTimeEventLoop::create();
    set_event_loop(loop.get());
    EXPECT_EQ(raised<ValueError>([] { StreamReader reader(0); }), "Limit cannot be <= 0");
    EXPECT_EQ(raised<ValueError>([] { StreamReader reader(-3); }), "Limit cannot be <= 0");
    const StreamReader reader(10);
    EXPECT_EQ(reader.repr(), "<StreamReader limit=10>");
    set_event_loop(nullptr);
}

// L17, L43. However large a limit is, it is that.
TEST(StreamReader, TakesAnyLimitAboveNone) {
    const auto loop = VirtualTimeEventLoop::create();
    set_event_loop(loop.get());
    constexpr std::size_t most = std::numeric_limits<std::size_t>::max();
    constexpr std::size_t five = 5'000'000'000;
    EXPECT_EQ(StreamReader(most).repr(), "<StreamReader limit=18446744073709551615>");
    EXPECT_EQ(StreamReader(five).repr(), "<StreamReader limit=5000000000>");
    EXPECT_EQ(StreamReader(std::int64_t{1} << 32).repr(), "<StreamReader limit=4294967296>");
    EXPECT_EQ(raised<ValueError>([] { StreamReader reader(std::int64_t{-1} << 33); }),
              "Limit cannot be <= 0");
    EXPECT_EQ(raised<ValueError>([] { StreamReader reader(std::size_t{0}); }),
              "Limit cannot be <= 0");
    set_event_loop(nullptr);
    // Nothing is as much as that: it never pauses, and no line is too long.
    for (const std::size_t limit : {most, most / 2 + 1, five}) {
        with_connection(
            [](Connection& c) -> Coroutine<> {
                const std::string line(300'000, 'x');
                c.feed(line);
                c.feed("\n");
                EXPECT_EQ(c.transport->pauses, 0);
                EXPECT_EQ((co_await c.reader.readline()).size(), line.size() + 1);
            },
            limit);
    }
}

// Handles may be keys: they hash by what they refer to.
template <class H>
concept Hashable = requires(const H& h) {
    { std::hash<H>()(h) } -> std::same_as<std::size_t>;
    { h == h } -> std::same_as<bool>;
};
static_assert(Hashable<StreamReader> && Hashable<StreamWriter> && Hashable<Transport> &&
              Hashable<ReadTransport> && Hashable<DatagramTransport> && Hashable<Server> &&
              Hashable<AnyTask> && Hashable<AnyFuture> && Hashable<Task<int>> &&
              Hashable<Future<int>> && Hashable<SocketAddress>);

TEST(StreamReader, MayBeAKey) {
    run([]() -> Coroutine<> {
        const StreamReader a(1);
        const StreamReader copy = a;
        const StreamReader other(1);
        const std::unordered_set<StreamReader> set{a, copy, other};
        EXPECT_EQ(set.size(), 2u);
        EXPECT_TRUE(set.contains(copy));
        co_return;
    });
}

TEST(StreamReader, IsASharedHandleThatMayBeEmpty) {
    StreamReader none;
    StreamWriter no_writer;
    EXPECT_FALSE(none || no_writer);
    EXPECT_NE(raised<RuntimeError>([&] { none.at_eof(); }), "");
    EXPECT_NE(raised<RuntimeError>([&] { no_writer.write("x"); }), "");
    with_connection([](Connection& c) -> Coroutine<> {
        const StreamReader copy = c.reader;
        EXPECT_TRUE(copy == c.reader);
        c.feed("abc");
        EXPECT_EQ(co_await copy.read(2), "ab");
        EXPECT_EQ(co_await c.reader.read(2), "c");
    });
}

TEST(StreamReader, ReadGivesWhatIsThere) {  // ST-05
    with_connection([](Connection& c) -> Coroutine<> {
        EXPECT_EQ(co_await c.reader.read(0), "");
        c.feed("hello");
        EXPECT_EQ(co_await c.reader.read(0), "");
        EXPECT_EQ(co_await c.reader.read(2), "he");
        c.feed(" world");
        EXPECT_EQ(co_await c.reader.read(100), "llo world");
        auto waiting = create_task(c.reader.read(4));
        co_await sleep(0s);
        c.feed("123456");
        c.feed("78");
        EXPECT_EQ(co_await waiting, "1234");
        EXPECT_EQ(co_await c.reader.read(100), "5678");
        // What comes before the task runs is its own, too.
        auto both = create_task(c.reader.read(5));
        co_await sleep(0s);
        c.feed("ab");
        c.feed("cdef");
        EXPECT_EQ(co_await both, "abcde");
        char memory[4];
        co_await c.reader.read(1);
        auto into = create_task(c.reader.read_into(memory));
        co_await sleep(0s);
        c.feed("12");
        c.feed("345");
        EXPECT_EQ(co_await into, 4U);
        EXPECT_EQ(std::string_view(memory, 4), "1234");
        EXPECT_EQ(co_await c.reader.read(9), "5");
        auto at_end = create_task(c.reader.read(4));
        co_await sleep(0s);
        c.eof();
        EXPECT_EQ(co_await at_end, "");
        EXPECT_EQ(co_await c.reader.read(4), "");
        EXPECT_TRUE(c.reader.at_eof());
    });
}

TEST(StreamReader, ReadWithoutANumberGivesAllUntilTheEnd) {  // ST-05
    with_connection(
        [](Connection& c) -> Coroutine<> {
            c.feed("ab");
            auto all = create_task(c.reader.read());
            std::string sent = "ab";
            for (int i = 0; i < 100; ++i) {
                co_await sleep(0s);
                c.feed("0123456789");
                sent += "0123456789";
                // The limit does not stop what is needed.
                EXPECT_TRUE(c.transport->reading);
            }
            EXPECT_FALSE(all.done());
            c.eof();
            EXPECT_EQ(co_await all, sent);
            EXPECT_EQ(co_await c.reader.read(), "");
        },
        16);
}

TEST(StreamReader, ReadlineGivesLinesAndTheRest) {  // ST-06
    with_connection([](Connection& c) -> Coroutine<> {
        c.feed("one\ntwo\n\nthr");
        EXPECT_EQ(co_await c.reader.readline(), "one\n");
        EXPECT_EQ(co_await c.reader.readline(), "two\n");
        EXPECT_EQ(co_await c.reader.readline(), "\n");
        auto line = create_task(c.reader.readline());
        co_await sleep(0s);
        c.feed("e");
        c.feed("e\nfo");
        EXPECT_EQ(co_await line, "three\n");
        auto rest = create_task(c.reader.readline());
        co_await sleep(0s);
        c.feed("ur");
        c.eof();
        EXPECT_EQ(co_await rest, "four");
        EXPECT_EQ(co_await c.reader.readline(), "");
    });
}

TEST(StreamReader, ReadlineDropsALineThatIsTooLong) {  // ST-06
    with_connection(
        [](Connection& c) -> Coroutine<> {
            c.feed("0123456789a\nok\n");
            auto r = co_await as_result(c.reader.readline());
            EXPECT_EQ(error_text<ValueError>(r),
                      "Separator is found, but chunk is longer than limit");
            EXPECT_EQ(co_await c.reader.readline(), "ok\n");
            // Without a newline all goes that is there.
            c.feed("0123456789a");
            r = co_await as_result(c.reader.readline());
            EXPECT_EQ(error_text<ValueError>(r),
                      "Separator is not found, and chunk exceed the limit");
            c.feed("bc\n");
            EXPECT_EQ(co_await c.reader.readline(), "bc\n");
            // The same while it waits.
            auto waiting = create_task(c.reader.readline());
            co_await sleep(0s);
            c.feed("01234");
            co_await sleep(0s);
            EXPECT_FALSE(waiting.done());
            c.feed("56789a");
            r = co_await as_result(waiting);
            EXPECT_EQ(error_text<ValueError>(r),
                      "Separator is not found, and chunk exceed the limit");
            EXPECT_EQ(c.reader.repr().find("bytes"), std::string::npos);
            auto found = create_task(c.reader.readline());
            co_await sleep(0s);
            c.feed("0123456789a\nrest\n");
            r = co_await as_result(found);
            EXPECT_EQ(error_text<ValueError>(r),
                      "Separator is found, but chunk is longer than limit");
            EXPECT_EQ(co_await c.reader.readline(), "rest\n");
            // As long as the limit is not longer.
            c.feed("0123456789\n");
            EXPECT_EQ(co_await c.reader.readline(), "0123456789\n");
        },
        10);
}

TEST(StreamReader, ReadexactlyGivesThatMany) {  // ST-07
    with_connection(
        [](Connection& c) -> Coroutine<> {
            EXPECT_EQ(raised<ValueError>([&] { (void)c.reader.readexactly(-1); }),
                      "readexactly size can not be less than zero");
            EXPECT_EQ(co_await c.reader.readexactly(0), "");
            c.feed("abcdef");
            EXPECT_EQ(co_await c.reader.readexactly(2), "ab");
            EXPECT_EQ(co_await c.reader.readexactly(4), "cdef");
            // More than the limit and than what pauses the transport.
            auto many = create_task(c.reader.readexactly(100));
            for (int i = 0; i < 10; ++i) {
                co_await sleep(0s);
                EXPECT_FALSE(many.done());
                EXPECT_TRUE(c.transport->reading);
                c.feed("0123456789");
            }
            c.feed("0123456789");
            EXPECT_EQ((co_await many).size(), 100U);
            EXPECT_EQ(co_await c.reader.read(100), "0123456789");
            // All at once: straight from what was received.
            auto direct = create_task(c.reader.readexactly(3));
            co_await sleep(0s);
            c.feed("xyzw");
            EXPECT_EQ(co_await direct, "xyz");
            auto incomplete = create_task(c.reader.readexactly(5));
            co_await sleep(0s);
            c.eof();
            const auto r = co_await as_result(incomplete);
            EXPECT_EQ(error_text<IncompleteReadError>(r),
                      "1 bytes read on a total of 5 expected bytes");
            const auto* e = detail::find<IncompleteReadError>(r.error());
            EXPECT_EQ(e->partial, "w");
            EXPECT_EQ(e->expected, 5U);
            EXPECT_TRUE(c.reader.at_eof());
        },
        10);
}

TEST(StreamReader, ReaduntilGivesThroughTheSeparator) {  // ST-08
    with_connection([](Connection& c) -> Coroutine<> {
        c.feed("key: value\r\n\r\nbody");
        EXPECT_EQ(co_await c.reader.readuntil(": "), "key: ");
        EXPECT_EQ(co_await c.reader.readuntil("\r\n\r\n"), "value\r\n\r\n");
        EXPECT_EQ(co_await c.reader.read(10), "body");
        // In pieces, with what looks like the start of it.
        auto waiting = create_task(c.reader.readuntil("SEPARATOR"));
        for (const char* piece : {"some SEPA", "SEP", "ARATO", "SEPARAT", "OR", "more"}) {
            co_await sleep(0s);
            EXPECT_FALSE(waiting.done());
            c.feed(piece);
            if (std::string_view(piece) == "OR") break;
        }
        EXPECT_EQ(co_await waiting, "some SEPASEPARATOSEPARATOR");
        auto rest = create_task(c.reader.readuntil("\n"));
        co_await sleep(0s);
        c.feed("unfinished");
        c.eof();
        const auto r = co_await as_result(rest);
        const auto* e = detail::find<IncompleteReadError>(r.error());
        EXPECT_EQ(error_text<IncompleteReadError>(r),
                  "10 bytes read on a total of undefined expected bytes");
        EXPECT_EQ(e->partial, "unfinished");
        EXPECT_FALSE(e->expected.has_value());
        EXPECT_TRUE(c.reader.at_eof());
    });
}

TEST(StreamReader, ReaduntilTakesSeveralSeparators) {  // ST-08
    with_connection([](Connection& c) -> Coroutine<> {
        const std::vector<std::string> any{"\r\n", "\n", "END"};
        c.feed("a\r\nb\ncENDd\n");
        EXPECT_EQ(co_await c.reader.readuntil(any), "a\r\n");
        EXPECT_EQ(co_await c.reader.readuntil(any), "b\n");
        EXPECT_EQ(co_await c.reader.readuntil(any), "cEND");
        EXPECT_EQ(co_await c.reader.readuntil(any), "d\n");
        // The one that ends first wins, also when it begins later.
        const std::vector<std::string_view> nested{"abcdef", "cd"};
        c.feed("xxabcdefgh");
        EXPECT_EQ(co_await c.reader.readuntil(nested), "xxabcd");
        EXPECT_EQ(co_await c.reader.read(10), "efgh");
        // Across the windows of a long text.
        std::string text(1000, 'x');
        text += "ENDtail";
        c.feed(text);
        EXPECT_EQ((co_await c.reader.readuntil(any)).size(), 1003U);
        EXPECT_EQ(co_await c.reader.read(10), "tail");
        for (std::size_t at : {254U, 255U, 256U, 767U, 768U}) {
            c.feed(std::string(at, 'x') + "ENDy");
            EXPECT_EQ((co_await c.reader.readuntil(any)).size(), at + 3);
            EXPECT_EQ(co_await c.reader.read(10), "y");
        }
        const std::vector<std::string> one{"!"};
        c.feed("a!b");
        EXPECT_EQ(co_await c.reader.readuntil(one), "a!");
    });
}

TEST(StreamReader, ReaduntilRefusesWhatCannotBeFound) {  // ST-08
    with_connection([](Connection& c) -> Coroutine<> {
        auto r = co_await as_result(c.reader.readuntil(""));
        EXPECT_EQ(error_text<ValueError>(r), "Separator should be at least one-byte string");
        const std::vector<std::string> none;
        r = co_await as_result(c.reader.readuntil(none));
        EXPECT_EQ(error_text<ValueError>(r), "Separator should contain at least one element");
        const std::vector<std::string> with_empty{"a", ""};
        r = co_await as_result(c.reader.readuntil(with_empty));
        EXPECT_EQ(error_text<ValueError>(r), "Separator should be at least one-byte string");
        // Before the connection's error.
        c.reader.set_exception(ValueError("x"));
        r = co_await as_result(c.reader.readuntil(""));
        EXPECT_EQ(error_text<ValueError>(r), "Separator should be at least one-byte string");
    });
}

TEST(StreamReader, ReaduntilKeepsWhatIsTooLong) {  // ST-08
    with_connection(
        [](Connection& c) -> Coroutine<> {
            c.feed("0123456789ab--c");
            auto r = co_await as_result(c.reader.readuntil("--"));
            EXPECT_EQ(error_text<LimitOverrunError>(r),
                      "Separator is found, but chunk is longer than limit");
            EXPECT_EQ(detail::find<LimitOverrunError>(r.error())->consumed, 12U);
            EXPECT_EQ(co_await c.reader.readexactly(15), "0123456789ab--c");
            auto waiting = create_task(c.reader.readuntil("--"));
            co_await sleep(0s);
            c.feed("0123456789ab-");
            r = co_await as_result(waiting);
            EXPECT_EQ(error_text<LimitOverrunError>(r),
                      "Separator is not found, and chunk exceed the limit");
            // All but what may be the start of a separator.
            EXPECT_EQ(detail::find<LimitOverrunError>(r.error())->consumed, 12U);
            EXPECT_EQ(co_await c.reader.readexactly(12), "0123456789ab");
            c.feed("-");
            EXPECT_EQ(co_await c.reader.readuntil("--"), "--");
        },
        10);
}

TEST(StreamReader, NextGivesLinesUntilTheEnd) {  // ST-11
    with_connection([](Connection& c) -> Coroutine<> {
        c.feed("a\n\nb\nrest");
        c.eof();
        std::vector<std::string> lines;
        while (auto line = co_await c.reader.next()) lines.push_back(*line);
        EXPECT_EQ(lines, (std::vector<std::string>{"a\n", "\n", "b\n", "rest"}));
        EXPECT_FALSE((co_await c.reader.next()).has_value());
    });
}

TEST(StreamReader, ReadsIntoMemoryOfTheCaller) {  // ST-05
    with_connection([](Connection& c) -> Coroutine<> {
        std::vector<std::byte> memory(4);
        char chars[3];
        c.feed("abcdef");
        EXPECT_EQ(co_await c.reader.read_into(memory), 4U);
        EXPECT_EQ(detail::as_chars(memory), "abcd");
        EXPECT_EQ(co_await c.reader.read_into(std::span<std::byte>()), 0U);
        EXPECT_EQ(co_await c.reader.read_into(chars), 2U);
        EXPECT_EQ(std::string_view(chars, 2), "ef");
        auto waiting = create_task(c.reader.read_into(chars));
        co_await sleep(0s);
        c.feed("12345");
        EXPECT_EQ(co_await waiting, 3U);
        EXPECT_EQ(std::string_view(chars, 3), "123");
        EXPECT_EQ(co_await c.reader.read(9), "45");
        c.eof();
        EXPECT_EQ(co_await c.reader.read_into(chars), 0U);
    });
}

TEST(StreamReader, GivesItsBytesToAFunctionWithoutACopy) {
    with_connection(
        [](Connection& c) -> Coroutine<> {
            std::string seen;
            auto up_to_semicolon = [&](std::string_view bytes) -> std::size_t {
                seen += '[' + std::string(bytes) + ']';
                return bytes.find(';') + 1;  // 0 if there is none
            };
            const char* address = nullptr;
            auto note = [&](std::string_view bytes) {
                address = bytes.data();
                return bytes.size();
            };
            auto waiting = create_task(c.reader.read_with(up_to_semicolon));
            co_await sleep(0s);
            c.feed("ab");
            co_await sleep(0s);
            EXPECT_FALSE(waiting.done());
            c.feed("c;de");
            EXPECT_EQ(co_await waiting, 4U);
            EXPECT_EQ(seen, "[ab][abc;de]");
            EXPECT_EQ(co_await c.reader.read(9), "de");
            // The transport's own bytes.
            const std::string received = "in the receive buffer";
            auto direct = create_task(c.reader.read_with(note));
            co_await sleep(0s);
            c.feed(received);
            EXPECT_EQ(co_await direct, received.size());
            EXPECT_EQ(address, received.data());
            // What is there already, in its own step.
            c.feed("x;y;");
            seen.clear();
            EXPECT_EQ(co_await c.reader.read_with(up_to_semicolon), 2U);
            EXPECT_EQ(co_await c.reader.read_with(up_to_semicolon), 2U);
            EXPECT_EQ(seen, "[x;y;][y;]");
            // Errors, and too much.
            c.feed("abc");
            auto fails = [](std::string_view) -> std::size_t { throw ValueError("no"); };
            auto r = co_await as_result(c.reader.read_with(fails));
            EXPECT_EQ(error_text<ValueError>(r), "no");
            auto greedy = [](std::string_view) { return 99; };
            r = co_await as_result(c.reader.read_with(greedy));
            EXPECT_EQ(error_text<ValueError>(r), "the function used 99 bytes of 3");
            EXPECT_EQ(co_await c.reader.read(9), "abc");
            auto failing = create_task(c.reader.read_with(fails));
            co_await sleep(0s);
            c.feed("12");
            r = co_await as_result(failing);
            EXPECT_EQ(error_text<ValueError>(r), "no");
            auto never = create_task(c.reader.read_with(up_to_semicolon));
            co_await sleep(0s);
            c.feed("345678901234567890");
            r = co_await as_result(never);
            EXPECT_EQ(error_text<LimitOverrunError>(r),
                      "Nothing was used of a chunk that exceeds the limit");
            EXPECT_EQ(co_await c.reader.read(99), "12345678901234567890");
            auto ended = create_task(c.reader.read_with(up_to_semicolon));
            co_await sleep(0s);
            c.eof();
            EXPECT_EQ(co_await ended, 0U);
        },
        16);
}

// What a task sees of a read_with() whose function does `act`, and of the waits that follow. The
// bytes are there already, or come while it waits: the same must come of both.
template <class F>
Coroutine<support::Lines> seen_with(Connection& c, F act, bool there) {
    support::Lines seen;
    EventLoop& loop = get_running_loop();
    Task<> self;
    auto function = [&](std::string_view bytes) -> std::size_t {
        seen.push_back("sees " + std::string(bytes));
        EXPECT_TRUE(current_task() == self);
        // It may look until it returns, whatever it does meanwhile.
        const std::string before(bytes);
        const std::size_t used = act(self, bytes);
        EXPECT_EQ(bytes, before);
        return used;
    };
    auto read = [&]() -> Coroutine<> {
        const auto used = co_await as_result(c.reader.read_with(function));
        seen.push_back(used.has_value() ? "used " + std::to_string(used.value()) : text_of(used));
        auto set = loop.create_future<int>();
        auto later = loop.call_later(1ms, [&] { set.set_result(1); });
        const auto first = co_await as_result(set);
        seen.push_back(text_of(first));
        later.cancel();
        auto never = loop.create_future<int>();
        const auto second = co_await as_result(wait_for(never, 1ms));
        seen.push_back(text_of(second));
        Lock lock;
        co_await lock.acquire();
        const auto twice = co_await as_result(wait_for(lock.acquire(), 1ms));
        seen.push_back(text_of(twice));
    };
    if (there) c.feed("abcdef");
    self = create_task(read());
    // The task uses what is here: it is waited for even if this is cancelled.
    std::exception_ptr cancelled;
    if (!there) {
        const auto slept = co_await as_result(sleep(0s));
        cancelled = slept.error();
        // From a callback, as a transport does it.
        loop.call_soon([&] { c.feed("abcdef"); });
    }
    while (!self.done()) {
        const auto waited = co_await as_result(wait(self));
        if (waited.error()) cancelled = waited.error();
    }
    if (cancelled) std::rethrow_exception(cancelled);
    seen.push_back(self.cancelled() ? "cancelled" : "not cancelled");
    const auto left = co_await as_result(wait_for(c.reader.read(99), 1ms));
    seen.push_back(left.has_value() ? "left " + left.value() : text_of(left));
    co_return seen;
}

// The same on both kinds of loops, and by both ways.
template <class F>
void expect_seen(const support::Lines& expected, F act, std::size_t limit = DEFAULT_STREAM_LIMIT) {
    for (const bool there : {true, false}) {
        for (const bool real : {true, false}) {
            auto main = [&]() -> Coroutine<support::Lines> {
                Connection c(limit);
                auto bound = [&](Task<>& self, std::string_view bytes) {
                    return act(c, self, bytes);
                };
                co_return co_await seen_with(c, std::ref(bound), there);
            };
            const support::Lines seen = real ? run(main) : run_virtual(main);
            EXPECT_EQ(seen, expected) << (there ? "there" : "waits") << (real ? ", real" : "");
            EXPECT_EQ(FakeTransport::alive, 0);
        }
    }
}

const std::string kTimedOut = "TimeoutError()";

// L36. A function of read_with() that cancels its own task does so as in the task's own step.
TEST(StreamReader, FunctionThatCancelsItsTaskEndsTheNextWait) {
    expect_seen({"sees abcdef", "used 4", "CancelledError()", kTimedOut, kTimedOut, "not cancelled",
                 "left ef"},
                [](Connection&, Task<>& self, std::string_view) {
                    self.cancel();
                    return 4;
                });
    expect_seen({"sees abcdef", "used 4", "CancelledError('enough')", kTimedOut, kTimedOut,
                 "not cancelled", "left ef"},
                [](Connection&, Task<>& self, std::string_view) {
                    self.cancel();
                    self.cancel("enough");
                    return 4;
                });
    expect_seen({"sees abcdef", "used 4", "ok", kTimedOut, kTimedOut, "not cancelled", "left ef"},
                [](Connection&, Task<>& self, std::string_view) {
                    self.cancel();
                    self.uncancel();
                    return 4;
                });
    // It uses nothing: the next wait is the read's own.
    expect_seen({"sees abcdef", "CancelledError()", "ok", kTimedOut, kTimedOut, "not cancelled",
                 "left abcdef"},
                [](Connection&, Task<>& self, std::string_view) {
                    self.cancel();
                    return 0;
                });
    expect_seen({"sees abcdef", "ValueError('no')", "CancelledError()", kTimedOut, kTimedOut,
                 "not cancelled", "left abcdef"},
                [](Connection&, Task<>& self, std::string_view) -> std::size_t {
                    self.cancel();
                    throw ValueError("no");
                });
}

// L36.
TEST(StreamReader, FunctionMayFeedEndAndFailItsOwnStream) {
    expect_seen({"sees abcdef", "used 4", "ok", kTimedOut, kTimedOut, "not cancelled", "left ef12"},
                [](Connection& c, Task<>&, std::string_view) {
                    c.reader.feed_data("1");
                    c.reader.feed_data("2");
                    return 4;
                });
    // It used none of it: again, with what it fed.
    expect_seen({"sees abcdef", "sees abcdef1", "used 5", "ok", kTimedOut, kTimedOut,
                 "not cancelled", "left f1"},
                [](Connection& c, Task<>&, std::string_view bytes) {
                    if (bytes.size() > 6) return 5;
                    c.reader.feed_data("1");
                    return 0;
                });
    // Feeds for ever, and uses none.
    expect_seen(
        {"sees abcdef", "sees abcdefg",
         "LimitOverrunError('Nothing was used of a chunk that exceeds the limit')", "ok", kTimedOut,
         kTimedOut, "not cancelled", "left abcdefgg"},
        [](Connection& c, Task<>&, std::string_view) {
            c.reader.feed_data("g");
            return 0;
        },
        6);
    for (const int used : {0, 4}) {
        expect_seen({"sees abcdef", "used " + std::to_string(used), "ok", kTimedOut, kTimedOut,
                     "not cancelled", used == 0 ? "left abcdef" : "left ef"},
                    [used](Connection& c, Task<>&, std::string_view) {
                        c.reader.feed_eof();
                        EXPECT_FALSE(c.reader.at_eof());
                        return used;
                    });
    }
    const std::string broken = "ConnectionResetError('broken')";
    for (const int used : {0, 4}) {
        expect_seen({"sees abcdef", used == 0 ? broken : "used 4", "ok", kTimedOut, kTimedOut,
                     "not cancelled", broken},
                    [used](Connection& c, Task<>&, std::string_view) {
                        c.reader.set_exception(some_error());
                        return used;
                    });
    }
    // All at once.
    expect_seen({"sees abcdef", "used 4", "CancelledError()", kTimedOut, kTimedOut, "not cancelled",
                 broken},
                [](Connection& c, Task<>& self, std::string_view) {
                    c.reader.feed_data("g");
                    self.cancel();
                    c.reader.feed_eof();
                    c.lose(some_error());
                    return 4;
                });
}

// L36. Others may not read meanwhile: the bytes are being looked at.
TEST(StreamReader, FunctionMayNotStartAnotherRead) {
    const std::string refused =
        "RuntimeError('read() called while another coroutine is already waiting for incoming "
        "data')";
    for (const bool feeds : {false, true}) {
        auto act = [&](Connection& c, Task<>&, std::string_view) {
            if (feeds) c.reader.feed_data("g");
            auto read = [&]() -> Coroutine<> {
                const auto r = co_await as_result(c.reader.read(3));
                EXPECT_EQ(text_of(r), refused);
                const auto none = co_await as_result(c.reader.read(0));
                EXPECT_EQ(text_of(none), "ok");
            };
            const auto task = create_task(read, {.eager_start = true});
            EXPECT_TRUE(task.done());
            return 4;
        };
        expect_seen({"sees abcdef", "used 4", "ok", kTimedOut, kTimedOut, "not cancelled",
                     feeds ? "left efg" : "left ef"},
                    act);
    }
}

// L36. A function that cancels the group of its task: each of its tasks ends once.
TEST(StreamReader, FunctionThatCancelsItsGroup) {
    for (const bool there : {true, false}) {
        with_connection([there](Connection& c) -> Coroutine<> {
            support::Lines seen;
            auto in_group = [&](TaskGroup& group) -> Coroutine<> {
                auto cancels = [&](std::string_view bytes) {
                    group.cancel();
                    return bytes.size();
                };
                auto body = [&]() -> Coroutine<> {
                    const auto used = co_await c.reader.read_with(cancels);
                    seen.push_back("used " + std::to_string(used));
                    const auto slept = co_await as_result(sleep(1s));
                    seen.push_back("slept " + text_of(slept));
                    co_await sleep(1s);
                    seen.emplace_back("slept again");
                };
                if (there) c.feed("abc");
                group.create_task(body());
                co_await sleep(0s);
                if (!there) c.feed("abc");
                co_await sleep(10s);
            };
            const double start = get_running_loop().time().time_since_epoch() / 1.0s;
            co_await with(TaskGroup(), in_group);
            EXPECT_EQ(get_running_loop().time().time_since_epoch() / 1.0s - start, 1.0);
            EXPECT_EQ(seen, (support::Lines{"used 3", "slept CancelledError()", "slept again"}));
        });
    }
}

// L36. The function drops the last handles of its stream.
TEST(StreamReader, FunctionMayDropItsStream) {
    const std::string gone = "RuntimeError('the stream went away while a task used it')";
    for (const bool there : {true, false}) {
        for (const int used : {0, 2}) {
            auto main = [&]() -> Coroutine<> {
                auto reader = std::make_unique<StreamReader>(100);
                auto drops = [&](std::string_view bytes) -> std::size_t {
                    reader.reset();
                    EXPECT_EQ(bytes, "abc");
                    return static_cast<std::size_t>(used);
                };
                auto read = [&]() -> Coroutine<> {
                    const auto r = co_await as_result(reader->read_with(drops));
                    EXPECT_EQ(text_of(r), used == 0 ? gone : "ok");
                    EXPECT_EQ(r.has_value() ? r.value() : 0, static_cast<std::size_t>(used));
                };
                if (there) reader->feed_data("abc");
                auto task = create_task(read());
                co_await sleep(0s);
                if (!there) reader->feed_data("abc");
                co_await task;
            };
            run_virtual(main);
        }
    }
}

// L36. What the function of a woken task has used is its result, also if another one reads first.
TEST(StreamReader, FunctionsBytesAreUsedThoughAnotherReadComesFirst) {
    with_connection([](Connection& c) -> Coroutine<> {
        int calls = 0;
        auto two = [&](std::string_view) { return ++calls, 2; };
        auto first = create_task(c.reader.read_with(two));
        co_await sleep(0s);
        c.feed("abcd");
        EXPECT_EQ(co_await c.reader.read(9), "cd");
        EXPECT_EQ(co_await first, 2U);
        EXPECT_EQ(calls, 1);
    });
}

// L37.
TEST(StreamReader, FunctionRunsInItsReadersContext) {
    static ContextVar<int> user("user", 0);
    for (const bool there : {true, false}) {
        with_connection([there](Connection& c) -> Coroutine<> {
            support::Lines seen;
            auto look = [&](std::string_view bytes) {
                seen.push_back(std::to_string(user.get()) + ' ' + current_task().get_name());
                user.set(user.get() + 1);
                return bytes.size();
            };
            auto read = [&]() -> Coroutine<> {
                user.set(42);
                co_await c.reader.read_with(look);
                seen.push_back(std::to_string(user.get()));
            };
            user.set(7);
            if (there) c.feed("abc");
            auto task = create_task(read(), {.name = "reader"});
            if (!there) {
                co_await sleep(0s);
                c.feed("abc");
                EXPECT_TRUE(current_task().get_name() != "reader");
            }
            co_await task;
            EXPECT_EQ(user.get(), 7);
            EXPECT_EQ(seen, (support::Lines{"42 reader", "43"}));
        });
    }
}

TEST(StreamReader, WakesItsTaskInTheNextIteration) {  // S-39f
    with_connection([](Connection& c) -> Coroutine<> {
        support::Iterations iterations(get_running_loop());
        int at = -1;
        const auto read = [&]() -> Coroutine<> {
            co_await c.reader.readline();
            at = iterations.count();
        };
        auto task = create_task(read());
        co_await sleep(0s);
        const int fed = iterations.count();
        c.feed("not yet");
        co_await sleep(0s);
        EXPECT_EQ(at, -1);
        c.feed("\n");
        co_await task;
        EXPECT_EQ(at - fed, 2);  // the newline came one later
    });
}

TEST(StreamReader, AtEofWhenTheEndIsReadToo) {  // ST-09
    with_connection([](Connection& c) -> Coroutine<> {
        EXPECT_FALSE(c.reader.at_eof());
        auto waiting = create_task(c.reader.read(10));
        co_await sleep(0s);
        c.feed("ab");
        c.eof();
        // The task has not run: its bytes are not read.
        EXPECT_FALSE(c.reader.at_eof());
        EXPECT_EQ(co_await waiting, "ab");
        EXPECT_TRUE(c.reader.at_eof());
        EXPECT_EQ(raised<RuntimeError>([&] { c.reader.feed_data("x"); }),
                  "feed_data after feed_eof");
        c.reader.feed_data("");
    });
}

TEST(StreamReader, RefusesASecondTaskThatWouldWait) {  // ST-10
    with_connection([](Connection& c) -> Coroutine<> {
        auto first = create_task(c.reader.readexactly(4));
        co_await sleep(0s);
        const std::string end =
            "() called while another coroutine is already waiting for "
            "incoming data";
        auto r = co_await as_result(c.reader.read(1));
        EXPECT_EQ(error_text<RuntimeError>(r), "read" + end);
        r = co_await as_result(c.reader.readexactly(1));
        EXPECT_EQ(error_text<RuntimeError>(r), "readexactly" + end);
        r = co_await as_result(c.reader.readline());
        EXPECT_EQ(error_text<RuntimeError>(r), "readuntil" + end);
        r = co_await as_result(c.reader.readuntil(";"));
        EXPECT_EQ(error_text<RuntimeError>(r), "readuntil" + end);
        // One that need not wait is served.
        c.feed("ab");
        EXPECT_EQ(co_await c.reader.read(1), "a");
        c.feed("cde");
        EXPECT_EQ(co_await first, "bcde");
    });
}

TEST(StreamReader, ATaskThatReadsBeforeTheWokenOneGetsTheBytes) {  // ST-10
    with_connection([](Connection& c) -> Coroutine<> {
        auto first = create_task(c.reader.read(10));
        co_await sleep(0s);
        c.feed("abc");
        EXPECT_EQ(co_await c.reader.read(2), "ab");
        EXPECT_EQ(co_await first, "c");
        auto second = create_task(c.reader.readline());
        co_await sleep(0s);
        c.feed("abc\n");
        EXPECT_EQ(co_await c.reader.read(9), "abc\n");
        const auto r = co_await as_result(second);
        EXPECT_NE(error_text<RuntimeError>(r).find("readuntil() called while"), std::string::npos);
    });
}

TEST(StreamReader, RaisesTheErrorOfTheConnection) {  // ST-05, ST-10
    with_connection([](Connection& c) -> Coroutine<> {
        auto waiting = create_task(c.reader.readexactly(5));
        co_await sleep(0s);
        c.feed("abc");
        EXPECT_EQ(c.reader.exception(), nullptr);
        c.reader.set_exception(some_error());
        auto r = co_await as_result(waiting);
        EXPECT_EQ(error_text<ConnectionResetError>(r), "broken");
        EXPECT_NE(c.reader.exception(), nullptr);
        // Also when bytes are left.
        r = co_await as_result(c.reader.read(1));
        EXPECT_EQ(error_text<ConnectionResetError>(r), "broken");
        r = co_await as_result(c.reader.read(0));
        EXPECT_EQ(error_text<ConnectionResetError>(r), "broken");
        r = co_await as_result(c.reader.readline());
        EXPECT_EQ(error_text<ConnectionResetError>(r), "broken");
        r = co_await as_result(c.reader.readexactly(0));
        EXPECT_EQ(error_text<ConnectionResetError>(r), "broken");
    });
    // What a woken task has is its own.
    with_connection([](Connection& c) -> Coroutine<> {
        auto waiting = create_task(c.reader.readline());
        co_await sleep(0s);
        c.feed("line\n");
        c.reader.set_exception(some_error());
        EXPECT_EQ(co_await waiting, "line\n");
        auto partial = create_task(c.reader.readline());
        const auto r = co_await as_result(partial);
        EXPECT_EQ(error_text<ConnectionResetError>(r), "broken");
    });
    with_connection([](Connection& c) -> Coroutine<> {
        auto waiting = create_task(c.reader.readexactly(4));
        co_await sleep(0s);
        c.feed("ab");
        c.feed("cd");
        c.reader.set_exception(some_error());
        EXPECT_EQ(co_await waiting, "abcd");
    });
}

// ---- cancelling ---------------------------------------------------------------------------------

// Each way to read, as a task.
std::vector<std::pair<const char*, Task<>>> readers(Connection& c, std::string& memory) {
    static const std::vector<std::string> separators{";", "\n"};
    const auto as_void = [](auto read) -> Coroutine<> { co_await std::move(read); };
    static auto use_all = [](std::string_view) -> std::size_t { return 0; };
    std::vector<std::pair<const char*, Task<>>> all;
    all.emplace_back("read", create_task(as_void(c.reader.read(100))));
    all.emplace_back("read all", create_task(as_void(c.reader.read())));
    all.emplace_back("readline", create_task(as_void(c.reader.readline())));
    all.emplace_back("next", create_task(as_void(c.reader.next())));
    all.emplace_back("readexactly", create_task(as_void(c.reader.readexactly(4))));
    all.emplace_back("readuntil", create_task(as_void(c.reader.readuntil("\n"))));
    all.emplace_back("several", create_task(as_void(c.reader.readuntil(separators))));
    all.emplace_back("into", create_task(as_void(c.reader.read_into(std::span<char>(memory)))));
    all.emplace_back("with", create_task(as_void(c.reader.read_with(use_all))));
    return all;
}
constexpr std::size_t kReaders = 9;

TEST(StreamReader, CancelledBeforeItReadsLosesNothing) {
    for (std::size_t i = 0; i < kReaders; ++i) {
        with_connection([i](Connection& c) -> Coroutine<> {
            std::string memory(100, ' ');
            auto read = [&]() -> Coroutine<> {
                current_task().cancel();
                // Its first wait is the read's.
                switch (i) {
                    case 0:
                        co_await c.reader.read(100);
                        break;
                    case 1:
                        co_await c.reader.read();
                        break;
                    case 2:
                        co_await c.reader.readline();
                        break;
                    case 3:
                        co_await c.reader.next();
                        break;
                    case 4:
                        co_await c.reader.readexactly(4);
                        break;
                    case 5:
                        co_await c.reader.readuntil("\n");
                        break;
                    case 6:
                        co_await c.reader.readuntil(";");
                        break;
                    case 7:
                        co_await c.reader.read_into(std::span<char>(memory));
                        break;
                    default: {
                        auto all = [](std::string_view b) { return b.size(); };
                        co_await c.reader.read_with(all);
                    }
                }
            };
            auto task = create_task(read());
            const auto r = co_await as_result(task);
            EXPECT_TRUE(r.template holds<CancelledError>()) << i;
            c.feed("abcd\n");
            EXPECT_EQ(co_await c.reader.readline(), "abcd\n") << i;
        });
    }
}

TEST(StreamReader, CancelledWhileItWaitsLosesNothing) {
    for (std::size_t i = 0; i < kReaders; ++i) {
        with_connection([i](Connection& c) -> Coroutine<> {
            std::string memory(100, ' ');
            auto all = readers(c, memory);
            auto task = all[i].second;
            for (std::size_t k = 0; k < all.size(); ++k) {
                if (k != i) all[k].second.cancel();
            }
            co_await sleep(0s);
            if (i == 1 || (i > 1 && i < 7) || i == 8) c.feed("ab");  // not enough
            task.cancel();
            // Those that come in the same tick are not for it.
            c.feed("cd\n");
            const auto r = co_await as_result(task);
            EXPECT_TRUE(r.template holds<CancelledError>()) << all[i].first;
            const std::string line = co_await c.reader.readline();
            EXPECT_EQ(line, i == 0 || i == 7 ? "cd\n" : "abcd\n") << all[i].first;
            for (auto& [name, other] : all) co_await end_of(other);
        });
    }
}

TEST(StreamReader, CancelledInTheTickOfItsBytesLosesNothing) {
    for (std::size_t i = 0; i < kReaders; ++i) {
        with_connection([i](Connection& c) -> Coroutine<> {
            std::string memory(100, ' ');
            auto all = readers(c, memory);
            auto task = all[i].second;
            for (std::size_t k = 0; k < all.size(); ++k) {
                if (k != i) all[k].second.cancel();
            }
            co_await sleep(0s);
            c.feed("abcd\nmore");
            if (i == 1) c.eof();
            task.cancel();
            if (i != 1) c.feed(" and more\n");
            const auto r = co_await as_result(task);
            EXPECT_TRUE(r.template holds<CancelledError>()) << all[i].first;
            EXPECT_EQ(co_await c.reader.readline(), "abcd\n") << all[i].first;
            EXPECT_EQ(co_await c.reader.readline(), i == 1 ? "more" : "more and more\n");
            for (auto& [name, other] : all) co_await end_of(other);
        });
    }
}

TEST(StreamReader, CancelledInTheTickOfTheEndKeepsThePartialRead) {
    with_connection([](Connection& c) -> Coroutine<> {
        auto task = create_task(c.reader.readexactly(10));
        co_await sleep(0s);
        c.feed("abc");
        c.eof();
        task.cancel();
        EXPECT_TRUE((co_await as_result(task)).holds<CancelledError>());
        EXPECT_EQ(co_await c.reader.read(), "abc");
    });
}

TEST(StreamReader, AnotherTaskReadsInTheTickOfTheCancel) {
    with_connection([](Connection& c) -> Coroutine<> {
        auto task = create_task(c.reader.read(10));
        co_await sleep(0s);
        c.feed("abc");
        task.cancel();
        EXPECT_EQ(co_await c.reader.read(10), "abc");
        EXPECT_TRUE((co_await as_result(task)).holds<CancelledError>());
        // While it still waits.
        auto waiting = create_task(c.reader.read(10));
        co_await sleep(0s);
        waiting.cancel();
        auto next = create_task(c.reader.read(10));
        co_await sleep(0s);
        c.feed("def");
        EXPECT_EQ(co_await next, "def");
        EXPECT_TRUE((co_await as_result(waiting)).holds<CancelledError>());
    });
}

TEST(StreamReader, TimesOutWithoutLosingBytes) {
    with_connection([](Connection& c) -> Coroutine<> {
        const auto r = co_await as_result(wait_for(c.reader.readexactly(4), 1s));
        EXPECT_TRUE(r.holds<TimeoutError>());
        c.feed("ab");
        const auto again = co_await as_result(wait_for(c.reader.readexactly(4), 1s));
        EXPECT_TRUE(again.holds<TimeoutError>());
        c.feed("cd");
        EXPECT_EQ(co_await c.reader.readexactly(4), "abcd");
    });
}

TEST(StreamReader, LeavesAnAwaiterBehindWhenTheLoopCloses) {
    const auto loop = VirtualTimeEventLoop::create();
    auto main = [](StreamReader* out) -> Coroutine<> {
        Connection c;
        *out = c.reader;
        c.feed("ab");
        co_await c.reader.readexactly(4);
    };
    StreamReader reader;
    {
        auto task = loop->create_task(main(&reader));
        loop->run_until_complete(sleep(0s));
        EXPECT_FALSE(task.done());
        support::LogCapture log;
        loop->close();
    }
    EXPECT_EQ(reader.repr(), "<StreamReader 2 bytes transport=<Fake>>");
}

TEST(StreamReader, TellsATaskThatItWentAway) {
    run_virtual([]() -> Coroutine<> {
        auto reader = std::make_unique<StreamReader>(100);
        auto task = create_task(reader->read(1));
        co_await sleep(0s);
        reader.reset();
        const auto r = co_await as_result(task);
        EXPECT_EQ(error_text<RuntimeError>(r), "the stream went away while a task used it");
    });
}

// ---- flow control -------------------------------------------------------------------------------

TEST(StreamReader, PausesTheTransportAboveTwiceTheLimit) {  // ST-04, B-52
    with_connection(
        [](Connection& c) -> Coroutine<> {
            c.feed(std::string(20, 'a'));
            EXPECT_TRUE(c.transport->reading);
            c.feed("b");
            EXPECT_FALSE(c.transport->reading);
            c.feed("c");
            EXPECT_EQ(c.transport->pauses, 1);
            EXPECT_EQ(c.reader.repr(), "<StreamReader 22 bytes limit=10 transport=<Fake> paused>");
            co_await c.reader.readexactly(11);
            EXPECT_FALSE(c.transport->reading);
            co_await c.reader.readexactly(1);
            EXPECT_TRUE(c.transport->reading);
            // A wait for more resumes it too.
            c.feed(std::string(11, 'd'));
            EXPECT_FALSE(c.transport->reading);
            auto many = create_task(c.reader.readexactly(50));
            co_await sleep(0s);
            EXPECT_TRUE(c.transport->reading);
            c.feed(std::string(29, 'e'));
            EXPECT_EQ((co_await many).size(), 50U);
        },
        10);
}

TEST(StreamReader, BuffersAllIfTheTransportCannotPause) {  // ST-04
    with_connection(
        [](Connection& c) -> Coroutine<> {
            c.transport->can_pause = false;
            c.feed(std::string(100, 'a'));
            c.feed(std::string(100, 'a'));
            EXPECT_EQ((co_await c.reader.readexactly(200)).size(), 200U);
        },
        10);
}

TEST(StreamReader, SearchesEachByteOnce) {  // ST-08
    // A megabyte in small pieces takes no time, whatever the separator is like.
    with_connection(
        [](Connection& c) -> Coroutine<> {
            const std::string separator = std::string(100, 'a') + 'b';
            auto waiting = create_task(c.reader.readuntil(separator));
            co_await sleep(0s);
            for (int i = 0; i < 4000; ++i) {
                c.feed(std::string(250, 'a'));
                if (i % 100 == 0) co_await sleep(0s);
            }
            EXPECT_FALSE(waiting.done());
            c.feed("b");
            EXPECT_EQ((co_await waiting).size(), 1000001U);
        },
        2000000);
}

TEST(StreamReader, ManySmallReadsOfALargeBufferAreLinear) {
    with_connection(
        [](Connection& c) -> Coroutine<> {
            std::string text;
            for (int i = 0; i < 20000; ++i) text += "line " + std::to_string(i) + '\n';
            c.feed(text);
            const std::vector<std::string> separators{"\n", "\r\n"};
            for (int i = 0; i < 20000; ++i) {
                const std::string expected = "line " + std::to_string(i) + '\n';
                const std::string line = co_await c.reader.readuntil(separators);
                if (line != expected) {
                    ADD_FAILURE() << line << " in place of " << expected;
                    break;
                }
                if (i % 1000 == 0) c.feed("x");
            }
        },
        10000000);
}

// ---- the writer ---------------------------------------------------------------------------------

// L30. On transports and streams alike.
TEST(StreamWriter, WritesAnyRangeOfPieces) {
    with_connection([](Connection& c) -> Coroutine<> {
        const auto both = [&](auto&& pieces, const std::string& expected) {
            c.writer.writelines(pieces);
            c.writer.transport().writelines(pieces);
            EXPECT_EQ(std::exchange(c.transport->written, {}), expected + expected);
        };
        both(std::vector<std::string>{"a", "", "b"}, "ab");
        both(std::list<std::string_view>{"a", "b"}, "ab");
        both(std::set<std::string>{"b", "a"}, "ab");
        both(std::array<const char*, 2>{"a", "b"}, "ab");
        const char* const c_array[] = {"a", "b"};
        both(c_array, "ab");
        const std::vector<std::byte> bytes{std::byte{'b'}, std::byte{0}};
        const std::string with_nul("b\0b\0", 4);
        both(std::vector<std::vector<std::byte>>{bytes, bytes}, with_nul);
        both(std::vector<std::span<const std::byte>>{bytes, bytes}, with_nul);
        const std::vector<std::string_view> views{"a", "b"};
        both(std::span<const std::string_view>(views), "ab");
        both(std::vector<std::string>(), "");
        // Pieces that are made as they are asked for, and go then.
        const auto numbers = std::views::iota(0, 3);
        const auto long_text = [](int i) { return std::string(40, static_cast<char>('a' + i)); };
        std::string expected;
        for (const int i : numbers) expected += long_text(i);
        both(numbers | std::views::transform(long_text), expected);
        const auto as_bytes = [](int i) {
            return std::array<std::byte, 2>{std::byte(i + '0'), std::byte{'.'}};
        };
        both(numbers | std::views::transform(as_bytes), "0.1.2.");
        // A range that cannot be const, and one that is gone through once.
        std::vector<std::string> words{"x", "yy", "z"};
        both(words | std::views::filter([](const std::string& w) { return w.size() == 1; }), "xz");
        for (const bool stream : {true, false}) {
            std::istringstream text("one two three");
            auto once = std::views::istream<std::string>(text);
            stream ? c.writer.writelines(once) : c.writer.transport().writelines(once);
            EXPECT_EQ(std::exchange(c.transport->written, {}), "onetwothree");
        }
        c.writer.transport().writelines({"a", "b"});
        c.writer.writelines({});
        c.writer.transport().writelines({});
        EXPECT_EQ(std::exchange(c.transport->written, {}), "ab");
        co_return;
    });
    static_assert(!detail::RangeOfBytes<std::string> && !detail::RangeOfBytes<std::vector<int>>);
}

TEST(StreamWriter, PassesOnToTheTransport) {  // ST-12, ST-15
    with_connection([](Connection& c) -> Coroutine<> {
        c.writer.write("text ");
        c.writer.write(std::string("string "));
        const std::vector<std::byte> bytes{std::byte{'b'}, std::byte{' '}};
        c.writer.write(bytes);
        c.writer.writelines({"1", "2"});
        const std::vector<std::string> lines{"3", "4"};
        c.writer.writelines(lines);
        EXPECT_EQ(c.transport->batches, 2);
        EXPECT_TRUE(c.writer.can_write_eof());
        c.writer.write_eof();
        EXPECT_EQ(c.transport->written, "text string b 1234<eof>");
        EXPECT_EQ(c.writer.get_extra_info<int>("socket"), 7);
        EXPECT_FALSE(c.writer.get_extra_info<int>("nothing").has_value());
        EXPECT_EQ(&c.writer.transport().impl(), c.transport.get());
        EXPECT_EQ(c.writer.repr(),
                  "<StreamWriter transport=<Fake> reader=<StreamReader transport=<Fake>>>");
        EXPECT_FALSE(c.writer.is_closing());
        c.writer.close();
        EXPECT_TRUE(c.writer.is_closing());
        c.writer.write("dropped");
        EXPECT_EQ(c.transport->written, "text string b 1234<eof>");
        c.lose();
        co_return;
    });
}

TEST(StreamWriter, DrainsAtOnceWhenThereIsRoom) {  // ST-13, S-39g
    with_connection([](Connection& c) -> Coroutine<> {
        support::Iterations iterations(get_running_loop());
        co_await c.writer.drain();
        co_await c.writer.drain();
        EXPECT_EQ(iterations.count(), 0);
    });
}

TEST(StreamWriter, SeveralTasksDrain) {  // ST-13
    with_connection([](Connection& c) -> Coroutine<> {
        c.protocol->pause_writing();
        std::vector<int> order;
        const auto drain = [&](int i) -> Coroutine<> {
            co_await c.writer.drain();
            order.push_back(i);
        };
        std::vector<Task<>> tasks;
        for (int i = 0; i < 4; ++i) tasks.push_back(create_task(drain(i)));
        co_await sleep(0s);
        tasks[1].cancel();
        co_await sleep(0s);
        EXPECT_TRUE(tasks[1].cancelled());
        EXPECT_TRUE(order.empty());
        c.protocol->resume_writing();
        for (int i : {0, 2, 3}) co_await tasks[static_cast<std::size_t>(i)];
        EXPECT_EQ(order, (std::vector<int>{0, 2, 3}));
        co_await c.writer.drain();
    });
}

TEST(StreamWriter, DrainRaisesTheReadersError) {  // ST-13
    with_connection([](Connection& c) -> Coroutine<> {
        c.reader.set_exception(some_error());
        const auto r = co_await as_result(c.writer.drain());
        EXPECT_EQ(error_text<ConnectionResetError>(r), "broken");
    });
}

TEST(StreamWriter, DrainYieldsOnceWhenTheTransportCloses) {  // ST-13, S-39g, B-53
    with_connection([](Connection& c) -> Coroutine<> {
        support::Iterations iterations(get_running_loop());
        c.writer.close();
        co_await c.writer.drain();
        EXPECT_EQ(iterations.passed(), 1);
        get_running_loop().call_soon([&] { c.lose(); });
        const auto r = co_await as_result(c.writer.drain());
        EXPECT_EQ(error_text<ConnectionResetError>(r), "Connection lost");
        EXPECT_EQ(iterations.passed(), 1);
    });
}

TEST(StreamWriter, DrainEndsWithTheConnection) {  // ST-13, ST-14
    with_connection([](Connection& c) -> Coroutine<> {
        c.protocol->pause_writing();
        auto draining = create_task(c.writer.drain());
        auto closed = create_task(c.writer.wait_closed());
        co_await sleep(0s);
        c.lose(some_error());
        auto r = co_await as_result(draining);
        EXPECT_EQ(error_text<ConnectionResetError>(r), "broken");
        r = co_await as_result(closed);
        EXPECT_EQ(error_text<ConnectionResetError>(r), "broken");
        r = co_await as_result(c.writer.wait_closed());
        EXPECT_EQ(error_text<ConnectionResetError>(r), "broken");
    });
    with_connection([](Connection& c) -> Coroutine<> {
        c.protocol->pause_writing();
        auto draining = create_task(c.writer.drain());
        auto closed = create_task(c.writer.wait_closed());
        co_await sleep(0s);
        c.lose();
        co_await draining;
        co_await closed;
        co_await c.writer.wait_closed();
        EXPECT_TRUE(c.reader.at_eof());
        const auto r = co_await as_result(c.writer.drain());
        EXPECT_EQ(error_text<ConnectionResetError>(r), "Connection lost");
    });
}

TEST(StreamWriter, CancelledDrainsAndWaitsLeaveTheOthersAlone) {  // ST-13, ST-14
    with_connection([](Connection& c) -> Coroutine<> {
        c.protocol->pause_writing();
        const auto drain = [&]() -> Coroutine<> { co_await c.writer.drain(); };
        const auto wait = [&]() -> Coroutine<> { co_await c.writer.wait_closed(); };
        const auto cancelled_first = [&](bool drains) -> Coroutine<> {
            current_task().cancel();
            if (drains) {
                co_await c.writer.drain();
            } else {
                co_await c.writer.wait_closed();
            }
        };
        std::vector<Task<>> before{create_task(cancelled_first(true)),
                                   create_task(cancelled_first(false))};
        std::vector<Task<>> during{create_task(drain()), create_task(wait())};
        std::vector<Task<>> same_tick{create_task(drain()), create_task(wait())};
        std::vector<Task<>> others{create_task(drain()), create_task(wait())};
        co_await sleep(0s);
        for (auto& t : during) t.cancel();
        co_await sleep(0s);
        for (auto& t : during) EXPECT_TRUE(t.cancelled());
        for (auto& t : before) EXPECT_TRUE(t.cancelled());
        c.lose();
        for (auto& t : same_tick) t.cancel();
        for (auto& t : others) co_await t;
        for (auto& t : same_tick) EXPECT_TRUE((co_await as_result(t)).holds<CancelledError>());
    });
    // While it yields.
    with_connection([](Connection& c) -> Coroutine<> {
        c.writer.close();
        auto task = create_task(c.writer.drain());
        co_await sleep(0s);
        task.cancel();
        EXPECT_TRUE((co_await as_result(task)).holds<CancelledError>());
    });
}

TEST(StreamWriter, ClosesWhenTheLastHandleGoes) {  // ST-17
    with_connection([](Connection& c) -> Coroutine<> {
        support::LogCapture log;
        {
            const StreamWriter copy = c.writer;
            StreamWriter moved = std::move(c.writer);
            c.writer = moved;
            moved = copy;
        }
        EXPECT_FALSE(c.transport->closing);
        c.writer = StreamWriter();
        EXPECT_TRUE(c.transport->closing);
        const auto lines = log.lines(log::Level::DEBUG);
        EXPECT_EQ(lines.size(), 1U);
        EXPECT_EQ(lines.at(0).find("unclosed <StreamWriter transport=<Fake>"), 0U);
        co_return;
    });
    with_connection([](Connection& c) -> Coroutine<> {
        support::LogCapture log;
        c.writer.close();
        c.writer = StreamWriter();
        EXPECT_EQ(log.lines(log::Level::DEBUG).size(), 0U);
        EXPECT_EQ(c.transport->closes, 1);
        co_return;
    });
}

TEST(StreamWriter, ClosesWhenTheLastHandleGoesOnAnotherThread) {  // ST-17
    const auto loop = EpollEventLoop::create();
    auto main = []() -> Coroutine<> {
        Connection c;
        std::thread([w = std::move(c.writer)]() mutable { w = StreamWriter(); }).join();
        for (int i = 0; i < 1000 && !c.transport->closing; ++i) co_await sleep(1ms);
        EXPECT_TRUE(c.transport->closing);
    };
    loop->run_until_complete(main());
    loop->close();
    EXPECT_EQ(FakeTransport::alive, 0);
}

TEST(StreamWriter, SaysThatTheLoopIsClosed) {  // ST-17
    const auto loop = VirtualTimeEventLoop::create();
    StreamWriter writer;
    auto main = [&]() -> Coroutine<> {
        Connection c;
        writer = c.writer;
        co_return;
    };
    loop->run_until_complete(main());
    loop->close();
    support::LogCapture log;
    writer = StreamWriter();
    EXPECT_EQ(log.lines(log::Level::DEBUG), (support::Lines{"loop is closed"}));
}

// ---- the protocol -------------------------------------------------------------------------------

// Makes the server's end of a connection.
template <class F>
detail::Ref<FakeTransport> connect(StreamReaderProtocol& protocol, F prepare) {
    auto fake = detail::Ref<FakeTransport>::adopt(new FakeTransport(get_running_loop()));
    prepare(*fake);
    Transport handle(detail::Ref<detail::TransportBase>::share(fake.get()));
    protocol.connection_made(handle);
    return fake;
}
constexpr auto as_it_is = [](FakeTransport&) {};

TEST(StreamReaderProtocol, JoinsATransportToAReader) {  // ST-18, ST-19
    run_virtual([]() -> Coroutine<> {
        StreamReader reader(100);
        auto protocol = std::make_shared<StreamReaderProtocol>(reader);
        auto fake = connect(*protocol, as_it_is);
        Transport transport(detail::Ref<detail::TransportBase>::share(fake.get()));
        StreamWriter writer(transport, protocol);
        protocol->data_received("abc");
        EXPECT_EQ(co_await reader.read(10), "abc");
        writer.write("def");
        EXPECT_EQ(fake->written, "def");
        protocol->pause_writing();
        auto draining = create_task(writer.drain());
        co_await sleep(0s);
        EXPECT_FALSE(draining.done());
        protocol->resume_writing();
        co_await draining;
        EXPECT_TRUE(protocol->eof_received());
        EXPECT_EQ(co_await reader.read(), "");
        writer.close();
        protocol->connection_lost(nullptr);
        co_await writer.wait_closed();
    });
}

TEST(StreamReaderProtocol, StaysHalfOpenButNotOverTls) {  // ST-18
    run_virtual([]() -> Coroutine<> {
        StreamReaderProtocol plain{StreamReader(100)};
        connect(plain, as_it_is);
        EXPECT_TRUE(plain.eof_received());
        StreamReaderProtocol tls{StreamReader(100)};
        connect(tls, [](FakeTransport& t) { t.over_tls = true; });
        EXPECT_FALSE(tls.eof_received());
        co_return;
    });
}

TEST(StreamReaderProtocol, RunsItsHandlerAsATask) {  // ST-02
    run_virtual([]() -> Coroutine<> {
        std::string got;
        const auto handler = [&](StreamReader reader, StreamWriter writer) -> Coroutine<> {
            got = co_await reader.readline();
            writer.write("answer");
            writer.close();
        };
        StreamReaderProtocol protocol(StreamReader(100), handler);
        auto fake = connect(protocol, as_it_is);
        EXPECT_EQ(all_tasks().size(), 2U);
        co_await sleep(0s);
        protocol.data_received("question\n");
        for (int i = 0; i < 3; ++i) co_await sleep(0s);
        EXPECT_EQ(got, "question\n");
        EXPECT_EQ(fake->written, "answer");
        EXPECT_TRUE(fake->closing);
        EXPECT_EQ(all_tasks().size(), 1U);
    });
    EXPECT_EQ(FakeTransport::alive, 0);
}

TEST(StreamReaderProtocol, TheEndOfTheHandlerAloneClosesNothing) {  // ST-02
    run_virtual([]() -> Coroutine<> {
        StreamWriter kept;
        const auto handler = [&](StreamReader, StreamWriter writer) -> Coroutine<> {
            kept = writer;
            co_return;
        };
        StreamReaderProtocol protocol(StreamReader(100), handler);
        auto fake = connect(protocol, as_it_is);
        for (int i = 0; i < 3; ++i) co_await sleep(0s);
        EXPECT_EQ(all_tasks().size(), 1U);
        EXPECT_FALSE(fake->closing);
    });
}

TEST(StreamReaderProtocol, ReportsTheErrorOfItsHandler) {  // ST-02
    run_virtual([]() -> Coroutine<> {
        support::ErrorCapture errors(get_running_loop());
        StreamWriter kept;
        const auto handler = [&](StreamReader, StreamWriter writer) -> Coroutine<> {
            kept = writer;
            co_await sleep(0s);
            throw ValueError("handler");
        };
        StreamReaderProtocol protocol(StreamReader(100), handler);
        auto fake = connect(protocol, as_it_is);
        for (int i = 0; i < 4; ++i) co_await sleep(0s);
        EXPECT_TRUE(fake->closing);
        EXPECT_EQ(errors.lines(), (support::Lines{"Unhandled exception in client_connected_cb: "
                                                  "ValueError('handler')"}));
    });
}

TEST(StreamReaderProtocol, ClosesWhenItsHandlerIsCancelled) {  // ST-02
    run_virtual([]() -> Coroutine<> {
        support::ErrorCapture errors(get_running_loop());
        StreamWriter kept;
        const auto handler = [&](StreamReader reader, StreamWriter writer) -> Coroutine<> {
            kept = writer;
            co_await reader.read(1);
        };
        StreamReaderProtocol protocol(StreamReader(100), handler);
        auto fake = connect(protocol, as_it_is);
        co_await sleep(0s);
        for (const AnyTask& t : all_tasks()) {
            if (!(t == current_task())) t.cancel();
        }
        for (int i = 0; i < 3; ++i) co_await sleep(0s);
        EXPECT_TRUE(fake->closing);
        EXPECT_TRUE(errors.lines().empty());
    });
}

TEST(StreamReaderProtocol, TakesAPlainFunction) {  // ST-02
    run_virtual([]() -> Coroutine<> {
        StreamReader kept;
        StreamWriter kept_writer;
        const auto handler = [&](StreamReader reader, StreamWriter writer) {
            kept = reader;
            kept_writer = writer;
        };
        StreamReaderProtocol protocol(StreamReader(100), handler);
        auto fake = connect(protocol, as_it_is);
        EXPECT_EQ(all_tasks().size(), 1U);
        EXPECT_TRUE(kept && kept_writer);
        EXPECT_FALSE(fake->closing);
        const auto refuses = [](StreamReader, StreamWriter) { throw ValueError("no"); };
        StreamReaderProtocol refusing(StreamReader(100), refuses);
        EXPECT_EQ(raised<ValueError>([&] { connect(refusing, as_it_is); }), "no");
        co_return;
    });
}

TEST(StreamReaderProtocol, HandlerKeepsItsCapturesUntilItsTaskEnds) {  // ST-02
    run_virtual([]() -> Coroutine<> {
        auto counted = std::make_shared<int>(3);
        std::weak_ptr<int> watch = counted;
        int result = 0;
        {
            auto handler = [counted = std::move(counted), &result](StreamReader reader,
                                                                   StreamWriter) -> Coroutine<> {
                co_await reader.read(1);
                result = *counted;
            };
            StreamReader reader(100);
            {
                auto protocol = std::make_shared<StreamReaderProtocol>(reader, std::move(handler));
                connect(*protocol, as_it_is);
            }
            co_await sleep(0s);
            EXPECT_FALSE(watch.expired());
            reader.feed_data("x");
        }
        for (int i = 0; i < 3; ++i) co_await sleep(0s);
        EXPECT_EQ(result, 3);
        EXPECT_TRUE(watch.expired());
    });
}

}  // namespace
