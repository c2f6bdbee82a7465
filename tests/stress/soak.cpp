// Connections that come, talk and are cut, for a long time: soak SECONDS CONNECTIONS
//     [--backend epoll|io_uring]
// One loop holds the servers and CONNECTIONS clients. Each client opens a connection, sends
// messages of 1 B to 64 KiB, compares each that comes back, and ends in one of many ways; meanwhile
// readers, writers, handlers and whole clients are cancelled, and both ends abort and reset. What
// was not cut must come back whole. Memory, descriptors and tasks must stay flat, and be back where
// they were once all is closed; a short wave before, which is not measured, shows where that is.
//
// Exits with 0; 1 and the reason if something is wrong; 77 if there is no such back end here.
#include <asyncio.hpp>

#include <dirent.h>
#include <errno.h>
#include <malloc.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <stdexcept>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

using namespace asyncio;
using namespace std::chrono_literals;

#if defined(__SANITIZE_ADDRESS__)
#define SOAK_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SOAK_SANITIZED 1
#endif
#endif

#ifdef SOAK_SANITIZED
// What is freed is kept for a while, which would look like a leak.
extern "C" const char* __asan_default_options() { return "quarantine_size_mb=8"; }
#endif

namespace {

using Clock = std::chrono::steady_clock;

constexpr const char* kHost = "127.0.0.1";
constexpr std::size_t kMostInMessage = std::size_t{64} * 1024;
constexpr std::size_t kHeader = 8;
constexpr auto kStuck = 120s;  // a connection that makes no progress for so long has lost something

// ---- the process --------------------------------------------------------------------------------

// Bytes of memory that are resident, without what the allocator only keeps.
std::size_t resident() {
    std::FILE* file = std::fopen("/proc/self/statm", "r");
    unsigned long size = 0;
    unsigned long pages = 0;
    const bool read = file && std::fscanf(file, "%lu %lu", &size, &pages) == 2;
    if (file) std::fclose(file);
    if (!read) throw std::runtime_error("cannot read /proc/self/statm");
    return pages * static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
}

std::size_t quiet_memory() {
    ::malloc_trim(0);
    return resident();
}

std::size_t descriptors() {
    DIR* dir = ::opendir("/proc/self/fd");
    if (!dir) throw std::runtime_error("cannot read /proc/self/fd");
    std::size_t n = 0;
    while (::readdir(dir)) ++n;
    ::closedir(dir);
    return n - 3;  // ".", ".." and the directory itself
}

double mebibytes(std::size_t bytes) { return static_cast<double>(bytes) / (1024 * 1024); }

// As many as descriptors are allowed: both ends are here.
std::size_t affordable(std::size_t n) {
    rlimit limit{};
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    return std::min<std::size_t>(n, limit.rlim_cur > 200 ? (limit.rlim_cur - 100) / 3 : 30);
}

std::string text_of(const std::exception_ptr& error) {
    try {
        std::rethrow_exception(error);
    } catch (const BaseExceptionGroup& group) {
        return std::string(group.what()) + ": " + text_of(group.exceptions().front());
    } catch (const std::exception& e) {
        return e.what();
    }
}

// The system has given all ports to connections that were closed a moment ago.
bool is_out_of_ports(const Result<StreamPair>& result) {
    if (!result.holds<OSError>()) return false;
    try {
        std::rethrow_exception(result.error());
    } catch (const OSError& e) {
        return e.code().value() == EADDRNOTAVAIL;
    }
}

// ---- messages -----------------------------------------------------------------------------------

// Pieces of one long random text, another one for each connection and number.
class Texts {
  public:
    Texts() : text_(kLength + kMostInMessage, '\0') {
        std::mt19937_64 engine(1);
        for (char& c : text_) c = static_cast<char>(engine());
    }
    std::string_view message(std::uint64_t id, std::uint64_t number, std::size_t size) const {
        const std::uint64_t mixed = (id * 1'000'003 + number) * 0x9e3779b97f4a7c15U;
        return std::string_view(text_).substr((mixed >> 20) % kLength, size);
    }

