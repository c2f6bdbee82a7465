// Mixed loads: one program that answers pings while something else keeps it busy.
//
//   asyncio-mixed streams|protocol WORK PORT         TCP: a connection that begins with E is
//   echoed,
//                                                    one that begins with U is read; what comes is
//                                                    worked on for WORK ns a KiB. UDP of that port
//                                                    and a pipe as standard input are read, too.
//   asyncio-mixed tls-streams|tls-protocol PEM WORK PORT
//   asyncio-mixed compute TASKS MICROSECONDS SECONDS     how late sleep(10ms) and a thread's call
//   are
//                                                        beside tasks that compute and yield
#include <asyncio.hpp>

#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "echo.hpp"

using namespace asyncio;
using namespace std::chrono_literals;

namespace {

using Clock = std::chrono::steady_clock;

double work_ns_a_kib = 0;

void compute(std::chrono::nanoseconds time) {
    const auto end = Clock::now() + time;
    while (Clock::now() < end) continue;
}

void work_on(std::size_t bytes) {
    if (work_ns_a_kib == 0) return;
    const double ns = static_cast<double>(bytes) / 1024 * work_ns_a_kib;
    compute(std::chrono::nanoseconds(static_cast<std::int64_t>(ns)));
}

class Connection final : public Protocol {
  public:
    void connection_made(Transport& transport) override { transport_ = transport; }
    void data_received(std::string_view data) override {
        if (kind_ == 0) kind_ = data[0];
        if (kind_ == 'E') return transport_.write(data);
        work_on(data.size());
    }
    void connection_lost(std::exception_ptr) override { transport_ = Transport(); }

  private:
    Transport transport_;
    char kind_ = 0;
};

class Datagrams final : public DatagramProtocol {
  public:
    void datagram_received(std::string_view data, const SocketAddress&) override {
        work_on(data.size());
    }
};

class Pipe final : public Protocol {
  public:
    void data_received(std::string_view data) override { work_on(data.size()); }
};

Coroutine<> answer(StreamReader reader, StreamWriter writer) {
    char kind = 0;
    try {
        for (;;) {
            const std::string data = co_await reader.read(64 * 1024);
            if (data.empty()) break;
            if (kind == 0) kind = data[0];
            if (kind == 'E') {
                writer.write(data);
                co_await writer.drain();
            } else {
                work_on(data.size());
            }
        }
    } catch (const OSError&) {
        // A client that goes away in the middle is no news here.
    }
    writer.close();
}

bool stdin_is_a_pipe() {
    struct stat s;
    return ::fstat(STDIN_FILENO, &s) == 0 && S_ISFIFO(s.st_mode);
}

Coroutine<> serve(bool with_streams, int port, const char* pem) {
    EventLoop& loop = get_running_loop();
    ServerOptions options;
    options.backlog = 256;
    std::optional<ssl::SSLContext> context;
    if (pem) {
        context = ssl::create_default_context(ssl::Purpose::CLIENT_AUTH);
        context->load_cert_chain(pem);
        options.ssl = &*context;
    }
    Server server;
    if (with_streams) {
        server = co_await start_server(answer, "127.0.0.1", port, options);
    } else {
        auto make = [] { return std::make_shared<Connection>(); };
        server = co_await loop.create_server(make, "127.0.0.1", port, options);
    }
    auto make_datagrams = [] { return std::make_shared<Datagrams>(); };
    auto endpoint =
        co_await loop.create_datagram_endpoint(make_datagrams, {.local_addr = {"127.0.0.1", port}});
    if (stdin_is_a_pipe()) {
        auto make_pipe = [] { return std::make_shared<Pipe>(); };
        co_await loop.connect_read_pipe(make_pipe, OwnedDescriptor(::dup(STDIN_FILENO)));
    }
    echo_bench::say_ready();
    co_await server.serve_forever();
}

// ---- beside tasks that compute ------------------------------------------------------------------

double late_us(Clock::time_point due) {
    return std::chrono::duration<double, std::micro>(Clock::now() - due).count();
}

void print_list(const char* name, const std::vector<double>& values, const char* end) {
    std::printf("\"%s\":[", name);
    for (std::size_t i = 0; i < values.size(); ++i) {
        std::printf("%s%.1f", i ? "," : "", values[i]);
    }
    std::printf("]%s", end);
}

Coroutine<> beside(int tasks, std::chrono::microseconds each, Clock::duration length) {
    EventLoop& loop = get_running_loop();
    bool over = false;
    auto worker = [&]() -> Coroutine<> {
        while (!over) {
            compute(each);
            co_await sleep(0s);
        }
    };
    std::vector<Task<>> workers;
    for (int i = 0; i < tasks; ++i) workers.push_back(create_task(worker()));
    std::vector<double> sleeps;
    std::vector<double> posts;
    std::atomic<bool> ended{false};
    std::thread poster([&] {
        while (!ended) {
            std::this_thread::sleep_for(10ms);
            const auto posted = Clock::now();
            loop.call_soon_threadsafe([&posts, posted] { posts.push_back(late_us(posted)); });
        }
    });
    const auto end = Clock::now() + length;
    while (Clock::now() < end) {
        const auto due = Clock::now() + 10ms;
        co_await sleep(10ms);
        sleeps.push_back(late_us(due));
    }
    ended = true;
    poster.join();
    over = true;
    for (auto& w : workers) co_await w;
    std::printf("{");
    print_list("sleep", sleeps, ",");
    print_list("post", posts, "}\n");
}

int usage(const char* name) {
    std::fprintf(stderr,
                 "usage: %s streams|protocol WORK PORT\n"
                 "       %s tls-streams|tls-protocol PEM WORK PORT\n"
                 "       %s compute TASKS MICROSECONDS SECONDS\n",
                 name, name, name);
    return 2;
}

}  // namespace

int main(int argc, char** argv) {
    const std::string_view kind = argc > 1 ? argv[1] : "";
    if (kind == "compute" && argc == 5) {
        const std::chrono::duration<double> length(std::atof(argv[4]));
        return run_main(beside(std::atoi(argv[2]), std::chrono::microseconds(std::atoi(argv[3])),
                               std::chrono::duration_cast<Clock::duration>(length)));
    }
    const bool tls = kind.starts_with("tls-");
    if (argc != (tls ? 5 : 4)) return usage(argv[0]);
    work_ns_a_kib = std::atof(argv[argc - 2]);
    return run_main(
        serve(kind.ends_with("streams"), std::atoi(argv[argc - 1]), tls ? argv[2] : nullptr));
}
