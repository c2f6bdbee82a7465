// What `asyncio ps` is tried on: a program with a task in each kind of wait. It prints what it
// knows of its tasks itself, a line of JSON each, then `ready`, and waits until its input ends.
//
//   target              one loop, tasks of all kinds
//   target many N       N sleeping tasks more
//   target busy N       N tasks more that never wait
//   target awaited      the same, in a task that others await
//   target stuck        a task that never gives the loop back
//   target passes       three tasks more that hold a lock in turn, each for a second
//   target starves      the same, beside a task that would like to run
//   target lost         tasks whose names begin with "lost", which nothing can wake, and others
//   target strange      tasks with names that nobody wants to show, and two that await each other
//   target execs        another program as soon as its input ends
//   target stalls N     a task that computes for N ms each 50 ms, and one that wakes each 5 ms
//   target threads N    the same on N threads, a loop each
#include <sys/socket.h>
#include <unistd.h>
#include <asyncio.hpp>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace {

using namespace std::chrono_literals;
using asyncio::Coroutine;
using asyncio::create_task;

std::string quoted(const std::string& text) {
    std::string json = "\"";
    for (const char c : text) {
        const auto u = static_cast<unsigned char>(c);
        if (c == '"' || c == '\\') {
            json += {'\\', c};
        } else if (u < 0x20) {
            char escaped[8];
            std::snprintf(escaped, sizeof escaped, "\\u%04x", unsigned{u});
            json += escaped;
        } else {
            json += c;
        }
    }
    return json + '"';
}

// The name, where each frame waits, and the tasks that wait for it.
void tell(const asyncio::AnyTask& task) {
    const auto graph = asyncio::capture_call_graph(task);
    std::string line = "{\"name\":" + quoted(task.get_name()) + ",\"stack\":[";
    const char* comma = "";
    for (auto frame = graph->call_stack.rbegin(); frame != graph->call_stack.rend(); ++frame) {
        line += comma + ('[' + quoted(frame->frame.file_name())) + ',' +
                std::to_string(frame->frame.line()) + ']';
        comma = ",";
    }
    line += "],\"awaited_by\":[";
    comma = "";
    for (const auto& waiter : graph->awaited_by) {
        if (const asyncio::AnyTask by = asyncio::as_task(waiter.future)) {
            line += comma + quoted(by.get_name());
            comma = ",";
        }
    }
    std::cout << line + "]}\n";
}

Coroutine<> nap() { co_await asyncio::sleep(3600s); }
Coroutine<int> fetch(int n) {
    co_await nap();
    co_return n;
}
Coroutine<> consumer(asyncio::Queue<int>& queue) {
    for (;;) co_await queue.get();
}
Coroutine<> producer(asyncio::Queue<int>& queue) {
    for (int i = 0;; ++i) co_await queue.put(i);
}
Coroutine<> gatherer() { co_await asyncio::gather(fetch(1), fetch(2)); }
Coroutine<> shielded() { co_await asyncio::shield(create_task(fetch(3), {.name = "inner"})); }
Coroutine<> locked(asyncio::Lock& lock) {
    const auto held = co_await lock.scoped();
    co_await nap();
}
Coroutine<> told(asyncio::Event& event) { co_await event.wait(); }
Coroutine<> notified(asyncio::Condition& condition) {
    co_await condition.acquire();
    co_await condition.wait();
}
Coroutine<> group() {
    co_await asyncio::with(asyncio::TaskGroup(), [](asyncio::TaskGroup& tasks) -> Coroutine<> {
        tasks.create_task(fetch(4), {.name = "member"});
        co_return;
    });
}
Coroutine<> waiter(asyncio::Task<int> other) {
    std::vector<asyncio::Task<int>> tasks{other};
    co_await asyncio::wait(tasks);
}
Coroutine<> limited() { co_await asyncio::wait_for(fetch(5), 1800s); }
// Cancels what it has no time for, and waits for its end.
Coroutine<> stubborn() {
    (void)co_await asyncio::as_result(nap());
    co_await nap();
}
Coroutine<> hasty() {
    const auto task = create_task(stubborn(), {.name = "stubborn"});
    co_await asyncio::sleep(0s);  // it begins
    co_await asyncio::wait_for(task, 0s);
}
Coroutine<> awaiting(asyncio::Task<int> other) { co_await other; }
Coroutine<> promised(asyncio::Future<int> future) { co_await future; }
Coroutine<> receiving(int fd) { co_await asyncio::get_running_loop().sock_recv(fd, 1); }
Coroutine<> busy() {
    for (;;) co_await asyncio::sleep(0s);
}
Coroutine<> ticks() {
    for (;;) co_await asyncio::sleep(5ms);
}
Coroutine<> stalls(std::chrono::milliseconds each) {
    for (;;) {
        co_await asyncio::sleep(50ms);
        const auto end = std::chrono::steady_clock::now() + each;
        while (std::chrono::steady_clock::now() < end) {
        }
    }
}

