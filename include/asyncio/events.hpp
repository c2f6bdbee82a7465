// EventLoop, the classes that name its back end, and which loop is whose. LC-01 to LC-15, SC-01 to
// SC-07, EH-*.
#pragma once

#include <cstdint>
#include <exception>
#include <iosfwd>
#include <memory>
#include <optional>
#include <source_location>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "asyncio/contextvars.hpp"
#include "asyncio/detail/function.hpp"
#include "asyncio/detail/loop_core.hpp"
#include "asyncio/events/handles.hpp"
#include "asyncio/sockets.hpp"
#include "asyncio/time.hpp"

namespace asyncio {
inline namespace v1 {

class AnyTask;
class AnyFuture;
class BaseProtocol;
class Executor;
class ThreadPoolExecutor;
class BaseTransport;
class OwnedDescriptor;
class Server;
class Transport;
struct ConnectionOptions;
struct DatagramOptions;
struct ExceptionContext;
struct SubprocessOptions;
struct SendfileOptions;
struct ServerOptions;
struct TaskOptions;
struct TlsOptions;
struct UnixConnectionOptions;
struct UnixServerOptions;
template <class T>
class Coroutine;
template <class T>
class Future;
template <class T>
class Task;
namespace ssl {
class SSLContext;
}

// How a callback is called.
struct CallbackOptions {
    const Context* context = nullptr;  // used uncopied; null: a copy of the current one
};

namespace detail {

class Loop;
class FutureBase;

// Calling it makes a coroutine.
template <class F>
inline constexpr bool kMakesCoroutine =
    requires(F& f) { f().asyncio_awaiter(); } && !requires(F& f) { f().id(); };

// The arguments of call_soon: a callback, and options perhaps.
template <class F, class... A>
inline constexpr bool kCallback = std::is_invocable_v<F&> && !kMakesCoroutine<F>;
template <class F, class A, class... More>
inline constexpr bool kCallback<F, A, More...> =
    kCallback<F> && std::is_convertible_v<A, CallbackOptions>;

// A factory of protocols, perhaps.
template <class F>
concept GivesPointer = requires(F& factory) { typename decltype(factory())::element_type; };

// Runs the loop until `future` is done (LC-02, S-11). `hidden`: made here, so not reported if the
// loop is stopped before.
ASYNCIO_API void run_until_done(EventLoop& loop, FutureBase& future, bool hidden);

}  // namespace detail

// Called with the loop and what is known of the error.
using ExceptionHandler = detail::Function<void(EventLoop&, const ExceptionContext&)>;
// Called before each task of the loop is made; may change its options.
using TaskFactory = detail::Function<void(EventLoop&, TaskOptions&)>;

// An event loop: runs callbacks, tasks, timers and I/O on one thread. Made by new_event_loop() or
// by one of the classes that name a back end. Not thread-safe but for call_soon_threadsafe (TH-03).
class ASYNCIO_API EventLoop {
  public:
    // Closes it, if that was not done (LC-14).
    virtual ~EventLoop();
    EventLoop(const EventLoop&) = delete;
    EventLoop& operator=(const EventLoop&) = delete;

    // Runs until stop() is called. LC-01.
    // Raises: RuntimeError if it is closed, runs already, or another loop runs in this thread; what
    // a callback raised, if that is KeyboardInterrupt or SystemExit (S-60).
    void run_forever();
    // Runs until `awaitable` is done; returns its result. LC-02.
    // Raises: as run_forever; RuntimeError "Event loop stopped before Future completed."; its
    // error.
    template <class A>
    auto run_until_complete(A&& awaitable,
                            std::source_location where = std::source_location::current());
    // Makes run_forever return at the end of this iteration (LC-03, S-10).
    void stop() noexcept;
    // One iteration: waits at most `timeout` for something to be ready, runs what is. For embedding
    // in another loop (a GUI's). Returns true if anything is left to run at once. Raises: as
    // run_forever.
    bool run_once(Delay timeout);
    // Whether run_forever() or what calls it is under way; whether close() was called.
    bool is_running() const noexcept;
    bool is_closed() const noexcept;
    // Ends the loop: callbacks and timers are dropped unrun, suspended tasks are destroyed
    // innermost frame first. Idempotent. LC-05. Raises: RuntimeError "Cannot close a running event
    // loop".
    void close();

    // The loop's clock (SC-05). After close() too, when virtual time stands still.
    TimePoint time() const noexcept;

    // Calls `fn()` in the next iteration, in a copy of the current context. SC-01.
    // Raises: RuntimeError "Event loop is closed"; in debug mode RuntimeError from another thread.
    template <class F>
        requires detail::kCallback<F>
    Handle call_soon(F fn, CallbackOptions options = {},
                     std::source_location where = std::source_location::current()) {
        auto state = make_handle(std::move(fn), options, where, false);
        add_handle(*state);
        return Handle(std::move(state));
    }
    template <class F, class... A>
        requires(!detail::kCallback<F, A...>)
    Handle call_soon(F, A...) {
        static_assert(!detail::kMakesCoroutine<F>, "a coroutine is no callback: use create_task");
        static_assert(detail::kMakesCoroutine<F>,
                      "a callback is a function without parameters, which captures what it needs: "
                      "call_soon([=] { f(x); })");
        return {};
    }
    // The same from any thread; wakes the loop. SC-02. Raises: RuntimeError "Event loop is closed".
    template <class F>
        requires detail::kCallback<F>
    Handle call_soon_threadsafe(F fn, CallbackOptions options = {},
                                std::source_location where = std::source_location::current()) {
        auto state = make_handle<true>(std::move(fn), options, where, false);
        add_handle_threadsafe(*state);
        return Handle(std::move(state));
    }
    template <class F, class... A>
        requires(!detail::kCallback<F, A...>)
    Handle call_soon_threadsafe(F, A...) {
        static_assert(!detail::kMakesCoroutine<F>,
                      "a coroutine is no callback: use run_coroutine_threadsafe");
        static_assert(detail::kMakesCoroutine<F>,
                      "a callback is a function without parameters, which captures what it needs: "
                      "call_soon_threadsafe([=] { f(x); })");
        return {};
    }
    // Calls `fn()` after `delay`. SC-03. Raises: TypeError "delay must not be None"; as call_soon.
    template <class F>
        requires detail::kCallback<F>
    TimerHandle call_later(Delay delay, F fn, CallbackOptions options = {},
                           std::source_location where = std::source_location::current()) {
        auto state = make_handle(std::move(fn), options, where, true);
        add_timer_after(*state, delay);
        return TimerHandle(std::move(state));
    }
    template <class D, class F, class... A>
        requires(!detail::kCallback<F, A...>)
    TimerHandle call_later(const D&, F, A...) {
        static_assert(!detail::kMakesCoroutine<F>, "a coroutine is no callback: use create_task");
        static_assert(detail::kMakesCoroutine<F>,
                      "call_later() takes a delay, and a function without parameters, which "
                      "captures what it needs: call_later(1s, [=] { f(x); })");
        return {};
    }
    // Calls `fn()` at `when`, or in the next iteration if that is past. SC-04, S-06.
    // Raises: TypeError "when cannot be None"; as call_soon.
    template <class F>
    TimerHandle call_at(Deadline when, F fn, CallbackOptions options = {},
                        std::source_location where = std::source_location::current()) {
        auto state = make_handle(std::move(fn), options, where, true);
        add_timer_at(*state, when);
        return TimerHandle(std::move(state));
    }

    // Calls `fn()` in each iteration in which `fd` is readable, in a copy of the current context,
    // until remove_reader(fd); a second call replaces the first. The descriptor is borrowed: remove
    // it before it is closed. FD-01.
    // Raises: RuntimeError "Event loop is closed"; ValueError for a negative descriptor; OSError.
    template <class F>
    void add_reader(int fd, F fn, std::source_location where = std::source_location::current()) {
        add_watch(fd, false, make_handle(std::move(fn), {}, where, false));
    }
    // The same for writable.
    template <class F>
    void add_writer(int fd, F fn, std::source_location where = std::source_location::current()) {
        add_watch(fd, true, make_handle(std::move(fn), {}, where, false));
    }
    // Ends add_reader; a call that is queued already is skipped. Returns whether there was one;
    // false if the loop is closed. FD-02.
    bool remove_reader(int fd) { return remove_watch(fd, false); }
    bool remove_writer(int fd) { return remove_watch(fd, true); }

    // The addresses of a host. `host`: a name, an address, or "" for none (with the flag AI_PASSIVE
    // then every local address). `port`: a number, or std::nullopt for none; or `service`, a number
    // or a name as "http". An address with a numeric port is answered at once, in this iteration; a
    // name is looked up on a thread of the loop's own few for that purpose. DN-01, getaddrinfo(3).
    // Raises: gaierror; OSError; ValueError "port must be 0-65535."; RuntimeError if the loop is
    // closed.
    // If cancelled: the answer is dropped when it comes; nothing waits for it.
    Coroutine<std::vector<AddrInfo>> getaddrinfo(std::string_view host, int port,
                                                 AddrInfoOptions options = {});
    Coroutine<std::vector<AddrInfo>> getaddrinfo(std::string_view host, std::nullopt_t port,
                                                 AddrInfoOptions options = {});
    Coroutine<std::vector<AddrInfo>> getaddrinfo(std::string_view host, std::string_view service,
                                                 AddrInfoOptions options = {});
    // (host, service) of an address, by name or, with the flags NI_NUMERICHOST and NI_NUMERICSERV,
    // by number. DN-02, getnameinfo(3).
    // Raises: gaierror; OSError; RuntimeError if the loop is closed.
    // If cancelled: the answer is dropped when it comes; nothing waits for it.
    Coroutine<std::pair<std::string, std::string>> getnameinfo(const SocketAddress& address,
                                                               int flags = 0);
    // Makes a transport of the reading end of a pipe, a FIFO, a terminal or another character
    // device, which is taken over, on failure too, made non-blocking (until it is closed) and
    // closed with the transport. `factory()` gives a std::shared_ptr of a Protocol or
    // BufferedProtocol. Gives the ReadTransport and that pointer. At the end of what is written:
    // eof_received(), whose answer counts for nothing, then connection_lost(nullptr). PI-01.
    // Needs <asyncio/pipes.hpp>.
    // Raises: ValueError "Pipe transport is for pipes/sockets only."; OSError.
    // If cancelled: the transport is closed.
    template <class F>
    auto connect_read_pipe(F&& factory, OwnedDescriptor pipe);
    // The same for the writing end; gives a WriteTransport. When the last reader goes, the
    // transport closes: connection_lost(BrokenPipeError) if something was not written yet, else
    // connection_lost(nullptr). No SIGPIPE is raised. PI-02.
    // Raises: ValueError "Pipe transport is only for pipes, sockets and character devices";
    // OSError.
    // If cancelled: the transport is closed.
    template <class F>
    auto connect_write_pipe(F&& factory, OwnedDescriptor pipe);

    // Starts a child process: `factory()` gives a std::shared_ptr of a SubprocessProtocol; then
    // options, then the program and its arguments (or a range of them), as for
    // create_subprocess_exec, but its standard streams are pipes unless the options say otherwise.
    // Gives the SubprocessTransport and that pointer. The protocol is told of everything in the
    // order in which it comes, each by a callback of its own: connection_made() first,
    // connection_lost(nullptr) last, when the process has ended and all its pipes have (P-10).
    // Needs <asyncio/subprocess.hpp>. P-08.
    // Raises: as create_subprocess_exec.
    // If cancelled: the child is killed, and its end awaited (P-11).
    template <class F, class... A>
    auto subprocess_exec(F&& factory, SubprocessOptions options, const A&... args);
    template <class F, class A, class... More>
        requires(!std::is_same_v<A, SubprocessOptions>)
    auto subprocess_exec(F&& factory, const A& program, const More&... args);
    // The same for a command of /bin/sh.
    template <class F>
    auto subprocess_shell(F&& factory, std::string_view command, SubprocessOptions options);
    template <class F>
    auto subprocess_shell(F&& factory, std::string_view command);

    // Calls `fn()` each time the process gets the signal `sig` (a number of <csignal>), in a copy
    // of the current context, until remove_signal_handler(sig) or close(); a second call replaces
    // the first. `fn` is a callback like any other: it may do everything, and what it raises goes
    // to the exception handler. Every loop that asks for a signal gets it, on whatever thread it
    // runs. Awaitable forms: signals::wait, signals::watch. SG-01, SG-03. Raises: ValueError
    // "invalid signal number N"; RuntimeError "Event loop is closed", "sig N cannot be caught".
    template <class F>
    void add_signal_handler(int sig, F fn,
                            std::source_location where = std::source_location::current()) {
        check_signal(sig);
        add_signal(sig, make_handle(std::move(fn), {}, where, false));
    }
    // Returns whether there was a handler. With the last one of the process what it did before with
    // the signal is restored. SG-02. Raises: ValueError "invalid signal number N".
    bool remove_signal_handler(int sig);

    // Calls on a plain socket, a descriptor or a Socket, which is borrowed and must be non-blocking
    // (RS-01 to RS-06). Each is tried at once, which takes no iteration if it succeeds, else
    // whenever the socket is ready. One call at a time may wait to read from a socket, and one to
    // write; a later one, or add_reader, takes the place of an earlier, which raises RuntimeError.
    // The memory that a view or a span shows must stay until the call is over.
    // Raises, all of them: OSError; RuntimeError if the loop is closed, or "File descriptor 7 is
    // used by transport ..."; ValueError "the socket must be non-blocking", of most calls in debug
    // mode only.

    // Receives up to `n` bytes; "" at the end of the stream.
    // If cancelled: nothing is received.
    Coroutine<std::string> sock_recv(FileDescriptor sock, std::size_t n);
    // Receives into `buffer`; gives how many bytes came.
    // If cancelled: nothing is received.
    Coroutine<std::size_t> sock_recv_into(FileDescriptor sock, std::span<char> buffer);
    Coroutine<std::size_t> sock_recv_into(FileDescriptor sock, std::span<std::byte> buffer);
    // Receives a datagram; what is longer than `n` bytes is cut.
    // If cancelled: nothing is received.
    Coroutine<std::pair<std::string, SocketAddress>> sock_recvfrom(FileDescriptor sock,
                                                                   std::size_t n);
    // The same into the first `nbytes` of `buffer`, 0 for all of it. Raises: ValueError "nbytes is
    // greater than the length of the buffer".
    // If cancelled: nothing is received.
    Coroutine<std::pair<std::size_t, SocketAddress>> sock_recvfrom_into(FileDescriptor sock,
                                                                        std::span<char> buffer,
                                                                        std::size_t nbytes = 0);
    Coroutine<std::pair<std::size_t, SocketAddress>> sock_recvfrom_into(FileDescriptor sock,
                                                                        std::span<std::byte> buffer,
                                                                        std::size_t nbytes = 0);
    // Sends all of `data`. After an error nobody knows how much was sent.
    // If cancelled: a part may have been sent.
    Coroutine<void> sock_sendall(FileDescriptor sock, std::string_view data);
    Coroutine<void> sock_sendall(FileDescriptor sock, std::span<const std::byte> data);
    // Sends a datagram; gives how many bytes were sent.
    // If cancelled: nothing is sent.
    Coroutine<std::size_t> sock_sendto(FileDescriptor sock, std::string_view data,
                                       const SocketAddress& address);
    Coroutine<std::size_t> sock_sendto(FileDescriptor sock, std::span<const std::byte> data,
                                       const SocketAddress& address);
    // Connects. Raises: OSError of the class that fits, "Connect call failed ('127.0.0.1', 1)".
    // If cancelled: the system goes on connecting; close the socket.
    Coroutine<void> sock_connect(FileDescriptor sock, const SocketAddress& address);
    // The same; looks `host` up first, and takes the first address of the socket's family. Raises:
    // gaierror, too.
    // If cancelled: as above.
    Coroutine<void> sock_connect(FileDescriptor sock, std::string_view host, int port);
    // Accepts a connection: its socket, non-blocking, and the peer's address.
    // If cancelled: no connection is accepted.
    Coroutine<std::pair<Socket, SocketAddress>> sock_accept(FileDescriptor sock);

    // Connects to a host and makes a transport and a protocol of that. CN-01 to CN-05, CN-09. The
    // result is a pair of Transport and std::shared_ptr<P>, P being what `factory()` makes: it
    // takes nothing and returns a std::shared_ptr<P>; connection_made() has been called.
    // `host`: a name or an address, "" for this host; `port`: -1 for none. A host with several
    // addresses is tried at one after the other, or as RFC 8305 has it (happy_eyeballs_delay).
    // Without host and port: `options.sock`. Raises: ValueError for arguments that exclude one
    // another; gaierror; OSError "Connect call failed ...", or "Multiple exceptions: ..."; an
    // ExceptionGroup of them with `all_errors`; SSLError.
    // If cancelled: the socket is closed.
    template <class F>
    auto create_connection(F&& factory, std::string_view host, int port, ConnectionOptions options);
    template <class F>
    auto create_connection(F&& factory, std::string_view host, int port);
    template <class F>
    auto create_connection(F&& factory, ConnectionOptions options);
    template <class F, class... A>
        requires(!detail::GivesPointer<F>)
    detail::Refused create_connection(F&&, A&&...) {
        static_assert(
            detail::kRight<F>,
            "a protocol factory takes nothing and returns a std::shared_ptr to a protocol");
        return {};
    }
    // The same to a unix socket; `path` beginning with NUL is an abstract name. Without a path:
    // `options.sock`. CN-07. Raises: ValueError; OSError; SSLError.
    // If cancelled: the socket is closed.
    template <class F>
    auto create_unix_connection(F&& factory, std::string_view path, UnixConnectionOptions options);
    template <class F>
    auto create_unix_connection(F&& factory, std::string_view path);
    // The same for a connection that was accepted elsewhere; takes `sock` over. CN-08.
    // Raises: ValueError; OSError; SSLError.
    // If cancelled: the socket is closed.
    template <class F>
    auto connect_accepted_socket(F&& factory, OwnedDescriptor sock, TlsOptions options);
    template <class F>
    auto connect_accepted_socket(F&& factory, OwnedDescriptor sock);

    // Secures a connection by TLS, which may be secured already; returns the transport to use from
    // now on, with `protocol` (in general the one of `transport`) on it, whose connection_made() is
    // not called again. The old transport must not be used any more. TL-01.
    // Raises: TypeError "transport ... is not supported by start_tls()"; ValueError; SSLError;
    // ConnectionAbortedError if the handshake takes too long; ConnectionResetError if the
    // connection ends meanwhile, or has.
    // If cancelled: the connection is closed at once.
    Coroutine<Transport> start_tls(const Transport& transport,
                                   std::shared_ptr<BaseProtocol> protocol,
                                   const ssl::SSLContext& sslcontext, const TlsOptions& options);
    Coroutine<Transport> start_tls(const Transport& transport,
                                   std::shared_ptr<BaseProtocol> protocol,
                                   const ssl::SSLContext& sslcontext);

    // Listens at every address of a host, or of several, and serves each connection by a protocol
    // that `factory()` makes. `host` "": all interfaces; `port`: 0 or -1 for one that is free (one
    // for each socket). Without host and port: `options.sock`. SV-01, SV-02.
    // Raises: ValueError; gaierror; OSError "error while attempting to bind on address ...".
    // If cancelled: the sockets are closed.
    template <class F>
    Coroutine<Server> create_server(F&& factory, std::string_view host, int port,
                                    ServerOptions options);
    template <class F>
    Coroutine<Server> create_server(F&& factory, std::string_view host, int port);
    template <class F>
    Coroutine<Server> create_server(F&& factory, std::vector<std::string> hosts, int port,
                                    ServerOptions options);
    template <class F>
    Coroutine<Server> create_server(F&& factory, std::vector<std::string> hosts, int port);
    template <class F>
    Coroutine<Server> create_server(F&& factory, ServerOptions options);
    template <class F, class... A>
        requires(!detail::GivesPointer<F>)
    detail::Refused create_server(F&&, A&&...) {
        static_assert(
            detail::kRight<F>,
            "a protocol factory takes nothing and returns a std::shared_ptr to a protocol");
        return {};
    }
    // The same at a unix socket. A socket's file that is left over at `path` is removed first.
    // SV-03. Raises: ValueError; OSError "Address ... is already in use".
    // If cancelled: the socket is closed.
    template <class F>
    Coroutine<Server> create_unix_server(F&& factory, std::string_view path,
                                         UnixServerOptions options);
    template <class F>
    Coroutine<Server> create_unix_server(F&& factory, std::string_view path);

    // Opens a socket for datagrams with a transport and a protocol, `factory()`: a
    // std::shared_ptr to a class derived from DatagramProtocol. Returns the DatagramTransport and
    // that pointer, after connection_made(). Needs <asyncio/datagrams.hpp>. CN-06.
    // Raises: OSError; gaierror; ValueError "unexpected address family", "can not get address
    // information", "A datagram socket was expected, got ...", "socket modifier keyword arguments
    // can not be used when sock is specified. (...)"; TypeError "2-tuple is expected", "string is
    // expected"; what the factory raises.
    // If cancelled: the socket is closed.
    template <class F>
    auto create_datagram_endpoint(F&& factory, DatagramOptions options);
    template <class F>
        requires detail::GivesPointer<F>
    auto create_datagram_endpoint(F&& factory);
    template <class F, class... A>
        requires(!detail::GivesPointer<F>)
    detail::Refused create_datagram_endpoint(F&&, A&&...) {
        static_assert(
            detail::kRight<F>,
            "the factory gives a std::shared_ptr to a class derived from DatagramProtocol");
        return {};
    }
    // Sends a file, or a part of it, through a transport, behind what is buffered there; gives how
    // many bytes were sent. `file`: a descriptor, borrowed, whose position is behind them in the
    // end. Meanwhile nothing is received, and write() raises RuntimeError "unable to write;
    // sendfile is in progress". Where the system's sendfile cannot be used (TLS, a pipe) the file
    // is read on a thread and written, unless `options.fallback` is false. SF-01. Raises:
    // ValueError; OSError; SendfileNotAvailableError without fallback; RuntimeError "Transport is
    // closing", "sendfile is not supported for transport ...". If cancelled: a part was sent, which
    // the file's position tells.
    Coroutine<std::size_t> sendfile(const BaseTransport& transport, FileDescriptor file,
                                    SendfileOptions options);
    Coroutine<std::size_t> sendfile(const BaseTransport& transport, FileDescriptor file);
    // The same through a plain stream socket, which is borrowed and non-blocking. SF-02.
    // Raises: ValueError; OSError; SendfileNotAvailableError without fallback.
    // If cancelled: a part was sent, which the file's position tells.
    Coroutine<std::size_t> sock_sendfile(FileDescriptor sock, FileDescriptor file,
                                         SendfileOptions options);
    Coroutine<std::size_t> sock_sendfile(FileDescriptor sock, FileDescriptor file);

    // A future bound to this loop. EF-01.
    template <class T = void>
    Future<T> create_future(std::source_location where = std::source_location::current());
    // Runs `awaitable` as a task; the loop need not run yet. EF-02. See asyncio::create_task.
    template <class A>
    auto create_task(A&& awaitable, const TaskOptions& options);
    template <class A>
    auto create_task(A&& awaitable);
    // Called with each new task's options before the task is made; null, or eager_task_factory.
    // EF-03.
    void set_task_factory(TaskFactory factory);
    // What was set; null: none.
    TaskFactory get_task_factory() const;

    // Calls `fn()` on a thread of `executor` (null: the loop's own pool); starts at once. EF-04.
    // Cancelling the future cancels a job that has not begun.
    template <class F>
    auto run_in_executor(Executor* executor, F&& fn);
    template <class F>
    auto run_in_executor(std::nullptr_t, F&& fn) {
        return run_in_executor(static_cast<Executor*>(nullptr), std::forward<F>(fn));
    }
    template <class... A>
        requires(sizeof...(A) != 2)
    detail::Refused run_in_executor(A&&...) {
        static_assert(detail::kRight<A...>,
                      "run_in_executor() takes an executor, nullptr for the loop's own, and a "
                      "function: run_in_executor(nullptr, [=] { return f(x); })");
        return {};
    }
    // EF-05. The loop shares it; shutdown_default_executor and close end it.
    void set_default_executor(std::shared_ptr<ThreadPoolExecutor> executor);
    // LC-07. `timeout`: how long to wait for running jobs.
    // If cancelled: the threads are left to end by themselves.
    Coroutine<void> shutdown_default_executor(Delay timeout = std::nullopt);
    // Closes all suspended asynchronous generators. LC-06.
    // If cancelled: the closing of those not done is cancelled.
    Coroutine<void> shutdown_asyncgens();

    // What is told of errors that nobody can be given: those of callbacks, and of tasks whose
    // result nobody asked for. Null: default_exception_handler(). EH-02.
    void set_exception_handler(ExceptionHandler handler);
    // What was set; null: none.
    ExceptionHandler get_exception_handler() const;
    // Writes the report to the log. EH-03.
    void default_exception_handler(const ExceptionContext& context);
    // Reports an error: calls the handler; what that raises is reported by the default one. EH-04.
    void call_exception_handler(const ExceptionContext& context);

    // Debug mode: more checks, and reports of what takes long or was forgotten. EH-06, DM-01.
    void set_debug(bool on);
    bool get_debug() const noexcept;
    // EH-07: in debug mode callbacks that take at least this long are reported. Default 100 ms.
    Duration slow_callback_duration{100'000'000};  // nanoseconds

    // Called before and after each wait of the loop (a GUI's or an interpreter's lock). Null: none.
    // What `before` makes ready, schedules or stops counts for that wait; `after` follows each
    // `before` that returned. What they raise leaves the loop.
    void set_wait_hooks(detail::Function<void()> before, detail::Function<void()> after);
    // Chooses which of the `n` ready entries of this iteration runs next (0: the oldest), so that a
    // test can try other orders. Null: the order of asyncio.
    void set_pick_next(detail::Function<std::size_t(std::size_t n)> pick);

    // The name of the back end: "epoll", "io_uring", "virtual".
    const char* backend() const noexcept;
    // `<EpollEventLoop running=False closed=False debug=False>` (LC-15).
    std::string repr() const;

    // For the library.
    detail::Loop& impl() noexcept { return *impl_; }
    detail::LoopCore& core() noexcept;

  protected:
    explicit EventLoop(detail::Loop* impl);

  private:
    template <bool kPosted = false, class F>
    detail::Ref<detail::HandleState> make_handle(F fn, CallbackOptions options,
                                                 std::source_location where, bool timer) {
        if constexpr (std::is_invocable_v<F&>) {
            static_assert(!detail::kMakesCoroutine<F>,
                          "coroutines cannot be used with call_soon() or add_signal_handler(): "
                          "use create_task");
            return detail::Ref<detail::HandleState>::adopt(new detail::HandleStateOf<F, kPosted>(
                core(), detail::ContextSlot::use(options.context), where, timer, std::move(fn)));
        } else {
            static_assert(detail::kRight<F>,
                          "a callback is a function without parameters: capture what it needs, as "
                          "in [=] { f(x); }");
            return {};
        }
    }
    void add_handle(detail::HandleState& handle);
    void add_handle_threadsafe(detail::HandleState& handle);
    void add_timer_after(detail::HandleState& handle, Delay delay);
    void add_timer_at(detail::HandleState& handle, Deadline when);
    void add_watch(int fd, bool write, detail::Ref<detail::HandleState> handle);
    bool remove_watch(int fd, bool write);
    void check_signal(int sig) const;
    void add_signal(int sig, detail::Ref<detail::HandleState> handle);

    detail::Loop* impl_;
};

ASYNCIO_API std::ostream& operator<<(std::ostream& out, const EventLoop& loop);

// On epoll: sockets, files by thread.
class ASYNCIO_API EpollEventLoop : public EventLoop {
  public:
    // A new one. Raises: OSError.
    static std::unique_ptr<EventLoop> create();

  private:
    using EventLoop::EventLoop;
};

// On io_uring where the kernel and this build have it, else on epoll; a debug line says which and
// why.
class ASYNCIO_API UringEventLoop : public EventLoop {
  public:
    // A new one. Raises: OSError.
    static std::unique_ptr<EventLoop> create();

  private:
    using EventLoop::EventLoop;
};

// For tests: time starts at 0, stands still while anything is ready and then jumps to the next
// timer. With nothing to wait for it raises DeadlockError, which lists the waiting tasks and where
// they wait.
class ASYNCIO_API VirtualTimeEventLoop : public EventLoop {
  public:
    // A new one.
    static std::unique_ptr<EventLoop> create();

  private:
    using EventLoop::EventLoop;
};

// The best loop for this machine; ASYNCIO_BACKEND=epoll or io_uring chooses another,
// ASYNCIO_DEBUG=1 switches debug mode on. LC-10, DM-01. Raises: OSError; ValueError for another
// ASYNCIO_BACKEND.
ASYNCIO_API std::unique_ptr<EventLoop> new_event_loop();
// The loop that runs in this thread. LC-08. Raises: RuntimeError "no running event loop".
ASYNCIO_API EventLoop& get_running_loop();
// The running loop, else the thread's current one, which is made if none was set; that one belongs
// to the thread and is closed at its end. LC-09.
ASYNCIO_API EventLoop& get_event_loop();
// Makes `loop` the thread's current one, or none if null; it is not owned. LC-10.
ASYNCIO_API void set_event_loop(EventLoop* loop);

// A task factory: every task of the loop starts eagerly. EG-01.
ASYNCIO_API void eager_task_factory(EventLoop& loop, TaskOptions& options);

// The loops of this process that are not closed, in the order they were made; for tools.
ASYNCIO_API std::vector<EventLoop*> all_loops();

}  // namespace v1
}  // namespace asyncio
