// Much of what a user's program does, to be compiled without any warning: templates of the
// library's headers are warned about where they are used.
#include <asyncio.hpp>

#include <cstdio>
#include <memory>
#include <string>
#include <utility>
#include <vector>

using namespace std::chrono_literals;

struct Guard {
    asyncio::Coroutine<int> aenter() { co_return 1; }
    asyncio::Coroutine<bool> aexit(std::exception_ptr) { co_return false; }
};

asyncio::Coroutine<std::string> text(int n) {
    co_await asyncio::sleep(1ms);
    co_return std::to_string(n);
}
asyncio::Coroutine<std::unique_ptr<int>> owned() { co_return std::make_unique<int>(1); }
asyncio::Coroutine<int&> reference(int& n) { co_return n; }
asyncio::AsyncGenerator<std::string> items() {
    for (int i = 0; i < 3; ++i) co_yield std::to_string(i);
}
asyncio::AsyncGenerator<int, std::string> lengths() {
    int last = 0;
    while (true) {
        const std::string sent = co_yield last;
        last = static_cast<int>(sent.size());
    }
}

asyncio::Coroutine<int> callbacks() {
    int n = 0;
    auto& loop = asyncio::get_running_loop();
    loop.call_soon([&] { ++n; });
    loop.call_later(1ms,
                    [&n, kept = std::string(100, 'x')] { n += static_cast<int>(kept.size()); });
    loop.call_soon_threadsafe([&n, kept = std::make_shared<int>(1)] { n += *kept; });
    auto future = loop.create_future<std::string>();
    future.add_done_callback([&](const asyncio::Future<std::string>& f) { n += f.done(); });
    loop.call_soon([future] { future.set_result("set"); });
    co_await future;
    co_await asyncio::sleep(2ms);
    co_return n;
}

asyncio::Coroutine<int> structures() {
    auto [first, second] = co_await asyncio::gather(text(1), owned());
    std::vector<asyncio::Coroutine<std::string>> many;
    many.push_back(text(2));
    const auto all = co_await asyncio::gather(std::move(many));
    int here = 1;
    co_await reference(here);
    auto task = asyncio::create_task(text(3), {.name = "task"});
    const auto guarded = co_await asyncio::as_result(asyncio::wait_for(text(4), 1s));
    co_await asyncio::shield(task);
    co_await asyncio::with(asyncio::TaskGroup{},
                           [](asyncio::TaskGroup& group) -> asyncio::Coroutine<> {
                               group.create_task(text(5));
                               co_return;
                           });
    std::vector<asyncio::Task<std::string>> tasks{task};
    auto done = co_await asyncio::wait(tasks);
    co_return *second + static_cast<int>(first.size() + all.size() + done.done.size()) +
        guarded.has_value();
}

asyncio::Coroutine<int> coordination() {
    asyncio::Lock lock;
    asyncio::Queue<std::string> queue(2);
    asyncio::PriorityQueue<int> ordered;
    asyncio::Event event;
    asyncio::Semaphore semaphore(1);
    asyncio::Channel<std::string> channel(1);
    {
        auto held = co_await lock.scoped();
        co_await queue.put("item");
        co_await ordered.put(1);
        event.set();
        co_await event.wait();
        co_await semaphore.acquire();
        semaphore.release();
        co_await channel.send("sent");
    }
    const auto received = co_await channel.receive();
    const std::string item = co_await queue.get();
    co_return static_cast<int>(item.size() + received->size()) + co_await ordered.get();
}

asyncio::Coroutine<int> generators() {
    int n = 0;
    auto all = items();
    while (auto item = co_await all.next()) n += static_cast<int>(item->size());
    auto counting = lengths();
    co_await counting.next();
    n += *co_await counting.asend("four");
    co_await counting.aclose();
    co_return n;
}

asyncio::Coroutine<int> threads() {
    const auto work = [kept = std::string("thread")] { return kept; };
    const std::string in_thread = co_await asyncio::to_thread(work);
    auto concurrent = asyncio::run_coroutine_threadsafe(text(6), asyncio::get_running_loop());
    const std::string wrapped = co_await asyncio::wrap_future(concurrent);
    co_return static_cast<int>(in_thread.size() + wrapped.size());
}

asyncio::Coroutine<int> streams() {
    auto server = co_await asyncio::start_server(
        [](asyncio::StreamReader reader, asyncio::StreamWriter writer) -> asyncio::Coroutine<> {
            const std::string line = co_await reader.readline();
            writer.write(line);
            co_await writer.drain();
            writer.close();
        },
        "127.0.0.1", 0);
    const int port = server.sockets().at(0).getsockname().port();
    auto [reader, writer] = co_await asyncio::open_connection("127.0.0.1", port);
    writer.write("line\n");
    const std::string answer = co_await reader.readline();
    writer.close();
    server.close();
    co_return static_cast<int>(answer.size());
}

asyncio::Coroutine<> program() {
    try {
        const int n = co_await callbacks() + co_await structures() + co_await coordination() +
                      co_await generators() + co_await threads() + co_await streams();
        if (n > 0) std::printf("42 ValueError\n");
    } catch (const asyncio::TimeoutError& error) {
        std::printf("%s\n", error.what());
    }
}

int main() { return asyncio::run_main(program()); }