  private:
    static constexpr std::size_t kLength = std::size_t{1} << 20;
    std::string text_;
};

std::string header(std::uint32_t number, std::size_t size) {
    const std::uint32_t fields[2] = {number, static_cast<std::uint32_t>(size)};
    std::string text(kHeader, '\0');
    std::memcpy(text.data(), fields, kHeader);
    return text;
}
std::size_t size_in(std::string_view header) {
    std::uint32_t fields[2];
    std::memcpy(fields, header.data(), kHeader);
    return fields[1];
}

struct Counts {
    std::uint64_t messages = 0;  // that came back, each compared
    std::uint64_t bytes = 0;
    std::uint64_t sessions = 0;
    std::uint64_t whole = 0;  // of them: nobody cut them, and all came back
    std::uint64_t closed = 0;
    std::uint64_t aborted = 0;
    std::uint64_t reset = 0;
    std::uint64_t half_closed = 0;
    std::uint64_t handlers_cancelled = 0;
    std::uint64_t clients_cancelled = 0;
    std::uint64_t reads_cancelled = 0;
    std::uint64_t drains_cancelled = 0;
    std::uint64_t timeouts = 0;
    std::uint64_t not_connected = 0;  // no port was left, or it was cancelled

    std::uint64_t disconnects() const { return closed + aborted + reset + handlers_cancelled; }
};

enum class Ending : std::uint8_t { kHalfClose, kClose, kCutClose, kCutAbort, kCutReset };

// A connection, as both ends know it.
struct Link {
    std::uint64_t id = 0;
    Ending ending = Ending::kClose;
    std::uint32_t messages = 0;
    std::uint32_t cut_at = 0;  // after so many messages
    bool by_messages = false;  // the server reads messages, not just bytes
    bool cut = false;          // somebody has ended it early: anything may be missing
    std::uint32_t answered = 0;
    Clock::time_point progress = Clock::now();
    std::vector<std::size_t> sizes;  // of the messages
    AnyTask client;
    AnyTask handler;  // empty until the server knows it
    StreamWriter server;
};

void reset(const StreamWriter& writer) {
    const linger hard{.l_onoff = 1, .l_linger = 0};
    setsockopt(writer.get_extra_info<int>("socket").value_or(-1), SOL_SOCKET, SO_LINGER, &hard,
               sizeof hard);
    writer.transport().abort();
}

// Little room in the system, so that writers wait.
void squeeze(const StreamWriter& writer) {
    const int size = 16 * 1024;
    const int fd = writer.get_extra_info<int>("socket").value_or(-1);
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
}

// A connection that is closed sends the rest first, which a server does not take that waits until
// its own is taken: nobody reads any more, and both would wait for ever.
class AbortIfCut {
  public:
    AbortIfCut(const Link& link, const StreamWriter& writer) : link_(link), writer_(writer) {}
    AbortIfCut(const AbortIfCut&) = delete;
    AbortIfCut& operator=(const AbortIfCut&) = delete;
    ~AbortIfCut() {
        if (link_.cut) writer_.transport().abort();
    }

  private:
    const Link& link_;
    const StreamWriter& writer_;
};

class Soak {
  public:
    explicit Soak(std::size_t connections) : connections_(connections) {}
    Coroutine<> run(std::chrono::seconds duration);

  private:
    using LinkPtr = std::shared_ptr<Link>;

    std::size_t random(std::size_t below) { return static_cast<std::size_t>(engine_() % below); }
    bool one_in(std::size_t n) { return random(n) == 0; }
    std::chrono::microseconds pause(std::size_t most_ms) {
        return std::chrono::microseconds(random(most_ms * 1000 + 1));
    }
    // The first reason counts.
    void fail(const std::string& why) {
        stop_ = true;
        if (failure_.empty()) failure_ = why;
    }
    void check_failure() const {
        if (!failure_.empty()) throw std::runtime_error(failure_);
    }

    Coroutine<std::string> read_exactly(StreamReader reader, std::size_t n);
    Coroutine<std::string> read_and_cancel(StreamReader reader, std::ptrdiff_t n, bool& cancelled);
    Coroutine<> drain(StreamWriter writer);

    Coroutine<> serve(StreamReader reader, StreamWriter writer);
    Coroutine<> echo_messages(StreamReader reader, StreamWriter writer, std::uint32_t& n);
    Coroutine<> echo_bytes(StreamReader reader, StreamWriter writer);