Coroutine<> holds_in_turn(asyncio::Lock& lock) {
    for (;;) {
        const auto held = co_await lock.scoped();
        co_await asyncio::sleep(1s);
    }
}

Coroutine<> joins(const std::vector<asyncio::Task<>>& tasks, std::size_t which) {
    co_await asyncio::sleep(0s);  // until all of them are there
    co_await tasks[which];
}

// What the tasks of the mode `lost` wait for, and who could wake them.
namespace lost {

Coroutine<> forgotten() {
    asyncio::Queue<int> queue;
    co_await queue.get();
}
Coroutine<> produces(asyncio::Queue<int>& queue) {
    co_await queue.put(1);  // and ends
}
Coroutine<> whose_producer_ended() {
    auto queue = std::make_unique<asyncio::Queue<int>>();
    const auto producer = create_task(produces(*queue), {.name = "producer"});
    for (;;) co_await queue->get();
}
Coroutine<> limited() { co_await asyncio::wait_for(forgotten(), 3600s); }
Coroutine<> waits(asyncio::Event& event) { co_await event.wait(); }
Coroutine<> sets_later(asyncio::Event& event) {
    co_await asyncio::sleep(3600s);
    event.set();
}
Coroutine<> two(asyncio::Lock& first, asyncio::Lock& second) {
    const auto one = co_await first.scoped();
    co_await asyncio::sleep(1ms);
    const auto other = co_await second.scoped();
}
Coroutine<> crossed() {
    asyncio::Lock a, b;
    co_await asyncio::gather(create_task(two(a, b), {.name = "lost: a then b"}),
                             create_task(two(b, a), {.name = "lost: b then a"}));
}
Coroutine<> holds_its_future() {
    const auto future = asyncio::get_running_loop().create_future<int>();
    co_await future;
}
Coroutine<> awaits(asyncio::Future<int> future) { co_await future; }
Coroutine<> keeps(std::vector<asyncio::Future<int>> futures) {
    co_await asyncio::sleep(3600s);
    for (auto& future : futures) future.set_result(1);
}
// A queue in the middle of something larger, to whose beginning a live task refers.
struct Larger {
    char before[3000] = {};
    asyncio::Event event;
};
Coroutine<> owns(std::unique_ptr<Larger> larger) {
    co_await asyncio::sleep(3600s);
    larger->event.set();
}

asyncio::Event global;

// Everything is in the arguments: nothing of it stays behind in the frame of who starts it.
template <class Start>
void start(const Start& start) {
    start(forgotten(), "lost: forgotten");
    start(whose_producer_ended(), "lost: its producer has ended");
    start(crossed(), "lost: waits for crossed locks");
    start(holds_its_future(), "lost: nobody else has its future");
    start(limited(), "ends with its timeout");
    start(waits(global), "waits for a global");
    auto* const event = new asyncio::Event;  // the task that sets it ends with the program
    start(waits(*event), "waits for a task that sleeps");
    start(sets_later(*event), "sleeps and sets");
    auto shared = std::make_shared<asyncio::Event>();
    start([](std::shared_ptr<asyncio::Event> e) -> Coroutine<> { co_await e->wait(); }(shared),
          "waits for a callback");
    asyncio::get_running_loop().call_later(3600s, [shared] { shared->set(); });
    auto larger = std::make_unique<Larger>();
    start(waits(larger->event), "waits for what is in something larger");
    start(owns(std::move(larger)), "owns what is larger");
    std::vector<asyncio::Future<int>> futures;
    for (int i = 0; i < 3; ++i) {
        futures.push_back(asyncio::get_running_loop().create_future<int>());
        start(awaits(futures.back()), "waits for a kept future " + std::to_string(i));
    }
    start(keeps(std::move(futures)), "keeps futures");
    // Another thread has the only pointer, on its stack.
    auto* const threads = new asyncio::Event;
    start(waits(*threads), "waits for a thread");
    std::thread([threads] {
        asyncio::Event* volatile kept = threads;
        std::this_thread::sleep_for(1h);
        kept->set();
    }).detach();
}

}  // namespace lost

