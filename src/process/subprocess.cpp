// Process, over the transport of a child (child_transport.hpp), and the handles of both. How one is
// started: os/processes.cpp.
#include "asyncio/subprocess.hpp"

#include <csignal>
#include <ostream>
#include <type_traits>

#include "asyncio/exceptions.hpp"
#include "asyncio/tasks.hpp"
#include "asyncio/tasks/gather.hpp"
#include "process/child_transport.hpp"

namespace asyncio {
inline namespace v1 {
// g++ copies what it passes to a coroutine bitwise, now and then: such a copy must do no harm.
static_assert(std::is_trivially_copyable_v<SubprocessOptions>);

namespace detail {

SubprocessTransport start_child(EventLoop& loop, PlanPtr plan,
                                std::shared_ptr<SubprocessProtocol> protocol, Future<> made) {
    auto* const child = new ChildTransport(loop, std::move(protocol), std::move(made));
    SubprocessTransport handle(Ref<TransportBase>::adopt(child));
    child->start(*plan);
    return handle;
}

namespace {

Coroutine<int> wait_for_child(SubprocessTransport handle) {
    ChildTransport& child = handle.child();
    if (!child.returncode()) co_await child.exited().wait();
    co_return child.returncode().value_or(255);
}

}  // namespace

Coroutine<void> abandon_child(SubprocessTransport child) {
    child.close();
    static_cast<void>(co_await wait_for_child(child));
}

Coroutine<Process> create_process(PlanPtr plan) {
    EventLoop& loop = get_running_loop();
    Future<> made = loop.create_future();
    SubprocessTransport handle = start_child(loop, std::move(plan), nullptr, made);
    // Before it can end: then the transport forgets its pipes.
    ChildTransport& child = handle.child();
    Process process(handle);
    if (const Transport in = child.pipe(0)) process.stdin_ = StreamWriter(in, child.stream(0));
    process.stdout_ = child.reader(1);
    process.stderr_ = child.reader(2);
    const auto outcome = co_await as_result(made);
    if (!outcome.has_value()) {
        co_await abandon_child(handle);
        std::rethrow_exception(outcome.error());
    }
    co_return process;
}

}  // namespace detail

Coroutine<Process> create_subprocess_shell(std::string_view command, SubprocessOptions options) {
    return detail::create_process(
        detail::plan_subprocess(detail::one_argument(command), true, options));
}

// ---- handles -----------------------------------------------------------------------------------

detail::ChildTransport& SubprocessTransport::child() const {
    // Safe because the library makes no handle of anything else.
    return static_cast<detail::ChildTransport&>(impl());
}

int SubprocessTransport::get_pid() const { return child().pid(); }
std::optional<int> SubprocessTransport::get_returncode() const { return child().returncode(); }
Transport SubprocessTransport::get_pipe_transport(int fd) const { return child().pipe(fd); }
void SubprocessTransport::send_signal(int signal) const { child().send_signal(signal); }
void SubprocessTransport::terminate() const { send_signal(SIGTERM); }
void SubprocessTransport::kill() const { send_signal(SIGKILL); }

Coroutine<int> Process::wait() const {
    static_cast<void>(transport_.child());  // an empty handle is refused now
    return detail::wait_for_child(transport_);
}

namespace {

Coroutine<> feed(StreamWriter writer, std::optional<std::string> input) {
    if (!writer) co_return;
    if (input) writer.write(*input);
    input.reset();
    const auto drained = co_await as_result(writer.drain());
    writer.close();
    if (drained.has_value()) co_return;
    // P-06: a child need not read what it is given.
    if (drained.holds<BrokenPipeError>() || drained.holds<ConnectionResetError>()) co_return;
    std::rethrow_exception(drained.error());
}

Coroutine<std::string> read_all(StreamReader reader) {
    if (!reader) co_return std::string();
    co_return co_await reader.read();
}

Coroutine<CommunicateResult> talk(Process process, std::optional<std::string> input) {
    auto fed = feed(process.stdin_, std::move(input));
    auto out = read_all(process.stdout_);
    auto err = read_all(process.stderr_);
    auto done = co_await gather(std::move(fed), std::move(out), std::move(err));
    co_await process.wait();
    CommunicateResult result;
    result.stdout_ = std::move(std::get<1>(done));
    result.stderr_ = std::move(std::get<2>(done));
    co_return result;
}

}  // namespace

Coroutine<CommunicateResult> Process::communicate() const { return talk(*this, std::nullopt); }
Coroutine<CommunicateResult> Process::communicate(std::string_view input) const {
    return talk(*this, std::string(input));
}

std::string Process::repr() const {
    return transport_ ? "<Process " + std::to_string(pid()) + '>' : "<Process empty>";
}

std::ostream& operator<<(std::ostream& out, const Process& process) {
    return out << process.repr();
}

}  // namespace v1
}  // namespace asyncio