    LinkPtr plan();
    Coroutine<StreamPair> connect();
    Coroutine<> session(LinkPtr link);
    Coroutine<> talk(LinkPtr link, StreamPair pair);
    Coroutine<> send(LinkPtr link, StreamWriter writer);
    Coroutine<bool> receive(LinkPtr link, StreamPair pair);
    void cut(Link& link, const StreamWriter& writer);
    Coroutine<> client();
    Coroutine<> disturb();
    void disturb(const LinkPtr& link);

    Coroutine<> open_servers();
    Coroutine<> close_servers();
    Coroutine<> wave(std::chrono::milliseconds duration, bool measured);
    Coroutine<> settle();
    void sample(bool measured);
    void check_progress();
    void check_flat() const;
    void print(const char* what) const;

    const std::size_t connections_;
    std::mt19937_64 engine_{20'240'229};
    const Texts texts_;
    Counts counts_;
    std::string failure_;
    bool stop_ = false;
    std::vector<Server> servers_;
    std::vector<int> ports_;
    std::unordered_map<std::uint64_t, LinkPtr> links_;
    std::uint64_t next_id_ = 1;
    std::size_t handlers_ = 0;

    Clock::time_point start_ = Clock::now();
    std::size_t tasks_ = 0;        // at the start
    std::size_t descriptors_ = 0;  // likewise
    std::size_t quiet_ = 0;        // memory after the first wave
    std::size_t peak_before_ = 0;  // of memory in the first wave
    std::size_t peak_ = 0;
    std::vector<std::size_t> memory_;  // samples of the second wave
};

// ---- reading and writing, with cancels ----------------------------------------------------------

Coroutine<std::string> read_plainly(StreamReader reader, std::ptrdiff_t n) {
    co_return co_await reader.readexactly(n);
}

// Cancels a task when it is left behind.
class Abandon {
  public:
    explicit Abandon(AnyTask task) : task_(std::move(task)) {}
    Abandon(const Abandon&) = delete;
    Abandon& operator=(const Abandon&) = delete;
    ~Abandon() {
        task_.cancel();
        // Nobody else will look at its error.
        if (task_.done() && !task_.cancelled()) static_cast<void>(task_.exception());
    }