struct Objects {
    asyncio::Queue<int> empty{10};
    asyncio::Queue<int> full{1};
    asyncio::Lock lock, turn;
    asyncio::Event event;
    asyncio::Condition condition;
};

class Arguments {
  public:
    Arguments(int argc, char** argv) : words_(argv + 1, argv + argc) {}
    bool is(const char* word) const { return !words_.empty() && words_[0] == word; }
    int count(const char* word) const { return is(word) ? std::atoi(words_.at(1).c_str()) : 0; }

  private:
    std::vector<std::string> words_;
};

std::atomic<int> ready{0};

// One task for each way to wait for a connection; the port is told.
struct Connections {
    std::optional<asyncio::Server> server;
    std::optional<std::pair<asyncio::StreamReader, asyncio::StreamWriter>> idle, full;
};

Coroutine<> draining(asyncio::StreamWriter writer) {
    writer.write(std::string(20'000'000, 'x'));
    co_await writer.drain();
}

template <class Start>
Coroutine<> streams(Connections& c, const Start& start) {
    const auto nothing = [](asyncio::StreamReader, asyncio::StreamWriter) -> Coroutine<> {
        co_await asyncio::Event().wait();
    };
    c.server = co_await asyncio::start_server(nothing, "127.0.0.1", 0);
    const int port = c.server->sockets().front().getsockname().port();
    std::cout << "{\"name\":\"port\",\"port\":" << port << "}" << std::endl;
    c.idle = co_await asyncio::open_connection("127.0.0.1", port);
    c.full = co_await asyncio::open_connection("127.0.0.1", port);
    start([](Connections& of) -> Coroutine<> { co_await of.idle->first.readline(); }(c), "reading");
    start(draining(c.full->second), "draining");
    start([](Connections& of) -> Coroutine<> { co_await of.idle->second.wait_closed(); }(c),
          "closing");
    for (int i = 0; i < 10; ++i) co_await asyncio::sleep(1ms);
}

// Ends when standard input does.
void wait_for_the_end() {
    char byte;
    while (::read(0, &byte, 1) > 0) {
    }
}

Coroutine<> innermost() {
    ready.fetch_add(1);
    wait_for_the_end();
    co_return;
}
Coroutine<> middle() { co_await create_task(innermost(), {.name = "innermost"}); }
Coroutine<> outermost() { co_await create_task(middle(), {.name = "middle"}); }

