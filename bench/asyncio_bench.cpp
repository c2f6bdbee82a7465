// asyncio-bench WORKLOAD N: the engine's workloads, the same work as the programs in bench/peers
// do.
//
// Prints one JSON line: workload, n, ns_per_op (elapsed nanoseconds for one operation; for `timers`
// CPU nanoseconds of the process), the loop's back end, and what else the workload knows. A
// workload that is not known prints "skip":true. Each workload checks its results and stops the
// program on a wrong one.
//
// With AFTER_A_THREAD set in the environment the program starts and joins a thread first: a process
// that ever had two pays for atomic counts where one that never had does not.
//
// This is a user's program: nothing but <asyncio.hpp>, written the way the tutorial writes.
#include <asyncio.hpp>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

using asyncio::Coroutine;
using asyncio::Future;
using asyncio::Task;
using namespace std::chrono_literals;

namespace {

using Clock = std::chrono::steady_clock;

// ---- measuring

std::string_view workload_name;

double since(Clock::time_point start) {
    return std::chrono::duration<double, std::nano>(Clock::now() - start).count();
}

double process_cpu_ns() {
    timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return static_cast<double>(t.tv_sec) * 1e9 + static_cast<double>(t.tv_nsec);
}

// A field of /proc/self/status that counts kB, in bytes.
std::uint64_t memory_status(const char* field) {
    std::uint64_t bytes = 0;
    std::FILE* file = std::fopen("/proc/self/status", "r");
    if (!file) return bytes;
    char line[256];
    while (std::fgets(line, sizeof line, file)) {
        if (std::strncmp(line, field, std::strlen(field)) == 0) {
            bytes = std::strtoull(line + std::strlen(field), nullptr, 10) * 1024;
        }
    }
    std::fclose(file);
    return bytes;
}

void report(std::uint64_t n, double total_ns, const std::string& extra = "") {
    std::printf("{\"workload\":\"%.*s\",\"n\":%llu,\"ns_per_op\":%.2f,\"backend\":\"%s\"%s}\n",
                static_cast<int>(workload_name.size()), workload_name.data(),
                static_cast<unsigned long long>(n), total_ns / static_cast<double>(n),
                asyncio::get_running_loop().backend(), extra.c_str());
}

void need(bool right) {
    if (right) return;
    std::fprintf(stderr, "wrong result\n");
    std::exit(1);
}

// The same sequence of pseudo-random numbers as in the peers' programs.
std::uint64_t next_random() {
    static std::uint64_t x = 88172645463325252U;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    return x;
}

// ---- the small coroutines that the workloads call

[[gnu::noinline]] Coroutine<std::uint64_t> leaf(std::uint64_t x) { co_return x + 1; }

[[gnu::noinline]] Coroutine<std::uint64_t> recurse(int depth) {
    if (depth == 1) co_return 1;
    co_return co_await recurse(depth - 1) + 1;
}

Coroutine<std::uint64_t> yield_then_return(std::uint64_t x) {
    co_await asyncio::sleep(0s);
    co_return x;
}

Coroutine<> yield_often(std::uint64_t times) {
    for (std::uint64_t i = 0; i < times; ++i) co_await asyncio::sleep(0s);
}

Coroutine<> sleep_and_check(std::chrono::nanoseconds delay) {
    const auto start = Clock::now();
    co_await asyncio::sleep(delay);
    need(Clock::now() - start >= delay);
}

Coroutine<> produce(asyncio::Queue<std::uint64_t>& queue, std::uint64_t n) {
    for (std::uint64_t i = 0; i < n; ++i) co_await queue.put(i);
}

Coroutine<> lock_and_yield(asyncio::Lock& lock, std::uint64_t& counter, std::uint64_t times) {
    for (std::uint64_t i = 0; i < times; ++i) {
        auto guard = co_await lock.scoped();
        ++counter;
        co_await asyncio::sleep(0s);
    }
}

std::uint64_t odd(std::uint64_t x) { return x & 1; }

// ---- awaiting and spawning

Coroutine<> await_chain(std::uint64_t n) {
    std::uint64_t sum = 0;
    const auto start = Clock::now();
    for (std::uint64_t i = 0; i < n; ++i) sum += co_await leaf(i) & 1;
    const double ns = since(start);
    need(sum == (n + 1) / 2);
    report(n, ns);
}

Coroutine<> await_chain_10(std::uint64_t n) {
    std::uint64_t sum = 0;
    const auto start = Clock::now();
    for (std::uint64_t i = 0; i < n / 10; ++i) sum += co_await recurse(10);
    const double ns = since(start);
    need(sum == n / 10 * 10);
    report(n, ns);
}

Coroutine<> spawn_join(std::uint64_t n) {
    std::uint64_t sum = 0;
    const auto start = Clock::now();
    for (std::uint64_t i = 0; i < n; ++i) sum += co_await asyncio::create_task(leaf(i)) & 1;
    const double ns = since(start);
    need(sum == (n + 1) / 2);
    report(n, ns);
}

Coroutine<> spawn_many(std::uint64_t n) {
    std::uint64_t sum = 0;
    const std::uint64_t before = memory_status("VmRSS:");
    const auto start = Clock::now();
    {
        std::vector<Task<std::uint64_t>> tasks;
        tasks.reserve(n);
        for (std::uint64_t i = 0; i < n; ++i) {
            tasks.push_back(asyncio::create_task(yield_then_return(i)));
        }
        for (auto& task : tasks) sum += co_await std::move(task);
    }
    const double ns = since(start);
    need(sum == n * (n - 1) / 2);
    const std::uint64_t bytes = (memory_status("VmHWM:") - before) / n;
    report(n, ns, ",\"bytes_per_task\":" + std::to_string(bytes));
}

// ---- yielding

Coroutine<> yield_1(std::uint64_t n) {
    const auto start = Clock::now();
    for (std::uint64_t i = 0; i < n; ++i) co_await asyncio::sleep(0s);
    report(n, since(start));
}

Coroutine<> yield_100(std::uint64_t n) {
    std::vector<Task<>> tasks;
    const auto start = Clock::now();
    for (int i = 0; i < 100; ++i) tasks.push_back(asyncio::create_task(yield_often(n / 100)));
    for (auto& task : tasks) co_await task;
    report(n, since(start));
}

// ---- passing things on

Coroutine<> pass_through_queue(std::uint64_t n, int maxsize) {
    asyncio::Queue<std::uint64_t> queue(maxsize);
    std::uint64_t sum = 0;
    const auto start = Clock::now();
    auto producer = asyncio::create_task(produce(queue, n));
    for (std::uint64_t i = 0; i < n; ++i) sum += co_await queue.get();
    co_await producer;
    const double ns = since(start);
    need(sum == n * (n - 1) / 2);
    report(n, ns);
}

Coroutine<> queue_1(std::uint64_t n) { return pass_through_queue(n, 1); }

Coroutine<> queue_1024(std::uint64_t n) { return pass_through_queue(n, 1024); }

// Each side waits for a fresh future of its own, which the other side sets.
struct Table {
    Future<std::uint64_t> ping{nullptr};
    Future<std::uint64_t> pong{nullptr};
};

Coroutine<> answer(Table& table, std::uint64_t n) {
    auto& loop = asyncio::get_running_loop();
    for (std::uint64_t i = 0; i < n; ++i) {
        const std::uint64_t value = co_await table.ping;
        table.ping = loop.create_future<std::uint64_t>();
        table.pong.set_result(value + 1);
    }
}

Coroutine<> future_wake(std::uint64_t n) {
    auto& loop = asyncio::get_running_loop();
    Table table;
    table.ping = loop.create_future<std::uint64_t>();
    auto other = asyncio::create_task(answer(table, n));
    std::uint64_t value = 0;
    const auto start = Clock::now();
    for (std::uint64_t i = 0; i < n; ++i) {
        table.pong = loop.create_future<std::uint64_t>();
        table.ping.set_result(value);
        value = co_await table.pong;
    }
    const double ns = since(start);
    co_await other;
    need(value == n);
    report(n, ns);
}

// ---- time

Coroutine<> timers(std::uint64_t n) {
    std::vector<Task<>> tasks;
    const double cpu = process_cpu_ns();
    const auto start = Clock::now();
    tasks.reserve(n);
    for (std::uint64_t i = 0; i < n; ++i) {
        const std::chrono::nanoseconds delay(next_random() % 1'000'000'000);
        tasks.push_back(asyncio::create_task(sleep_and_check(delay)));
    }
    for (auto& task : tasks) co_await std::move(task);
    const long wall_ms = static_cast<long>(since(start) / 1e6);
    report(n, process_cpu_ns() - cpu, ",\"wall_ms\":" + std::to_string(wall_ms));
}

Coroutine<> timeout(std::uint64_t n) {
    std::uint64_t sum = 0;
    const auto start = Clock::now();
    for (std::uint64_t i = 0; i < n; ++i) sum += co_await asyncio::wait_for(leaf(i), 10s) & 1;
    const double ns = since(start);
    need(sum == (n + 1) / 2);
    report(n, ns);
}

Coroutine<> timeout_yield(std::uint64_t n) {
    const auto start = Clock::now();
    for (std::uint64_t i = 0; i < n; ++i) co_await asyncio::wait_for(asyncio::sleep(0s), 10s);
    report(n, since(start));
}

// One timer after another, each of 1 to 5 ms, the loop idle otherwise: how late each fires.
Coroutine<> timer_lateness(std::uint64_t n) {
    std::vector<double> late;
    late.reserve(n);
    for (std::uint64_t i = 0; i < n; ++i) {
        const std::chrono::milliseconds delay(1 + next_random() % 5);
        const auto start = Clock::now();
        co_await asyncio::sleep(delay);
        late.push_back(since(start) - std::chrono::duration<double, std::nano>(delay).count());
        need(late.back() >= 0);
    }
    std::sort(late.begin(), late.end());
    const double p50 = late[n / 2];
    const double p99 = late[n * 99 / 100];
    report(n, p50 * static_cast<double>(n),
           ",\"p50_us\":" + std::to_string(p50 / 1e3) + ",\"p99_us\":" + std::to_string(p99 / 1e3) +
               ",\"early\":0");
}

// The CPU time of this process for each of N seconds that it sleeps in the loop.
Coroutine<> sleep_cpu(std::uint64_t n) {
    co_await asyncio::sleep(0s);
    const double cpu = process_cpu_ns();
    co_await asyncio::sleep(std::chrono::seconds(n));
    report(n, process_cpu_ns() - cpu);
}

// ---- locks

Coroutine<> lock(std::uint64_t n) {
    asyncio::Lock mutex;
    std::uint64_t counter = 0;
    const auto start = Clock::now();
    for (std::uint64_t i = 0; i < n; ++i) {
        auto guard = co_await mutex.scoped();
        ++counter;
    }
    const double ns = since(start);
    need(counter == n);
    need(!mutex.locked());
    report(n, ns);
}

Coroutine<> lock_100(std::uint64_t n) {
    asyncio::Lock mutex;
    std::uint64_t counter = 0;
    std::vector<Task<>> tasks;
    const auto start = Clock::now();
    for (int i = 0; i < 100; ++i) {
        tasks.push_back(asyncio::create_task(lock_and_yield(mutex, counter, n / 100)));
    }
    for (auto& task : tasks) co_await task;
    const double ns = since(start);
    need(counter == n / 100 * 100);
    need(!mutex.locked());
    report(n, ns);
}

// ---- threads

Coroutine<> to_thread(std::uint64_t n) {
    std::uint64_t sum = 0;
    const auto start = Clock::now();
    for (std::uint64_t i = 0; i < n; ++i) sum += co_await asyncio::to_thread(odd, i);
    const double ns = since(start);
    need(sum == n / 2);
    report(n, ns);
}

Coroutine<> thread_post(std::uint64_t n) {
    auto& loop = asyncio::get_running_loop();
    auto done = loop.create_future<void>();
    std::uint64_t count = 0;
    const auto start = Clock::now();
    std::thread poster([&] {
        for (std::uint64_t i = 0; i < n; ++i) {
            loop.call_soon_threadsafe([&] {
                if (++count == n) done.set_result();
            });
        }
    });
    co_await done;
    const double ns = since(start);
    poster.join();
    need(count == n);
    report(n, ns);
}

// A handler that computes: about 10 us of a processor for a request and its answer.
Coroutine<std::uint64_t> handle(std::string request) {
    std::uint64_t hash = 14695981039346656037u;
    for (int round = 0; round < 256; ++round) {
        for (const char c : request) hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211u;
    }
    co_await asyncio::sleep(0s);
    co_return hash;
}

// One loop's part: `n` requests, made here, 16 under way.
Coroutine<std::uint64_t> serve_requests(std::uint64_t n) {
    std::uint64_t sum = 0;
    std::vector<Task<std::uint64_t>> answers;
    for (std::uint64_t i = 0; i < n; i += 16) {
        for (std::uint64_t k = i; k < std::min(i + 16, n); ++k) {
            answers.push_back(asyncio::create_task(handle("GET /item/" + std::to_string(k))));
        }
        for (auto& answer : answers) sum += co_await answer;
        answers.clear();
    }
    co_return sum;
}

struct Spent {
    double ns;   // elapsed
    double cpu;  // ns of all processors
};

// So many threads do `n` requests each.
Coroutine<Spent> serve_on(int threads, std::uint64_t n) {
    const double cpu = process_cpu_ns();
    const auto start = Clock::now();
    auto part = [n] { return serve_requests(n); };
    const std::vector<std::uint64_t> sums = co_await asyncio::run_on_threads(threads, part);
    const Spent spent{since(start), process_cpu_ns() - cpu};
    for (const std::uint64_t sum : sums) need(sum == sums.front());
    co_return spent;
}

// Two loops beside one, in turns: how many times the work they do, and what a request costs the
// processors then, beside what it costs with one loop. The first needs two free processors.
Coroutine<> run_on_threads(std::uint64_t n) {
    constexpr int kRounds = 5;
    std::vector<double> elapsed;
    std::vector<double> work;
    std::vector<double> cost;
    for (int i = 0; i < kRounds; ++i) {
        const Spent one = co_await serve_on(1, n);
        const Spent two = co_await serve_on(2, n);
        elapsed.push_back(two.ns);
        work.push_back(2 * one.ns / two.ns);
        cost.push_back(two.cpu / 2 / one.cpu);
    }
    for (std::vector<double>* all : {&elapsed, &work, &cost}) std::sort(all->begin(), all->end());
    constexpr int kMedian = kRounds / 2;
    report(2 * n, elapsed[kMedian],
           ",\"times_the_work_of_one\":" + std::to_string(work[kMedian]) +
               ",\"cpu_beside_one\":" + std::to_string(cost[kMedian]));
}

Coroutine<> run_true() {
    auto process = co_await asyncio::create_subprocess_exec("/bin/true");
    need(co_await process.wait() == 0);
}

Coroutine<> subprocess(std::uint64_t n) {
    for (int i = 0; i < 5; ++i) co_await run_true();
    const auto start = Clock::now();
    for (std::uint64_t i = 0; i < n; ++i) co_await run_true();
    report(n, since(start));
}

// ---- files

std::string cpu_since(double start, std::uint64_t n) {
    return ",\"cpu_ns_per_op\":" +
           std::to_string((process_cpu_ns() - start) / static_cast<double>(n));
}

// Blocks of 64 KiB of a file that is in memory, at most 1 GiB of it.
Coroutine<> file_read(std::uint64_t n) {
    constexpr std::size_t kBlock = 64 * 1024;
    const std::uint64_t blocks = std::min<std::uint64_t>(n, 16384);
    auto file = co_await asyncio::temporary_file();
    std::string buffer(kBlock, 'x');
    for (std::uint64_t i = 0; i < blocks; ++i) co_await file.write(buffer);
    co_await file.seek(0);
    while (co_await file.read_into(std::span<char>(buffer)) > 0) {
    }
    const double cpu = process_cpu_ns();
    const auto start = Clock::now();
    for (std::uint64_t i = 0; i < n; ++i) {
        if (i % blocks == 0) co_await file.seek(0);
        need(co_await file.read_into(std::span<char>(buffer)) == kBlock);
    }
    report(n, since(start), cpu_since(cpu, n));
}

Coroutine<> read_some_files(const std::vector<std::string>& names, std::uint64_t& next,
                            std::uint64_t n, std::uint64_t& bytes) {
    while (next < n) {
        const std::string& name = names[next++ % names.size()];
        const std::string data = co_await asyncio::read_file(name);
        bytes += data.size();
    }
}

// Whole files of 2 KiB, 5,000 different ones, 64 at a time.
Coroutine<> small_files(std::uint64_t n) {
    const auto directory = co_await asyncio::temporary_directory();
    std::vector<std::string> names;
    for (std::uint64_t i = 0; i < std::min<std::uint64_t>(n, 5000); ++i) {
        names.push_back(directory.path() + '/' + std::to_string(i));
        co_await asyncio::write_file(names.back(), std::string(2048, 'x'));
    }
    std::uint64_t next = 0;
    std::uint64_t bytes = 0;
    const double cpu = process_cpu_ns();
    const auto start = Clock::now();
    std::vector<Task<>> readers;
    for (int i = 0; i < 64; ++i) {
        readers.push_back(asyncio::create_task(read_some_files(names, next, n, bytes)));
    }
    for (auto& reader : readers) co_await reader;
    const double ns = since(start);
    const std::string used = cpu_since(cpu, n);
    need(bytes == n * 2048);
    report(n, ns, used);
}

struct Workload {
    std::string_view name;
    Coroutine<> (*run)(std::uint64_t n);
};

constexpr Workload kWorkloads[] = {
    {"await_chain", await_chain},
    {"await_chain_10", await_chain_10},
    {"spawn_join", spawn_join},
    {"spawn_many", spawn_many},
    {"yield_1", yield_1},
    {"yield_100", yield_100},
    {"queue_1", queue_1},
    {"queue_1024", queue_1024},
    {"future_wake", future_wake},
    {"timers", timers},
    {"timer_lateness", timer_lateness},
    {"sleep_cpu", sleep_cpu},
    {"timeout", timeout},
    {"timeout_yield", timeout_yield},
    {"lock", lock},
    {"lock_100", lock_100},
    {"to_thread", to_thread},
    {"thread_post", thread_post},
    {"run_on_threads", run_on_threads},
    {"file_read", file_read},
    {"small_files", small_files},
    {"subprocess", subprocess},
};

}  // namespace

int main(int argc, char** argv) {
    if (argc < 3) {
        std::fprintf(stderr, "usage: asyncio-bench WORKLOAD N\nworkloads:");
        for (const Workload& w : kWorkloads) std::fprintf(stderr, " %s", w.name.data());
        std::fprintf(stderr, "\n");
        return 2;
    }
    workload_name = argv[1];
    if (std::getenv("AFTER_A_THREAD")) std::thread([] {}).join();
    const std::uint64_t n = std::strtoull(argv[2], nullptr, 10);
    for (const Workload& w : kWorkloads) {
        if (w.name != workload_name) continue;
        if (n == 0) {
            std::fprintf(stderr, "asyncio-bench: N must be a positive number\n");
            return 2;
        }
        return asyncio::run_main(w.run(n));
    }
    std::printf("{\"workload\":\"%s\",\"skip\":true}\n", argv[1]);
    return 0;
}
