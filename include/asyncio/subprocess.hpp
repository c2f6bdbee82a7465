// Child processes: create_subprocess_exec, create_subprocess_shell and Process, and the loop's
// subprocess_exec and subprocess_shell with SubprocessTransport. P-01 to P-13, TR-16.
//
// The end of a child is learned from its pidfd, on the loop that started it, in any thread; no
// SIGCHLD handler is installed. What the loop has started it also buries: there are no zombies,
// whether or not somebody waits. A child that still runs when its loop closes is killed.
#pragma once

#include <concepts>
#include <cstddef>
#include <exception>
#include <iosfwd>
#include <iterator>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "asyncio/coroutines.hpp"
#include "asyncio/detail/take.hpp"
#include "asyncio/events.hpp"
#include "asyncio/futures.hpp"
#include "asyncio/protocols.hpp"
#include "asyncio/sockets.hpp"
#include "asyncio/streams.hpp"
#include "asyncio/transports.hpp"

namespace asyncio {
inline namespace v1 {

namespace subprocess {

// What a standard stream of a child is connected to: one of the constants below, a descriptor, or a
// Socket (borrowed). P-03.
class Stdio {
  public:
    // Not said: INHERIT, or PIPE for the loop's subprocess_exec and subprocess_shell.
    constexpr Stdio() noexcept = default;
    // Negative numbers are those of Python's constants. Any other is refused later: ValueError.
    constexpr Stdio(int fd) noexcept : value_(fd) {}
    Stdio(const Socket& s) noexcept : value_(s.fileno()) {}
    // The number that it was made of.
    constexpr int value() const noexcept { return value_; }
    friend constexpr bool operator==(Stdio, Stdio) noexcept = default;

  private:
    int value_ = -5;
};

inline constexpr Stdio PIPE{-1};     // a new pipe to the parent
inline constexpr Stdio STDOUT{-2};   // of stderr_: the same as stdout_
inline constexpr Stdio DEVNULL{-3};  // /dev/null
inline constexpr Stdio INHERIT{-4};  // the parent's (Python's None)

// The environment of a child, by pointer: `.env = &map`, where the map is a std::map or any other
// range of pairs of names and values. Null: the parent's. It is copied by the call.
class Environment {
  public:
    constexpr Environment() noexcept = default;
    constexpr Environment(std::nullptr_t) noexcept {}
    template <class M>
        requires requires(const M& m) {
            { std::begin(m)->first } -> std::convertible_to<std::string_view>;
            { std::begin(m)->second } -> std::convertible_to<std::string_view>;
        }
    constexpr Environment(const M* map) noexcept : map_(map), each_(map ? &each<M> : nullptr) {}
    constexpr explicit operator bool() const noexcept { return map_ != nullptr; }

    // For the library: calls `add(context, name, value)` for each.
    using Add = void (*)(void* context, std::string_view name, std::string_view value);
    void for_each(Add add, void* context) const { each_(map_, add, context); }

  private:
    template <class M>
    static void each(const void* map, Add add, void* context) {
        for (const auto& [name, value] : *static_cast<const M*>(map)) add(context, name, value);
    }
    const void* map_ = nullptr;
    void (*each_)(const void*, Add, void*) = nullptr;
};

// Numbers of groups: a vector, an array, a span. An empty list is a list, too.
class Groups {
  public:
    constexpr Groups() noexcept = default;
    constexpr Groups(std::nullopt_t) noexcept {}
    template <class R>
        requires std::convertible_to<const R&, std::span<const int>>
    constexpr Groups(const R& numbers) noexcept : numbers_(numbers), given_(true) {}
    // Whether there is a list, and what is in it.
    constexpr bool given() const noexcept { return given_; }
    constexpr std::span<const int> numbers() const noexcept { return numbers_; }

  private:
    std::span<const int> numbers_;
    bool given_ = false;
};

// A user or a group: a number or a name.
class Identity {
  public:
    constexpr Identity() noexcept = default;
    constexpr Identity(int number) noexcept : number_(number), given_(true) {}
    constexpr Identity(const char* name) noexcept : name_(name), given_(true) {}
    constexpr Identity(std::string_view name) noexcept : name_(name), given_(true) {}
    // Whether it is said, and how: "" or -1 for what is not.
    constexpr bool given() const noexcept { return given_; }
    constexpr std::string_view name() const noexcept { return name_; }
    constexpr int number() const noexcept { return number_; }

  private:
    std::string_view name_;
    int number_ = -1;
    bool given_ = false;
};

}  // namespace subprocess

class SubprocessTransport;

// How a child is started. All is copied by the call.
struct SubprocessOptions {
    // What its standard input, output and error are: PIPE, DEVNULL, a descriptor; INHERIT if unset.
    subprocess::Stdio stdin_ = {};
    subprocess::Stdio stdout_ = {};
    subprocess::Stdio stderr_ = {};
    std::string_view cwd = {};                 // where it starts; empty: the current directory
    subprocess::Environment env = {};          // null: the parent's
    std::size_t limit = DEFAULT_STREAM_LIMIT;  // of the readers of stdout_ and stderr_, bytes
    std::string_view executable = {};          // run in place of args[0], which it is still told
    std::span<const int> pass_fds = {};        // further descriptors that it gets (then others not)
    bool close_fds = true;                     // false: it gets those that are not close-on-exec
    bool start_new_session = false;            // setsid(2)
    std::optional<int> process_group = {};     // setpgid(2); 0: one of its own
    std::optional<int> umask = {};             // umask(2); unset: the parent's
    subprocess::Identity user = {};            // setreuid(2)
    subprocess::Identity group = {};           // setregid(2)
    subprocess::Groups extra_groups = {};      // setgroups(2)
};

namespace detail {

class ChildTransport;
struct SubprocessPlan;

// Owns a plan, whose class only the library knows.
class ASYNCIO_API PlanPtr {
  public:
    explicit PlanPtr(SubprocessPlan* plan) noexcept : plan_(plan) {}
    PlanPtr(PlanPtr&& o) noexcept : plan_(detail::take(o.plan_)) {}
    PlanPtr& operator=(PlanPtr&&) = delete;
    ~PlanPtr();

    SubprocessPlan* operator->() const noexcept { return plan_; }
    SubprocessPlan& operator*() const noexcept { return *plan_; }

  private:
    SubprocessPlan* plan_;
};

// Copies what is asked for. What is wrong with it is said when it is used.
ASYNCIO_API PlanPtr plan_subprocess(std::vector<std::string> args, bool shell,
                                    const SubprocessOptions& options);
// Raises: as create_subprocess_exec.
ASYNCIO_API SubprocessTransport start_child(EventLoop& loop, PlanPtr plan,
                                            std::shared_ptr<SubprocessProtocol> protocol,
                                            Future<> made);
// Closes it and waits for its end (P-11).
ASYNCIO_API Coroutine<void> abandon_child(SubprocessTransport child);

// T, by a name that keeps templates of it from being compiled before they are used.
template <class T, class... A>
struct TypeForArguments {
    using type = T;
};
template <class T, class... A>
using TypeFor = typename TypeForArguments<T, A...>::type;

template <class A>
concept ProcessArgument =
    std::convertible_to<A, std::string_view> || std::convertible_to<A, std::string>;
template <class R>
concept ProcessArguments = !ProcessArgument<R> && requires(const R& r) {
    { *std::begin(r) } -> ProcessArgument;
};

template <class... A>
inline constexpr bool kStartsProcess = (ProcessArgument<A> && ...);
template <>
inline constexpr bool kStartsProcess<> = false;
template <class A>
inline constexpr bool kStartsProcess<A> = ProcessArgument<A> || ProcessArguments<A>;
template <class... A>
inline constexpr bool kStartsProcess<SubprocessOptions, A...> = kStartsProcess<A...>;

template <class A>
std::string to_argument(const A& a) {
    if constexpr (std::convertible_to<const A&, std::string_view>) {
        return std::string(static_cast<std::string_view>(a));
    } else {
        return static_cast<std::string>(a);
    }
}

// Compiled: each file that includes the library would else make this vector.
ASYNCIO_API void add_argument(std::vector<std::string>& all, std::string a);
ASYNCIO_API std::vector<std::string> one_argument(std::string_view a);

template <class... A>
auto to_arguments(const A&... args) -> std::vector<TypeFor<std::string, A...>> {
    std::vector<TypeFor<std::string, A...>> all;
    (add_argument(all, to_argument(args)), ...);
    return all;
}
template <ProcessArguments R>
auto to_arguments(const R& range) -> std::vector<TypeFor<std::string, R>> {
    std::vector<TypeFor<std::string, R>> all;
    for (const auto& a : range) add_argument(all, to_argument(a));
    return all;
}

}  // namespace detail

// A child process, low level: a shared handle, possibly empty. What the loop's subprocess_exec and
// subprocess_shell give. P-09.
class ASYNCIO_API SubprocessTransport : public BaseTransport {
  public:
    SubprocessTransport() noexcept = default;

    // The number of the process.
    int get_pid() const;
    // Its exit status, or minus the number of the signal that ended it; empty while it runs; 255 if
    // somebody else has reaped it (with a warning in the log). P-04.
    std::optional<int> get_returncode() const;
    // The transport of its standard input (0: to write), output (1) or error (2: to read); empty if
    // that is no pipe.
    Transport get_pipe_transport(int fd) const;
    // Sends it a signal. P-07. Does nothing if it has ended. Raises: ProcessLookupError once
    // connection_lost() was called; OSError for a wrong number.
    void send_signal(int signal) const;
    void terminate() const;  // SIGTERM
    void kill() const;       // SIGKILL
    // close(): closes its pipes, and kills it if it still runs.

    // For the library: the handle of a ChildTransport.
    explicit SubprocessTransport(detail::Ref<detail::TransportBase> child) noexcept
        : BaseTransport(std::move(child)) {}
    detail::ChildTransport& child() const;
};

// What communicate() gives: what the child wrote; empty where that is no pipe.
struct CommunicateResult {
    std::string stdout_;  // to its standard output
    std::string stderr_;  // to its standard error
};

// A child process: a shared handle, possibly empty. Made by create_subprocess_exec and
// create_subprocess_shell. P-04 to P-07.
class ASYNCIO_API Process {
  public:
    Process() noexcept = default;
    explicit operator bool() const noexcept { return static_cast<bool>(transport_); }

    // The number of the process.
    int pid() const { return transport_.get_pid(); }
    // As SubprocessTransport::get_returncode().
    std::optional<int> returncode() const { return transport_.get_returncode(); }
    // Waits until it has ended; gives the returncode. Its pipes may still be open, if others hold
    // them. Many tasks may wait. P-05.
    // If cancelled: the process runs on.
    [[nodiscard("co_await it")]] Coroutine<int> wait() const;
    // Writes `input` to its standard input and closes that, reads its standard output and error to
    // their ends, all at once, and waits for its end. That it does not read its input is no error.
    // P-06.
    // Raises: what reading its output raises.
    // If cancelled: the process runs on; what was read of a pipe that is not at its end stays in
    // its reader.
    [[nodiscard("co_await it")]] Coroutine<CommunicateResult> communicate() const;
    [[nodiscard("co_await it")]] Coroutine<CommunicateResult> communicate(
        std::string_view input) const;
    // Send it a signal, SIGTERM, SIGKILL. P-07. Do nothing if it has ended and its pipes are still
    // open.
    // Raises: ProcessLookupError if it has ended; OSError for a wrong number.
    void send_signal(int signal) const { transport_.send_signal(signal); }
    void terminate() const { transport_.terminate(); }
    void kill() const { transport_.kill(); }

    // The transport below, for what is said of the process besides.
    SubprocessTransport transport() const { return transport_; }
    // `<Process 1234>`.
    std::string repr() const;
    friend bool operator==(const Process& a, const Process& b) noexcept {
        return a.transport_ == b.transport_;
    }

    // Its pipes; empty where it has none.
    StreamWriter stdin_;
    StreamReader stdout_;
    StreamReader stderr_;

    // For the library.
    explicit Process(SubprocessTransport transport) noexcept : transport_(std::move(transport)) {}

  private:
    SubprocessTransport transport_;
};

ASYNCIO_API std::ostream& operator<<(std::ostream& out, const Process& process);

namespace detail {

ASYNCIO_API Coroutine<Process> create_process(PlanPtr plan);

// Owns `factory` and the plan until they are used.
template <class F>
using SubprocessPair = std::pair<SubprocessTransport,
                                 std::shared_ptr<typename std::invoke_result_t<F&>::element_type>>;

template <class F>
Coroutine<SubprocessPair<F>> run_subprocess(EventLoop& loop, F factory, PlanPtr plan) {
    auto protocol = factory();
    Future<> made = loop.create_future();
    SubprocessTransport child = start_child(loop, std::move(plan), protocol, made);
    const auto outcome = co_await as_result(made);
    if (!outcome.has_value()) {
        co_await abandon_child(child);
        std::rethrow_exception(outcome.error());
    }
    SubprocessPair<F> started(std::move(child), std::move(protocol));
    co_return started;
}

template <class F>
auto subprocess_pipes(EventLoop& loop, F&& factory, std::vector<std::string> args, bool shell,
                      SubprocessOptions options) {
    static_assert(kSafeTemporary<F>,
                  "name this factory first (auto f = ...; co_await subprocess_exec(f, ...)): this "
                  "compiler would copy its captures bitwise");
    for (subprocess::Stdio* s : {&options.stdin_, &options.stdout_, &options.stderr_}) {
        if (*s == subprocess::Stdio()) *s = subprocess::PIPE;
    }
    return run_subprocess<std::decay_t<F>>(loop, std::forward<F>(factory),
                                           plan_subprocess(std::move(args), shell, options));
}

}  // namespace detail

// Starts a program: `program` with a '/' or to be found in PATH (of `env`, if given), and its
// arguments, texts or what converts to std::string; or one range of them all. P-01.
// Raises (when awaited): FileNotFoundError, PermissionError, NotADirectoryError and other OSErrors
// with the program's name in them, or that of `cwd`; ValueError "embedded null byte", and for
// options that make no sense; KeyError for an unknown user or group.
// If cancelled: the child is killed, and its end awaited (P-11).
template <detail::ProcessArgument... A>
    requires(sizeof...(A) > 0)
ASYNCIO_CORO_WRAPPER [[nodiscard("co_await it")]] Coroutine<Process> create_subprocess_exec(
    SubprocessOptions options, const A&... args) {
    return detail::create_process(
        detail::plan_subprocess(detail::to_arguments(args...), false, options));
}
template <detail::ProcessArgument... A>
    requires(sizeof...(A) > 0)
ASYNCIO_CORO_WRAPPER [[nodiscard("co_await it")]] Coroutine<Process> create_subprocess_exec(
    const A&... args) {
    return create_subprocess_exec(SubprocessOptions(), args...);
}
template <detail::ProcessArguments R>
ASYNCIO_CORO_WRAPPER [[nodiscard("co_await it")]] Coroutine<Process> create_subprocess_exec(
    SubprocessOptions options, const R& args) {
    return detail::create_process(
        detail::plan_subprocess(detail::to_arguments(args), false, options));
}
template <detail::ProcessArguments R>
ASYNCIO_CORO_WRAPPER [[nodiscard("co_await it")]] Coroutine<Process> create_subprocess_exec(
    const R& args) {
    return create_subprocess_exec(SubprocessOptions(), args);
}
template <class... A>
    requires(!detail::kStartsProcess<A...>)
ASYNCIO_CORO_WRAPPER Coroutine<Process> create_subprocess_exec(const A&...) {
    static_assert(detail::kRight<A...>,
                  "create_subprocess_exec() takes options, if any, then a program and its "
                  "arguments, texts all of them: create_subprocess_exec(options, \"ls\", \"-l\")");
    return detail::Refused();
}

// Runs `command` by /bin/sh. P-02.
// Raises: as create_subprocess_exec.
// If cancelled: the shell is killed, and its end awaited (P-11).
[[nodiscard("co_await it")]] ASYNCIO_API Coroutine<Process> create_subprocess_shell(
    std::string_view command, SubprocessOptions options = {});

template <class F, class... A>
auto EventLoop::subprocess_exec(F&& factory, SubprocessOptions options, const A&... args) {
    return detail::subprocess_pipes(*this, std::forward<F>(factory), detail::to_arguments(args...),
                                    false, options);
}
template <class F, class A, class... More>
    requires(!std::is_same_v<A, SubprocessOptions>)
auto EventLoop::subprocess_exec(F&& factory, const A& program, const More&... args) {
    return detail::subprocess_pipes(*this, std::forward<F>(factory),
                                    detail::to_arguments(program, args...), false,
                                    SubprocessOptions());
}
template <class F>
auto EventLoop::subprocess_shell(F&& factory, std::string_view command, SubprocessOptions options) {
    return detail::subprocess_pipes(*this, std::forward<F>(factory), detail::one_argument(command),
                                    true, options);
}
template <class F>
auto EventLoop::subprocess_shell(F&& factory, std::string_view command) {
    return detail::subprocess_pipes(*this, std::forward<F>(factory), detail::one_argument(command),
                                    true, SubprocessOptions());
}

}  // namespace v1
}  // namespace asyncio
