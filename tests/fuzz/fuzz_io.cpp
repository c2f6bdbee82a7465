// The public API of the network, files, children, signals and threads with whatever a program may
// pass, on real loops: descriptors that are closed or none, ports and sizes at the ends of their
// range, names with NUL, empty handles, cancels at any moment. Each call returns or raises an error
// that says something, every await ends once it is cancelled, no descriptor and no memory is left.
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "fuzz_support.hpp"

namespace {

using namespace fuzz;

std::ptrdiff_t open_descriptors() {
    const std::filesystem::directory_iterator descriptors("/proc/self/fd");
    return std::distance(begin(descriptors), end(descriptors));
}

struct Sink : Protocol {
    void connection_made(Transport& made) override { transport = made; }
    void data_received(std::string_view data) override { transport.write(data); }
    Transport transport;
};

struct World {
    explicit World(EventLoop& l) : loop(l) {
        auto [a, b] = Socket::pair(1, SOCK_STREAM | SOCK_NONBLOCK);
        left = std::move(a);
        right = std::move(b);
    }

    EventLoop& loop;
    Socket left, right;  // of a pair, for sock_* and add_reader
    std::string folder;
    std::vector<File> files{File()};
    std::vector<StreamReader> readers{StreamReader()};
    std::vector<StreamWriter> writers{StreamWriter()};
    std::vector<Server> servers{Server()};
    std::vector<Transport> transports{Transport()};
    std::vector<Process> processes{Process()};
    std::vector<DatagramEndpoint> endpoints{DatagramEndpoint()};
    ThreadPoolExecutor pool{2};
    std::array<char, 16> memory{};
};

template <class T>
T& one_of(std::vector<T>& all, Input& in) {
    return all[in.below(static_cast<unsigned>(all.size()))];
}
template <class T>
void keep(std::vector<T>& all, T one) {
    if (all.size() > 4) all.erase(all.begin() + 1);
    all.push_back(std::move(one));
}

// A descriptor that there is not, or that cannot be used so.
int strange_fd(Input& in) {
    static constexpr int pool[] = {-1, -2, 1 << 20, std::numeric_limits<int>::max(),
                                   std::numeric_limits<int>::min()};
    return pool[in.below(std::size(pool))];
}
int port_of(Input& in) {
    static constexpr int pool[] = {0,     1,     -1,      -2,
                                   65535, 65536, 1 << 30, std::numeric_limits<int>::min()};
    return pool[in.below(std::size(pool))];
}
std::string host_of(Input& in) {
    static const std::string pool[] = {
        "127.0.0.1",           "::1", "",      "256.1.1.1", "127.0.0.1 ", std::string("a\0b", 3),
        std::string(300, 'h'), "%",   "[::1]", "\xc3\xa9"};
    return pool[in.below(std::size(pool))];
}
// Nothing outside of the folder: as root, whatever a fault did there would stay.
std::string path_of(World& w, Input& in) {
    switch (in.below(9)) {
        case 0:
            return "";
        case 1:
            return w.folder;
        case 2:
            return w.folder + "/none/x";
        case 3:
            return std::string("a\0b", 3);
        case 4:
            return w.folder + "/" + std::string(300, 'n');
        case 5:
            return w.folder + std::string(5000, '/');
        case 6:
            return w.folder + "/fifo";
        case 7:
            return w.folder + "/link";  // to nothing
        default:
            return w.folder + "/" + std::to_string(in.below(3));
    }
}

// Awaits anything for a moment; what it gives goes to `take`.
template <class A, class F>
Coroutine<> await(const char* what, A awaitable, F take, Delay moment = 2ms) {
    trace(what);
    auto result = co_await as_result(wait_for(std::move(awaitable), moment));
    if (result.error()) {
        look_at(result.error());
    } else {
        take(std::move(result));
    }
}
constexpr auto nothing = [](const auto&) {};

Coroutine<> files(World& w, Input& in) {
    File file = one_of(w.files, in);
    static const std::string modes[] = {"r", "w", "a", "x", "r+", "w+b", "", "q", "rw", "a+"};
    switch (in.below(16)) {
        case 0: {
            const std::string path = path_of(w, in);
            const std::string mode = modes[in.below(std::size(modes))];
            OpenOptions options;
            options.permissions = static_cast<unsigned>(number(in));
            options.buffer_size = in.below(2) ? 0 : 1 + in.byte();
            auto take = [&](auto r) { keep(w.files, std::move(r).value()); };
            co_await await("open_file", open_file(path, mode, options), take);
            break;
        }
        case 1:
            co_await await("read", file.read(in.below(2) ? number(in) : 10), nothing);
            break;
        case 2:
            co_await await("read_into", file.read_into(std::span<char>(w.memory)), nothing);
            break;
        case 3:
            co_await await("readline", file.readline(number(in)), nothing);
            break;
        case 4:
            co_await await("file write", file.write(std::string(in.byte(), 'w')), nothing);
            break;
        case 5:
            co_await await("pread", file.pread(in.byte(), number(in)), nothing);
            break;
        case 6:
            co_await await("pwrite", file.pwrite("p", in.below(2) ? number(in) : 3), nothing);
            break;
        case 7:
            co_await await("seek", file.seek(number(in), static_cast<int>(in.below(5)) - 1),
                           nothing);
            break;
        case 8:
            co_await await("truncate", file.truncate(in.below(2) ? -1 : in.byte()), nothing);
            break;
        case 9:
            co_await await("close", file.close(), nothing);
            break;
        case 10:
            co_await await("stat", file.stat(), nothing);
            break;
        case 11:
            co_await await("read_file", read_file(path_of(w, in)), nothing);
            break;
        case 12:
            co_await await("write_file", write_file(path_of(w, in), "whole"), nothing);
            break;
        case 13:
            co_await await("replace_file", replace_file(path_of(w, in), "new", {.sync = false}),
                           nothing);
            break;
        case 14: {
            std::string from = path_of(w, in);
            const std::string to = path_of(w, in);
            // A copy that waits for a FIFO's other end holds its thread, cancelled or not.
            if (from.ends_with("/fifo") || to.ends_with("/fifo")) from = w.folder;
            co_await await("copy_file", copy_file(from, to), nothing);
            break;
        }
        default:
            attempt("file", [&] {
                file.repr();
                file.closed();
                file.name();
                file.tell();
                file.fileno();
            });
    }
}

Coroutine<> streams(World& w, Input& in) {
    StreamReader reader = one_of(w.readers, in);
    StreamWriter writer = one_of(w.writers, in);
    Server server = one_of(w.servers, in);
    auto keep_streams = [&](auto r) {
        auto [a, b] = std::move(r).value();
        keep(w.readers, std::move(a));
        keep(w.writers, std::move(b));
    };
    switch (in.below(18)) {
        case 0: {
            const std::string host = host_of(in);
            const int port = port_of(in);
            attempt("open_connection", [&] { (void)open_connection(host, port); });
            if (host.starts_with("127") && port > 65535)
                co_await await("open_connection", open_connection(host, port), keep_streams);
            break;
        }
        case 1: {
            if (!server || server.sockets().empty()) break;
            const int port = server.sockets()[0].getsockname().port();
            co_await await("connect", open_connection("127.0.0.1", port), keep_streams);
            break;
        }
        case 2: {
            auto handler = [](StreamReader r, StreamWriter out) -> Coroutine<> {
                const std::string data = co_await r.read(10);
                out.write(data);
            };
            const int port = in.below(2) ? 0 : port_of(in);
            ServerOptions options;
            options.backlog = static_cast<int>(number(in));
            auto take = [&](auto r) { keep(w.servers, std::move(r).value()); };
            co_await await("start_server", start_server(handler, "127.0.0.1", port, options), take);
            break;
        }
        case 3:
            attempt("server close", [&] { server.close(); });
            break;
        case 4:
            co_await await("wait_closed", server.wait_closed(), nothing);
            break;
        case 5:
            co_await await("start_serving", server.start_serving(), nothing);
            break;
        case 6:
            co_await await("read", reader.read(static_cast<std::ptrdiff_t>(number(in))), nothing);
            break;
        case 7: {
            auto body = [&]() -> Coroutine<> { co_await reader.readexactly(in.byte()); };
            co_await await("readexactly", body(), nothing);
            break;
        }
        case 8:
            attempt("write", [&] { writer.write(std::string(in.byte() * 100, 'x')); });
            break;
        case 9: {
            auto body = [&]() -> Coroutine<> { co_await writer.drain(); };
            co_await await("drain", body(), nothing);
            break;
        }
        case 10:
            attempt("write_eof", [&] { writer.write_eof(); });
            break;
        case 11:
            attempt("writer close", [&] { writer.close(); });
            break;
        case 12: {
            auto body = [&]() -> Coroutine<> { co_await writer.wait_closed(); };
            co_await await("writer wait_closed", body(), nothing);
            break;
        }
        case 13: {
            const std::string path = path_of(w, in);
            co_await await("open_unix_connection", open_unix_connection(path), keep_streams);
            break;
        }
        case 14:
            attempt("transport", [&] {
                const Transport t = writer.transport();
                t.set_write_buffer_limits({.high = static_cast<std::ptrdiff_t>(number(in)),
                                           .low = static_cast<std::ptrdiff_t>(number(in))});
            });
            break;
        case 15:
            attempt("pause", [&] {
                const Transport t = writer.transport();
                t.pause_reading();
                t.resume_reading();
                t.get_write_buffer_size();
            });
            break;
        case 16:
            attempt("abort", [&] { writer.transport().abort(); });
            break;
        default:
            attempt("readers", [&] {
                reader.at_eof();
                reader.repr();
                writer.repr();
                server.repr();
            });
    }
}

Coroutine<> sockets(World& w, Input& in) {
    const int fd = in.below(3) ? w.left.fileno() : strange_fd(in);
    EventLoop& loop = w.loop;
    switch (in.below(12)) {
        case 0: {
            auto body = [&]() -> Coroutine<> { co_await loop.sock_recv(fd, in.below(2) ? 0 : 16); };
            co_await await("sock_recv", body(), nothing);
            break;
        }
        case 1: {
            auto body = [&]() -> Coroutine<> {
                co_await loop.sock_recv_into(fd, std::as_writable_bytes(std::span(w.memory)));
            };
            co_await await("sock_recv_into", body(), nothing);
            break;
        }
        case 2: {
            auto body = [&]() -> Coroutine<> { co_await loop.sock_sendall(fd, "sent"); };
            co_await await("sock_sendall", body(), nothing);
            break;
        }
        case 3: {
            auto body = [&]() -> Coroutine<> {
                co_await loop.sock_connect(fd, SocketAddress("127.0.0.1", 1));
            };
            co_await await("sock_connect", body(), nothing);
            break;
        }
        case 4: {
            auto body = [&]() -> Coroutine<> { co_await loop.sock_accept(fd); };
            co_await await("sock_accept", body(), nothing);
            break;
        }
        case 5:
            attempt("add_reader", [&] { loop.add_reader(fd, [] {}); });
            break;
        case 6:
            attempt("remove_reader", [&] { loop.remove_reader(fd); });
            break;
        case 7:
            attempt("add_writer", [&] { loop.add_writer(fd, [] {}); });
            break;
        case 8:
            attempt("remove_writer", [&] { loop.remove_writer(fd); });
            break;
        case 9:
            attempt("socket", [&] {
                Socket s(static_cast<int>(number(in)), static_cast<int>(number(in)));
                s.listen(static_cast<int>(number(in)));
            });
            break;
        case 10:
            attempt("address", [&] {
                const SocketAddress a(host_of(in), port_of(in));
                a.repr();
                (void)SocketAddress::unix(path_of(w, in));
            });
            break;
        default: {
            const std::string host = host_of(in);
            DatagramOptions options;
            options.local_addr = {"127.0.0.1", in.below(2) ? 0 : 1 << 20};
            auto take = [&](auto r) { keep(w.endpoints, std::move(r).value()); };
            co_await await("datagrams", open_datagram_endpoint(options), take);
        }
    }
}

Coroutine<> datagrams(World& w, Input& in) {
    DatagramEndpoint endpoint = one_of(w.endpoints, in);
    switch (in.below(4)) {
        case 0: {
            auto body = [&]() -> Coroutine<> { co_await endpoint.receive(); };
            co_await await("receive", body(), nothing);
            break;
        }
        case 1: {
            auto body = [&]() -> Coroutine<> {
                const SocketAddress to("127.0.0.1", 1 + static_cast<int>(in.byte()));
                co_await endpoint.send_to(std::string(in.below(2) ? 0 : 70'000, 'd'), to);
            };
            co_await await("send_to", body(), nothing);
            break;
        }
        case 2:
            attempt("endpoint", [&] { endpoint.close(); });
            break;
        default: {
            auto body = [&]() -> Coroutine<> { co_await endpoint.send("d"); };
            co_await await("send", body(), nothing);
        }
    }
}

Coroutine<> others(World& w, Input& in) {
    Process process = one_of(w.processes, in);
    switch (in.below(14)) {
        case 0: {
            if (in.below(4)) break;  // they are slow
            SubprocessOptions options;
            static const subprocess::Stdio fds[] = {subprocess::PIPE, subprocess::DEVNULL, -77,
                                                    1 << 20};
            options.stdin_ = fds[in.below(4)];
            options.stdout_ = fds[in.below(4)];
            const std::string program = in.below(2) ? "true" : path_of(w, in);
            auto take = [&](auto r) { keep(w.processes, std::move(r).value()); };
            co_await await("subprocess", create_subprocess_exec(options, program, "x"), take);
            break;
        }
        case 1:
            co_await await("process wait", process.wait(), nothing);
            break;
        case 2:
            attempt("send_signal", [&] { process.send_signal(static_cast<int>(number(in))); });
            break;
        case 3:
            co_await await("communicate", process.communicate("in"), nothing);
            break;
        case 4:
            attempt("process", [&] {
                process.repr();
                process.pid();
                process.returncode();
            });
            break;
        case 5: {
            const int signal = in.below(2) ? SIGUSR2 : static_cast<int>(number(in));
            auto body = [&]() -> Coroutine<> { co_await signals::wait(signal); };
            co_await await("signals::wait", body(), nothing);
            break;
        }
        case 6:
            attempt("add_signal_handler", [&] {
                const int signal = in.below(2) ? SIGUSR2 : static_cast<int>(number(in));
                w.loop.add_signal_handler(signal, [] {});
                w.loop.remove_signal_handler(signal);
            });
            break;
        case 7:
            co_await await("to_thread", to_thread([] { return 1; }), nothing);
            break;
        case 8: {
            auto body = [&]() -> Coroutine<> {
                co_await w.loop.run_in_executor(&w.pool,
                                                []() -> int { throw ValueError("thrown"); });
            };
            co_await await("run_in_executor", body(), nothing);
            break;
        }
        case 9:
            attempt("ThreadPoolExecutor", [&] {
                const std::int64_t n = number(in);
                if (n <= 8) ThreadPoolExecutor p(static_cast<int>(n));
            });
            break;
        case 10: {
            auto body = [&]() -> Coroutine<> {
                auto changes = watch(path_of(w, in));
                co_await changes.next();
            };
            co_await await("watch", body(), nothing);
            break;
        }
        case 11: {
            auto body = [&]() -> Coroutine<> {
                auto entries = in.below(2) ? list_dir(path_of(w, in)) : list_dir(w.folder);
                while (auto entry = co_await entries.next()) trace(entry->name.c_str());
            };
            co_await await("list_dir", body(), nothing);
            break;
        }
        case 12: {
            const std::string dir = path_of(w, in);
            auto body = [&]() -> Coroutine<> {
                auto file = co_await temporary_file({.dir = dir});
                auto folder = co_await temporary_directory({.dir = w.folder, .prefix = "a/b"});
                co_await folder.cleanup();
            };
            co_await await("temporary", body(), nothing);
            break;
        }
        default:
            attempt("threadsafe", [&] {
                auto later =
                    run_coroutine_threadsafe([]() -> Coroutine<int> { co_return 1; }(), w.loop);
                later.cancel();
            });
    }
}

Coroutine<> act(World& w, Input& in, int steps) {
    for (; steps > 0 && !in.empty(); --steps) {
        switch (in.below(5)) {
            case 0:
                co_await files(w, in);
                break;
            case 1:
                co_await streams(w, in);
                break;
            case 2:
                co_await sockets(w, in);
                break;
            case 3:
                co_await datagrams(w, in);
                break;
            default:
                co_await others(w, in);
        }
    }
}

Coroutine<> play(World& w, Input& in) {
    auto body = [&](const std::string& folder) -> Coroutine<> {
        w.folder = folder;
        ::mkfifo((folder + "/fifo").c_str(), 0600);
        std::filesystem::create_symlink("nothing", folder + "/link");
        auto a = create_task(act(w, in, 20));
        auto b = create_task(act(w, in, 20));
        co_await await("the first", a, nothing, 1s);
        co_await await("the second", b, nothing, 1s);
        for (Process& p : w.processes) {
            if (!p) continue;
            attempt("kill", [&] { p.kill(); });
            co_await await("its end", p.wait(), nothing, 1s);
        }
        for (Server& s : w.servers) {
            if (s) s.close();
        }
        for (StreamWriter& writer : w.writers) {
            if (writer) writer.transport().abort();
        }
        for (DatagramEndpoint& e : w.endpoints) {
            if (e) e.close();
        }
        for (File& f : w.files) {
            if (f) co_await await("close", f.close(), nothing, 1s);
        }
        w.loop.remove_reader(w.left.fileno());
        w.loop.remove_writer(w.left.fileno());
        co_await cancel_all([] {});
        // What a cancelled call still does in its thread may make a file in the folder.
        co_await await("the threads' end", w.loop.shutdown_default_executor(), nothing, 10s);
    };
    auto folder = co_await temporary_directory();
    co_await with(std::move(folder), body);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    prepare();
    std::signal(SIGPIPE, SIG_IGN);
    Input in(data, size);
    const auto make = in.below(2) ? &EpollEventLoop::create : &UringEventLoop::create;
    static const bool warm = [&] {  // what the process keeps from its first loop on
        const auto loop = make();
        loop->run_until_complete(to_thread([] {}));
        return true;
    }();
    static_cast<void>(warm);
    const std::ptrdiff_t before = open_descriptors();
    {
        const auto loop = make();
        loop->set_exception_handler([](EventLoop&, const ExceptionContext& context) {
            if (context.exception) look_at(context.exception);
        });
        World world(*loop);
        loop->run_until_complete(play(world, in));
        loop->run_until_complete(loop->shutdown_asyncgens());
        loop->close();
    }
    // What a thread was just opening for a task that has gone is closed there, a moment later.
    for (int i = 0; i < 2000 && open_descriptors() != before; ++i) ::usleep(1000);
    if (open_descriptors() != before) {
        wrong("descriptors are left", std::to_string(open_descriptors() - before).c_str());
    }
    ::alarm(0);
    return 0;
}