Coroutine<> program(const Arguments& arguments, bool speaks) {
    Objects o;
    std::vector<asyncio::Task<>> tasks;
    const auto start = [&](Coroutine<> c, std::string name) {
        tasks.push_back(create_task(std::move(c), {.name = name}));
    };
    const auto slow = create_task(fetch(0), {.name = "slow"});
    start(consumer(o.empty), "consumer of the long-named queue");
    start(consumer(o.empty), "another consumer");
    start(producer(o.full), "producer");
    start(gatherer(), "gatherer");
    start(shielded(), "shielded");
    start(locked(o.lock), "holder");
    start(locked(o.lock), "locked out");
    start(told(o.event), "told");
    start(notified(o.condition), "notified");
    start(group(), "group");
    start(waiter(slow), "waiter");
    start(limited(), "limited");
    start(hasty(), "hasty");
    start(awaiting(slow), "awaiting");
    start(promised(asyncio::get_running_loop().create_future<int>()), "promised");
    int pair[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair) != 0) throw std::bad_alloc();
    start(receiving(pair[0]), "receiving");
    start(nap(), "<script>alert(1)</script>\x1b[31m");
    for (int i = 0; i < arguments.count("many"); ++i) tasks.push_back(create_task(nap()));
    for (int i = 0; i < arguments.count("busy"); ++i) tasks.push_back(create_task(busy()));
    for (int i = 0; i < 10; ++i) co_await asyncio::sleep(0s);
    if (arguments.is("lost")) {
        lost::start(start);
        co_await asyncio::sleep(50ms);
    }
    if (arguments.is("strange")) {
        start(nap(), "no UTF-8: \xff\xfe \xc0\x80 \xed\xa0\x80");
        start(nap(), "right to left: \u202eabc\u2066");
        start(nap(), std::string("controls: \0\a\r\n\x7f", 15));
        start(nap(), "</script><img src=x onerror=alert(1)>");
        start(nap(), std::string(100'000, 'x'));
        start(nap(), "");
        static std::vector<asyncio::Task<>> circle;
        circle.push_back(create_task(joins(circle, 1), {.name = "chicken"}));
        circle.push_back(create_task(joins(circle, 0), {.name = "egg"}));
        co_await asyncio::sleep(1ms);
    }
    if (arguments.is("passes")) {
        for (const char* name : {"turn 1", "turn 2", "turn 3"}) start(holds_in_turn(o.turn), name);
    }
    Connections connections;
    if (arguments.is("streams")) co_await streams(connections, start);
    if (arguments.is("stalls")) {
        start(stalls(std::chrono::milliseconds(arguments.count("stalls"))), "stalls");
        start(ticks(), "ticks");
    }
    if (speaks) {
        for (const auto& task : asyncio::all_tasks()) {
            if (task == asyncio::current_task() || arguments.is("many")) continue;
            if (!arguments.is("strange")) tell(task);
        }
    }
    if (arguments.is("awaited")) co_await create_task(outermost(), {.name = "outermost"});
    ready.fetch_add(1);
    if (arguments.is("stuck")) wait_for_the_end();
    if (arguments.is("starves")) {
        const auto other = create_task(nap(), {.name = "has no turn"});
        wait_for_the_end();
    }
    if (speaks) {
        co_await asyncio::to_thread(wait_for_the_end);
    } else {
        co_await asyncio::Event().wait();
    }
    if (arguments.is("execs")) ::execl("/bin/sleep", "sleep", "60", nullptr);
    if (arguments.is("strange")) std::_Exit(0);  // nothing ends a circle
    for (const auto& task : asyncio::all_tasks()) {
        if (task != asyncio::current_task()) task.cancel();
    }
    for (int i = 0; i < 10; ++i) co_await asyncio::sleep(0s);
}

}  // namespace

int main(int argc, char** argv) {
    const Arguments arguments(argc, argv);
    std::vector<std::thread> others;
    for (int i = 1; i < arguments.count("threads"); ++i) {
        others.emplace_back([&] { asyncio::run(program(arguments, false)); });
    }
    std::thread announcing([&] {
        while (ready.load() < std::max(1, arguments.count("threads")))
            std::this_thread::sleep_for(1ms);
        std::cout << "ready" << std::endl;
    });
    asyncio::run(program(arguments, true));
    announcing.join();
    if (!others.empty()) std::_Exit(0);  // their loops wait for ever
    return 0;
}