  private:
    AnyTask task_;
};

// Reads in a task of its own that is cancelled after a moment.
Coroutine<std::string> Soak::read_and_cancel(StreamReader reader, std::ptrdiff_t n,
                                             bool& cancelled) {
    Task<std::string> reading = create_task(read_plainly(reader, n));
    const Abandon guard(reading);
    co_await sleep(one_in(2) ? 0us : pause(3));
    reading.cancel();
    const auto result = co_await as_result(reading);
    cancelled = result.holds<CancelledError>() && current_task().cancelling() == 0;
    co_return cancelled ? std::string() : result.value();
}

// However often it is cancelled or times out on the way, no byte may be lost.
Coroutine<std::string> Soak::read_exactly(StreamReader reader, std::size_t size) {
    const auto n = static_cast<std::ptrdiff_t>(size);
    for (;;) {
        const std::size_t way = random(16);
        if (way == 0) {
            const auto result = co_await as_result(wait_for(reader.readexactly(n), pause(5)));
            if (!result.holds<TimeoutError>()) co_return result.value();
            ++counts_.timeouts;
        } else if (way == 1) {
            auto body = [&]() -> Coroutine<std::string> { return read_plainly(reader, n); };
            const auto result = co_await as_result(with(timeout(pause(5)), body));
            if (!result.holds<TimeoutError>()) co_return result.value();
            ++counts_.timeouts;
        } else if (way == 2) {
            bool cancelled = false;
            std::string data = co_await read_and_cancel(reader, n, cancelled);
            if (!cancelled) co_return data;
            ++counts_.reads_cancelled;
        } else {
            co_return co_await reader.readexactly(n);
        }
    }
}

Coroutine<> Soak::drain(StreamWriter writer) {
    if (one_in(4)) {
        const auto result = co_await as_result(wait_for(writer.drain(), pause(2)));
        if (!result.holds<TimeoutError>()) co_return result.value();
        ++counts_.drains_cancelled;
    }
    co_await writer.drain();
}

// ---- the server ---------------------------------------------------------------------------------

Coroutine<> Soak::echo_messages(StreamReader reader, StreamWriter writer, std::uint32_t& n) {
    for (;;) {
        std::string head;
        try {
            head = co_await read_exactly(reader, kHeader);
        } catch (const IncompleteReadError& e) {
            if (e.partial.empty()) co_return;
            throw;
        }
        const std::string body = co_await read_exactly(reader, size_in(head));
        if (one_in(30)) co_await sleep(pause(20));
        const std::string_view pieces[] = {head, body};
        writer.writelines(pieces);
        co_await drain(writer);
        ++n;
    }
}

Coroutine<> Soak::echo_bytes(StreamReader reader, StreamWriter writer) {
    for (;;) {
        const std::string data =
            co_await reader.read(static_cast<std::ptrdiff_t>(1 + random(70'000)));
        if (data.empty()) co_return;
        writer.write(data);
        co_await drain(writer);
    }
}

Coroutine<> Soak::serve(StreamReader reader, StreamWriter writer) {
    struct Counted {
        explicit Counted(std::size_t& count) : n(count) { ++n; }
        ~Counted() { --n; }
        std::size_t& n;
    } counted(handlers_);
    LinkPtr link;
    std::uint32_t n = 0;
    if (one_in(3)) squeeze(writer);
    std::string error;
    try {
        const std::string hello = co_await read_exactly(reader, sizeof(std::uint64_t));
        std::uint64_t id = 0;
        std::memcpy(&id, hello.data(), sizeof id);
        const auto found = links_.find(id);
        // One that was cancelled may be gone.
        if (found != links_.end()) link = found->second;
        if (link) {
            link->handler = current_task();
            link->server = writer;
        }
        if (link && link->by_messages) {
            co_await echo_messages(reader, writer, n);
        } else {
            co_await echo_bytes(reader, writer);
        }
    } catch (const ConnectionError& e) {
        error = e.what();
    } catch (const IncompleteReadError& e) {
        error = e.what();
    }
    if (link && !link->cut && !error.empty()) fail("the server's end that nobody cut: " + error);
    if (link && !link->cut && link->by_messages && n != link->messages) {
        fail("the server saw " + std::to_string(n) + " of " + std::to_string(link->messages));
    }
    writer.close();
}

// ---- the clients --------------------------------------------------------------------------------

Soak::LinkPtr Soak::plan() {
    auto link = std::make_shared<Link>();
    link->id = next_id_++;
    link->ending = static_cast<Ending>(one_in(2) ? random(2) : random(5));
    link->messages = static_cast<std::uint32_t>(1 + random(30));
    link->cut_at = static_cast<std::uint32_t>(random(link->messages));
    link->by_messages = one_in(2);
    for (std::uint32_t i = 0; i < link->messages; ++i) {
        // Small ones as often as large ones.
        const double power = static_cast<double>(random(17'000)) / 1000;
        const auto size = static_cast<std::size_t>(std::exp2(power));
        link->sizes.push_back(std::min(size, kMostInMessage));
    }
    return link;
}

Coroutine<StreamPair> Soak::connect() {
    return open_connection(kHost, ports_[random(ports_.size())]);
}

Coroutine<> Soak::send(LinkPtr link, StreamWriter writer) {
    try {
        for (std::uint32_t i = 0; i < link->messages; ++i) {
            const std::string head = header(i, link->sizes[i]);
            const std::string_view pieces[] = {head, texts_.message(link->id, i, link->sizes[i])};
            writer.writelines(pieces);
            co_await drain(writer);
            if (one_in(4)) co_await sleep(pause(one_in(20) ? 500 : 30));
        }
        if (link->ending == Ending::kHalfClose && !writer.is_closing()) {
            writer.write_eof();
            ++counts_.half_closed;
        }
    } catch (const ConnectionError& e) {
        if (!link->cut) fail(std::string("sending on a connection that nobody cut: ") + e.what());
    }
}

void Soak::cut(Link& link, const StreamWriter& writer) {
    link.cut = true;
    switch (link.ending) {
        case Ending::kCutAbort:
            ++counts_.aborted;
            return writer.transport().abort();
        case Ending::kCutReset:
            ++counts_.reset;
            return reset(writer);
        default:
            ++counts_.closed;
            return writer.close();
    }
}

// Returns false if it cut the connection, or has failed.
Coroutine<bool> Soak::receive(LinkPtr link, StreamPair pair) {
    const bool cuts = link->ending >= Ending::kCutClose;
    for (std::uint32_t i = 0; i < link->messages; ++i) {
        if (cuts && i == link->cut_at) {
            cut(*link, pair.second);
            co_return false;
        }
        const std::string head = co_await read_exactly(pair.first, kHeader);
        if (head != header(i, link->sizes[i])) {
            fail("another header came back");
            co_return false;
        }
        const std::string body = co_await read_exactly(pair.first, link->sizes[i]);
        if (body != texts_.message(link->id, i, link->sizes[i])) {
            fail("another message came back");
            co_return false;
        }
        ++counts_.messages;
        counts_.bytes += body.size();
        link->answered = i + 1;
        link->progress = Clock::now();
    }
    co_return true;
}

Coroutine<> Soak::talk(LinkPtr link, StreamPair pair) {
    std::string error;
    try {
        if (!co_await receive(link, pair)) co_return;
        if (link->ending == Ending::kHalfClose && !(co_await pair.first.read()).empty()) {
            fail("more came back than was sent");
        }
        counts_.whole += link->cut ? 0 : 1;
    } catch (const ConnectionError& e) {
        error = e.what();
    } catch (const IncompleteReadError& e) {
        error = e.what();
    }
    if (!link->cut && !error.empty()) fail("a connection that nobody cut: " + error);
}

Coroutine<> Soak::session(LinkPtr link) {
    auto connected = co_await as_result(connect());
    if (is_out_of_ports(connected)) {
        ++counts_.not_connected;
        co_return;
    }
    const StreamPair pair = connected.value();
    std::string hello(sizeof link->id, '\0');
    std::memcpy(hello.data(), &link->id, sizeof link->id);
    if (one_in(3)) squeeze(pair.second);
    pair.second.write(hello);
    auto both = [&](TaskGroup& group) -> Coroutine<> {
        group.create_task(send(link, pair.second));
        co_await talk(link, pair);
    };
    const AbortIfCut guard(*link, pair.second);
    co_await with(TaskGroup{}, both);
    pair.second.close();
    auto closed = co_await as_result(wait_for(pair.second.wait_closed(), link->cut ? 1s : 60s));
    if (link->cut && (closed.holds<ConnectionError>() || closed.holds<TimeoutError>())) co_return;
    closed.value();
}

// One connection after another.
Coroutine<> Soak::client() {
    while (!stop_) {
        const LinkPtr link = plan();
        links_.emplace(link->id, link);
        Task<> task = create_task(session(link));
        link->client = task;
        const auto result = co_await as_result(task);
        link->client = AnyTask();
        links_.erase(link->id);
        ++counts_.sessions;
        const bool cancelled = link->cut && result.holds<CancelledError>();
        if (!result.has_value() && !cancelled) fail("a client: " + text_of(result.error()));
        if (!stop_) co_await sleep(pause(50));
    }
}

// ---- disturbances -------------------------------------------------------------------------------

void Soak::disturb(const LinkPtr& link) {
    if (link->cut) return;
    const std::size_t way = random(4);
    if (way == 0) {
        link->cut = true;
        ++counts_.clients_cancelled;
        link->client.cancel();
        return;
    }
    if (!link->handler || link->handler.done()) return;
    link->cut = true;
    if (way == 1) {
        ++counts_.handlers_cancelled;
        link->handler.cancel();
    } else if (way == 2) {
        ++counts_.aborted;
        link->server.transport().abort();
    } else {
        ++counts_.reset;
        reset(link->server);
    }
}

// Each connection is disturbed once in two seconds, on average.
Coroutine<> Soak::disturb() {
    std::vector<LinkPtr> links;
    while (!stop_) {
        co_await sleep(50ms);
        links.clear();
        for (const auto& [id, link] : links_) links.push_back(link);
        const std::size_t n = links.size() / 40 + (random(40) < links.size() % 40 ? 1 : 0);
        for (std::size_t i = 0; i < n; ++i) disturb(links[random(links.size())]);
    }
}

// ---- what must be flat --------------------------------------------------------------------------

void Soak::sample(bool measured) {
    const std::size_t now = resident();
    peak_ = std::max(peak_, now);
    if (measured) memory_.push_back(now);
    const std::size_t most_descriptors = descriptors_ + 3 * connections_ + 64;
    if (const std::size_t n = descriptors(); n > most_descriptors) {
        fail("too many descriptors: " + std::to_string(n));
    }
    // A client, its connection, its sender, a read; a handler, a read; and as many that are ending.
    const std::size_t most_tasks = tasks_ + 10 * connections_ + 64;
    if (const std::size_t n = all_tasks().size(); n > most_tasks) {
        fail("too many tasks: " + std::to_string(n));
    }
    constexpr std::size_t kSlack = std::size_t{32} * 1024 * 1024;
    if (measured && now > peak_before_ + peak_before_ / 2 + kSlack) {
        fail("memory has grown to " + std::to_string(mebibytes(now)) + " MiB");
    }
}

void Soak::check_progress() {
    const auto now = Clock::now();
    for (const auto& [id, link] : links_) {
        if (link->cut || now - link->progress < kStuck) continue;
        fail("connection " + std::to_string(id) + " waits for message " +
             std::to_string(link->answered) + " of " + std::to_string(link->messages));
        return;
    }
}

double mean(std::vector<std::size_t>::const_iterator from,
            std::vector<std::size_t>::const_iterator to) {
    double sum = 0;
    for (auto i = from; i != to; ++i) sum += static_cast<double>(*i);
    return sum / static_cast<double>(to - from);
}

// The last quarter of the samples against the second.
void Soak::check_flat() const {
    const auto quarter = static_cast<std::ptrdiff_t>(memory_.size() / 4);
    if (quarter < 5) return;
    const double early = mean(memory_.begin() + quarter, memory_.begin() + 2 * quarter);
    const double late = mean(memory_.end() - quarter, memory_.end());
    constexpr double kSlack = 8.0 * 1024 * 1024;
    if (late <= early * 1.1 + kSlack) return;
    throw std::runtime_error("memory grows: " + std::to_string(early / 1048576) + " MiB, later " +
                             std::to_string(late / 1048576) + " MiB");
}

void Soak::print(const char* what) const {
    const auto seconds = std::chrono::duration<double>(Clock::now() - start_).count();
    std::printf(
        "%6.1f s %s: %llu messages, %llu connections (%llu whole), %llu disconnects, "
        "%.1f MiB, %zu descriptors, %zu tasks\n",
        seconds, what, static_cast<unsigned long long>(counts_.messages),
        static_cast<unsigned long long>(counts_.sessions),
        static_cast<unsigned long long>(counts_.whole),
        static_cast<unsigned long long>(counts_.disconnects()), mebibytes(resident()),
        descriptors(), all_tasks().size());
    std::fflush(stdout);
}

// ---- all of it ----------------------------------------------------------------------------------

Coroutine<> Soak::open_servers() {
    ServerOptions options;
    options.backlog = 4096;
    // Several, since a pair of addresses has only so many ports.
    for (int i = 0; i < 4; ++i) {
        auto handler = [this](StreamReader reader, StreamWriter writer) {
            return serve(std::move(reader), std::move(writer));
        };
        servers_.push_back(co_await start_server(handler, kHost, 0, options));
        ports_.push_back(servers_.back().sockets()[0].getsockname().port());
    }
}

Coroutine<> Soak::close_servers() {
    for (auto& server : servers_) server.close();
    for (auto& server : servers_) co_await server.wait_closed();
    servers_.clear();
}

// Clients for `duration`, and until each has had a connection or two; then until all has ended.
Coroutine<> Soak::wave(std::chrono::milliseconds duration, bool measured) {
    stop_ = false;
    const auto end = Clock::now() + duration;
    const std::uint64_t enough = counts_.sessions + 2 * connections_;
    std::vector<Task<>> clients;
    for (std::size_t i = 0; i < connections_; ++i) clients.push_back(create_task(client()));
    Task<> disturbing = create_task(disturb());
    auto printed = Clock::now();
    while (!stop_ && (Clock::now() < end || counts_.sessions < enough)) {
        co_await sleep(250ms);
        sample(measured);
        check_progress();
        if (Clock::now() - printed < 10s) continue;
        printed = Clock::now();
        print("runs");
    }
    stop_ = true;
    for (auto& task : clients) {
        while (!task.done()) {
            check_failure();
            check_progress();
            co_await sleep(100ms);
        }
    }
    co_await disturbing;
    check_failure();
}

// Until handlers, tasks and descriptors are gone.
Coroutine<> Soak::settle() {
    const auto limit = Clock::now() + 60s;
    while (handlers_ > 0 || all_tasks().size() > tasks_ || descriptors() > descriptors_) {
        check_failure();
        if (Clock::now() > limit) {
            throw std::runtime_error("after all has ended there are " + std::to_string(handlers_) +
                                     " handlers, " + std::to_string(all_tasks().size()) +
                                     " tasks and " + std::to_string(descriptors()) +
                                     " descriptors, before " + std::to_string(tasks_) + " and " +
                                     std::to_string(descriptors_));
        }
        co_await sleep(10ms);
    }
    check_failure();
}

Coroutine<> Soak::run(std::chrono::seconds duration) {
    EventLoop& loop = get_running_loop();
    loop.set_exception_handler([this](EventLoop&, const ExceptionContext& context) {
        fail("the exception handler was called: " + context.message +
             (context.exception ? ": " + text_of(context.exception) : ""));
    });
    const std::size_t bare = descriptors();
    tasks_ = all_tasks().size();
    const double at_start = mebibytes(quiet_memory());
    co_await open_servers();
    descriptors_ = descriptors();
    std::printf("%zu connections on %s for %lld s\n", connections_, loop.backend(),
                static_cast<long long>(duration.count()));
    std::fflush(stdout);

    co_await wave(duration / 6, false);
    co_await settle();
    quiet_ = quiet_memory();
    peak_before_ = std::exchange(peak_, 0);
    print("warm");
    co_await wave(duration - duration / 6, true);
    co_await settle();
    check_flat();
    const std::size_t quiet = quiet_memory();
    co_await close_servers();
    descriptors_ = bare;
    co_await settle();
    print("ended");
    const auto n = [](std::uint64_t count) { return static_cast<unsigned long long>(count); };
    std::printf(
        "memory: %.1f MiB at the start, %.1f after the first wave, %.1f at the end; %.1f at "
        "most\n",
        at_start, mebibytes(quiet_), mebibytes(quiet), mebibytes(peak_));
    std::printf(
        "%llu messages (%.1f MiB) came back, %llu connections, %llu whole; %llu closed, "
        "%llu aborted, %llu reset, %llu half closed; cancelled: %llu handlers, %llu "
        "clients, %llu reads, %llu drains; %llu timeouts; %llu found no port\n",
        n(counts_.messages), mebibytes(counts_.bytes), n(counts_.sessions), n(counts_.whole),
        n(counts_.closed), n(counts_.aborted), n(counts_.reset), n(counts_.half_closed),
        n(counts_.handlers_cancelled), n(counts_.clients_cancelled), n(counts_.reads_cancelled),
        n(counts_.drains_cancelled), n(counts_.timeouts), n(counts_.not_connected));
    constexpr std::size_t kSlack = std::size_t{8} * 1024 * 1024;
    if (quiet > quiet_ + quiet_ / 5 + kSlack) throw std::runtime_error("memory was not given back");
    if (counts_.whole == 0) throw std::runtime_error("no connection was left alone");
}

int usage(const char* program) {
    std::fprintf(stderr, "usage: %s SECONDS CONNECTIONS [--backend epoll|io_uring]\n", program);
    return 2;
}

// 77: this system does not have it.
int check_backend(const std::string& wanted) {
    const auto loop = new_event_loop();
    const std::string got = loop->backend();
    loop->close();
    if (wanted.empty() || got == wanted) return 0;
    std::fprintf(stderr, "there is no %s here\n", wanted.c_str());
    return 77;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 3 && (argc != 5 || std::string_view(argv[3]) != "--backend")) return usage(argv[0]);
    const long seconds = std::strtol(argv[1], nullptr, 10);
    const std::size_t wanted = std::strtoull(argv[2], nullptr, 10);
    if (seconds <= 0 || wanted == 0) return usage(argv[0]);
    if (argc == 5) ::setenv("ASYNCIO_BACKEND", argv[4], 1);
    const char* backend = std::getenv("ASYNCIO_BACKEND");
    if (const int code = check_backend(backend ? backend : "")) return code;
    Soak soak(affordable(wanted));
    return run_main(soak.run(std::chrono::seconds(seconds)));
}
