// Child processes on a loop: the transport of one, which joins its pipes, its pidfd and its
// protocol, and Process over it. How one is started: os/processes.cpp.
//
// A child belongs to its loop from its start until its end was learned and its pipes are closed:
// the loop's list of members (see LoopMember) keeps the transport. Its end comes as an event of the
// pidfd; where the kernel has none a thread waits for it, without reaping, so that the number
// stays the child's until the loop's thread has heard of its end.
#include "asyncio/subprocess.hpp"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pthread.h>
#include <pwd.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <any>
#include <array>
#include <atomic>
#include <ostream>
#include <system_error>
#include <thread>
#include <type_traits>

#include "asyncio/exceptions.hpp"
#include "asyncio/locks.hpp"
#include "asyncio/log.hpp"
#include "asyncio/tasks.hpp"
#include "asyncio/tasks/gather.hpp"
#include "loop/loop.hpp"
#include "net/flow_control.hpp"
#include "net/pipes.hpp"
#include "os/posix.hpp"
#include "os/processes.hpp"

namespace asyncio {
inline namespace v1 {
// g++ copies what it passes to a coroutine bitwise, now and then: such a copy must do no harm.
static_assert(std::is_trivially_copyable_v<SubprocessOptions>);

namespace detail {

// ---- what is asked for -------------------------------------------------------------------------

// A copy of the arguments of create_subprocess_exec and its kin.
struct SubprocessPlan {
    SpawnRequest request;
    subprocess::Stdio stdio[3];
    std::size_t limit = 0;
    std::exception_ptr error;  // what is wrong with it
};

PlanPtr::~PlanPtr() { delete plan_; }

void add_argument(std::vector<std::string>& all, std::string a) { all.push_back(std::move(a)); }
std::vector<std::string> one_argument(std::string_view a) { return {std::string(a)}; }

namespace {

void check_text(std::string_view text) {
    if (text.find('\0') != std::string_view::npos) throw ValueError("embedded null byte");
}

std::vector<std::string> copy_environment(const subprocess::Environment& env) {
    std::vector<std::string> lines;
    env.for_each(
        [](void* context, std::string_view name, std::string_view value) {
            check_text(name);
            check_text(value);
            if (name.empty() || name.find('=') != std::string_view::npos) {
                throw ValueError("illegal environment variable name");
            }
            // Safe because `context` is the address of `lines`.
            auto& all = *static_cast<std::vector<std::string>*>(context);
            all.push_back(std::string(name) + '=' + std::string(value));
        },
        &lines);
    return lines;
}

[[noreturn]] void throw_unknown(const char* function, std::string_view name) {
    throw KeyError(std::string(function) + "(): name not found: " + quoted(name));
}

uid_t find_user(const subprocess::Identity& who) {
    if (who.name().empty()) {
        if (who.number() < 0)
            throw ValueError("User ID cannot be negative, got " + std::to_string(who.number()));
        return static_cast<uid_t>(who.number());
    }
    std::vector<char> memory(16 * 1024);
    passwd entry{};
    passwd* found = nullptr;
    ::getpwnam_r(std::string(who.name()).c_str(), &entry, memory.data(), memory.size(), &found);
    if (!found) throw_unknown("getpwnam", who.name());
    return found->pw_uid;
}

gid_t find_group(const subprocess::Identity& who) {
    if (who.name().empty()) {
        if (who.number() < 0)
            throw ValueError("Group ID cannot be negative, got " + std::to_string(who.number()));
        return static_cast<gid_t>(who.number());
    }
    std::vector<char> memory(64 * 1024);
    ::group entry{};
    ::group* found = nullptr;
    ::getgrnam_r(std::string(who.name()).c_str(), &entry, memory.data(), memory.size(), &found);
    if (!found) throw_unknown("getgrnam", who.name());
    return found->gr_gid;
}

void copy_identity(SpawnRequest& r, const SubprocessOptions& options) {
    if (options.user.given()) r.user = find_user(options.user);
    if (options.group.given()) r.group = find_group(options.group);
    if (!options.extra_groups.given()) return;
    r.extra_groups.emplace();
    for (const int g : options.extra_groups.numbers()) r.extra_groups->push_back(find_group(g));
}

void check_stdio(const subprocess::Stdio (&stdio)[3]) {
    for (int i = 0; i < 3; ++i) {
        if (stdio[i] == subprocess::STDOUT && i != 2) {
            throw ValueError("STDOUT can only be used for stderr");
        }
        if (stdio[i].value() < subprocess::Stdio().value()) {
            throw ValueError("Invalid file descriptor: " + std::to_string(stdio[i].value()));
        }
    }
}

void fill(SubprocessPlan& plan, std::vector<std::string> args, bool shell,
          const SubprocessOptions& o) {
    SpawnRequest& r = plan.request;
    if (shell) args.insert(args.begin(), {"/bin/sh", "-c"});
    if (args.empty()) throw ValueError("a program to run is needed");
    for (const std::string& a : args) check_text(a);
    check_text(o.executable);
    check_text(o.cwd);
    r.program = o.executable.empty() ? args.front() : std::string(o.executable);
    r.args = std::move(args);
    if (!o.cwd.empty()) r.cwd = std::string(o.cwd);
    if (o.env) r.env = copy_environment(o.env);
    r.pass_fds.assign(o.pass_fds.begin(), o.pass_fds.end());
    for (const int fd : r.pass_fds) {
        if (fd < 0) throw ValueError("bad value(s) in pass_fds");
    }
    r.close_fds = o.close_fds || !r.pass_fds.empty();
    r.start_new_session = o.start_new_session;
    r.process_group = o.process_group;
    if (o.umask) r.umask = static_cast<mode_t>(*o.umask);
    copy_identity(r, o);
    check_stdio(plan.stdio);
}

}  // namespace

PlanPtr plan_subprocess(std::vector<std::string> args, bool shell, const SubprocessOptions& o) {
    PlanPtr plan(new SubprocessPlan);
    const subprocess::Stdio stdio[] = {o.stdin_, o.stdout_, o.stderr_};
    std::copy(std::begin(stdio), std::end(stdio), plan->stdio);
    plan->limit = o.limit;
    try {
        if (o.limit == 0) throw ValueError("Limit cannot be <= 0");
        fill(*plan, std::move(args), shell, o);
    } catch (const std::exception&) {
        // Raised when the call is awaited, as all its errors are.
        plan->error = std::current_exception();
    }
    return plan;
}

// ---- the transport -----------------------------------------------------------------------------

class ChildTransport final : public TransportBase, public LoopMember {
  public:
    ChildTransport(EventLoop& loop, std::shared_ptr<SubprocessProtocol> protocol, Future<> made)
        : core_(loop.core()),
          protocol_(std::move(protocol)),
          made_(std::move(made)),
          context_(ContextSlot::copy_current()),
          exit_(*this) {
        core_.attach();
    }
    ~ChildTransport() override { core_.detach(); }

    // Starts the child; from here on the loop keeps the transport. Raises: see spawn().
    void start(const SubprocessPlan& plan);

    EventLoop& loop() const override {
        if (!core_.loop) throw RuntimeError("the loop of this transport is gone");
        return *core_.loop;
    }
    void close() override;
    bool is_closing() const override { return closing_; }
    void set_protocol(std::shared_ptr<BaseProtocol> protocol) override {
        auto p = std::dynamic_pointer_cast<SubprocessProtocol>(protocol);
        if (!p) throw TypeError("a child process needs a SubprocessProtocol");
        protocol_ = std::move(p);
    }
    std::shared_ptr<BaseProtocol> get_protocol() const override { return protocol_; }
    std::any get_extra_info(std::string_view name) const override {
        if (name == "subprocess") return static_cast<int>(pid_);
        return {};
    }
    std::string repr() const override;

    int pid() const noexcept { return pid_; }
    std::optional<int> returncode() const noexcept { return returncode_; }
    Event& exited() noexcept { return exited_; }
    Transport pipe(int fd) const {
        if (fd < 0 || fd > 2 || !pipes_[static_cast<std::size_t>(fd)].transport) return Transport();
        return Transport(pipes_[static_cast<std::size_t>(fd)].transport);
    }
    void send_signal(int signal);

    // Of a Process: its streams.
    StreamReader reader(int fd) const { return pipes_[static_cast<std::size_t>(fd)].reader; }
    const std::shared_ptr<StreamReaderProtocol>& stream(int fd) const {
        return pipes_[static_cast<std::size_t>(fd)].stream;
    }

    // Called by the protocols of the pipes.
    void pipe_data(int fd, std::string_view data);
    void pipe_lost(int fd, std::exception_ptr error);
    SubprocessProtocol* protocol() const noexcept { return protocol_.get(); }

    void loop_closed() noexcept override;

  private:
    struct Pipe {
        Ref<TransportBase> transport;  // null: none
        StreamReader reader;
        std::shared_ptr<StreamReaderProtocol> stream;
        bool connected = false;
    };
    // The pidfd is readable, or the waiting thread says so.
    class ExitNode final : public Node {
      public:
        explicit ExitNode(ChildTransport& c) noexcept : child_(c) {}
        bool queued() noexcept override {
            if (queued_) return false;
            child_.retain();
            return queued_ = true;
        }
        void run() override {
            const auto self = Ref<ChildTransport>::adopt(&child_);
            queued_ = false;
            child_.look_for_exit();
        }
        void drop() noexcept override {
            queued_ = false;
            child_.release();
        }
        const char* label() const noexcept override { return "child process ended"; }

      private:
        ChildTransport& child_;
        bool queued_ = false;
    };
    // One call of the protocol, P-10.
    enum class Kind { kMade, kData, kPipeLost, kExited, kLost };
    class Call final : public Node, public Pooled {
      public:
        Call(ChildTransport& c, Kind kind, int fd, std::string data, std::exception_ptr error)
            : child_(Ref<ChildTransport>::share(&c)), kind_(kind), fd_(fd), data_(std::move(data)) {
            error_ = std::move(error);
        }
        void run() override {
            const std::unique_ptr<Call> self(this);
            child_->call(kind_, fd_, data_, error_);
        }
        void drop() noexcept override { delete this; }
        const char* label() const noexcept override { return "SubprocessProtocol"; }

      private:
        Ref<ChildTransport> child_;
        Kind kind_;
        int fd_;
        std::string data_;
        std::exception_ptr error_;
    };

    Loop& engine() const noexcept { return static_cast<Loop&>(core_); }
    void watch_exit();
    void wait_on_thread();
    void connect(int fd, Socket end, std::size_t limit);
    void announce();
    void later(Kind kind, int fd = 0, std::string data = {}, std::exception_ptr error = nullptr);
    void call(Kind kind, int fd, const std::string& data, std::exception_ptr error);
    void call_protocol(Kind kind, int fd, const std::string& data, std::exception_ptr error);
    void look_for_exit();
    void close_pidfd() noexcept;
    void try_finish();
    void finish();
    void bury() noexcept;

    LoopCore& core_;
    std::shared_ptr<SubprocessProtocol> protocol_;  // null: of a Process, which needs no calls
    Future<> made_;
    ContextSlot context_;
    SubprocessTransport handle_;  // what connection_made() is given
    ExitNode exit_;
    std::array<Pipe, 3> pipes_;
    NodeQueue early_;  // calls before connection_made() is due
    Event exited_;
    std::optional<int> returncode_;
    pid_t pid_ = -1;
    int pidfd_ = -1;
    bool announced_ = false;
    bool closing_ = false;
    bool finished_ = false;  // connection_lost() is due
    bool gone_ = false;      // and was called
};

namespace {

// The protocol of a pipe of a child that has a protocol of its own.
class ChildPipe final : public Protocol {
  public:
    ChildPipe(ChildTransport& child, int fd)
        : child_(Ref<ChildTransport>::share(&child)), fd_(fd) {}

  private:
    void data_received(std::string_view data) override { child_->pipe_data(fd_, data); }
    void connection_lost(std::exception_ptr error) override {
        child_->pipe_lost(fd_, std::move(error));
    }
    void pause_writing() override {
        if (SubprocessProtocol* p = child_->protocol()) p->pause_writing();
    }
    void resume_writing() override {
        if (SubprocessProtocol* p = child_->protocol()) p->resume_writing();
    }

    Ref<ChildTransport> child_;
    int fd_;
};

// The protocol of a pipe of a Process.
class ChildStream final : public StreamReaderProtocol {
  public:
    ChildStream(StreamReader reader, ChildTransport& child, int fd)
        : StreamReaderProtocol(std::move(reader)),
          child_(Ref<ChildTransport>::share(&child)),
          fd_(fd) {}

  private:
    void connection_lost(std::exception_ptr error) override {
        StreamReaderProtocol::connection_lost(error);
        child_->pipe_lost(fd_, std::move(error));
    }

    Ref<ChildTransport> child_;
    int fd_;
};

// What a child is given, and what stays here. All is closed that was not taken.
struct ChildEnds {
    Socket ours[3];    // of the pipes
    Socket theirs[3];  // to be closed once it has started
};

void open_pipe(ChildEnds& ends, int fd) {
    int pipe[2];
    if (::pipe2(pipe, O_CLOEXEC) != 0) std::rethrow_exception(make_os_error(errno));
    const bool input = fd == 0;
    for (int& end : pipe) end = above_standard(end);
    ends.theirs[fd] = Socket(pipe[input ? 0 : 1]);
    ends.ours[fd] = Socket(pipe[input ? 1 : 0]);
    if (pipe[0] < 0 || pipe[1] < 0) std::rethrow_exception(make_os_error(errno));
    // Ours alone: a child expects its standard streams to block.
    const int flags = input ? O_WRONLY : O_RDONLY;
    if (::fcntl(ends.ours[fd].fileno(), F_SETFL, flags | O_NONBLOCK) != 0) {
        std::rethrow_exception(make_os_error(errno));
    }
}

// The descriptor that is to be the child's `fd`.
int open_stdio(ChildEnds& ends, const SubprocessPlan& plan, int fd) {
    const subprocess::Stdio what = plan.stdio[fd];
    if (what == subprocess::PIPE) {
        open_pipe(ends, fd);
        return ends.theirs[fd].fileno();
    }
    if (what == subprocess::DEVNULL) {
        const int null = above_standard(::open("/dev/null", O_RDWR | O_CLOEXEC));
        if (null < 0) std::rethrow_exception(make_os_error(errno));
        ends.theirs[fd] = Socket(null);
        return null;
    }
    return what.value() >= 0 ? what.value() : SpawnRequest::kInherit;
}

void open_all_stdio(ChildEnds& ends, const SubprocessPlan& plan, SpawnRequest& request) {
    for (int fd = 0; fd < 3; ++fd) request.stdio[fd] = open_stdio(ends, plan, fd);
    if (plan.stdio[2] == subprocess::STDOUT) {
        request.stdio[2] = request.stdio[1] < 0 ? 1 : request.stdio[1];
    }
}

}  // namespace

void ChildTransport::start(const SubprocessPlan& plan) {
    if (plan.error) std::rethrow_exception(plan.error);
    engine().check_open();
    if (engine().backend->is_virtual()) {
        throw NotImplementedError("a loop on virtual time starts no child processes");
    }
    ChildEnds ends;
    SpawnRequest request = plan.request;
    open_all_stdio(ends, plan, request);
    const Spawned spawned = spawn(request);
    pid_ = spawned.pid;
    pidfd_ = spawned.pidfd;
    for (Socket& s : ends.theirs) s.close();
    // From here on the loop would bury it; a failure below does so at once.
    retain();
    join(engine());
    try {
        watch_exit();
        for (int fd = 0; fd < 3; ++fd) {
            if (ends.ours[fd]) connect(fd, std::move(ends.ours[fd]), plan.limit);
        }
        announce();
    } catch (...) {
        // Raised again once nothing is left of it.
        for (Pipe& p : pipes_) {
            if (p.transport) p.transport->close();
        }
        bury();
        finish();
        throw;
    }
    handle_ = SubprocessTransport(Ref<TransportBase>::share(this));
}

void ChildTransport::watch_exit() {
    if (pidfd_ < 0) return wait_on_thread();
    engine().watch_nodes(pidfd_, &exit_, nullptr);
}

// The kernel has no pidfd. The thread does not reap: that is the loop's, when it has heard of it.
void ChildTransport::wait_on_thread() {
    static std::atomic<unsigned> counter{0};
    const std::string name = "waitpid-" + std::to_string(counter++);
    auto self = Ref<ChildTransport>::share(this);
    const auto wait = [self, name]() mutable {
        ::pthread_setname_np(::pthread_self(), name.substr(0, 15).c_str());
        siginfo_t info{};
        while (::waitid(P_PID, static_cast<id_t>(self->pid_), &info, WEXITED | WNOWAIT) < 0 &&
               errno == EINTR) {
        }
        // The entry takes the count over, which it gives back on the loop's thread.
        ChildTransport* const child = self.detach();
        if (!push_threadsafe(child->core_, &child->exit_)) child->release();
    };
    try {
        std::thread(wait).detach();
    } catch (const std::system_error&) {
        throw RuntimeError("can't start new thread");
    }
}

void ChildTransport::connect(int fd, Socket end, std::size_t limit) {
    Pipe& p = pipes_[static_cast<std::size_t>(fd)];
    std::shared_ptr<BaseProtocol> protocol;
    if (protocol_) {
        protocol = std::make_shared<ChildPipe>(*this, fd);
    } else {
        p.reader = StreamReader(limit);
        p.stream = std::make_shared<ChildStream>(p.reader, *this, fd);
        protocol = p.stream;
    }
    const auto make = fd == 0 ? &make_write_pipe : &make_read_pipe;
    p.transport = make(loop(), std::move(end), std::move(protocol), nullptr, PipeKind::kOwn);
    p.connected = true;
}

// Behind what the pipes have queued, so that they are open when connection_made() is called.
void ChildTransport::announce() {
    core_.push_ready(new Call(*this, Kind::kMade, 0, {}, nullptr));
    announced_ = true;
    while (!early_.empty()) core_.push_ready(early_.pop());
}

void ChildTransport::later(Kind kind, int fd, std::string data, std::exception_ptr error) {
    if (gone_) return;
    Node* const call = new Call(*this, kind, fd, std::move(data), std::move(error));
    if (announced_) {
        core_.push_ready(call);
    } else {
        early_.push(call);
    }
}

void ChildTransport::call(Kind kind, int fd, const std::string& data, std::exception_ptr error) {
    if (gone_) return;
    struct InContext {
        ContextSlot* const outer;
        ~InContext() { thread_state.context = outer; }
    } const scope{std::exchange(thread_state.context, &context_)};
    struct After {
        ChildTransport& child;
        const Kind kind;
        ~After() {
            if (kind == Kind::kLost) child.finish();
            if (kind != Kind::kMade) return;
            const Future<> made = std::exchange(child.made_, Future<>(nullptr));
            if (made && !made.done()) made.set_result();
        }
    } const after{*this, kind};
    if (protocol_) call_protocol(kind, fd, data, std::move(error));
}

void ChildTransport::call_protocol(Kind kind, int fd, const std::string& data,
                                   std::exception_ptr error) {
    const std::shared_ptr<SubprocessProtocol> p = protocol_;
    try {
        switch (kind) {
            case Kind::kMade:
                return p->connection_made(handle_);
            case Kind::kData:
                return p->pipe_data_received(fd, data);
            case Kind::kPipeLost:
                return p->pipe_connection_lost(fd, std::move(error));
            case Kind::kExited:
                return p->process_exited();
            case Kind::kLost:
                return p->connection_lost(nullptr);
        }
    } catch (...) {
        // As with every callback: the handler is told, the process goes on (SC-07).
        report_transport_error(*this, "Exception in a method of a SubprocessProtocol",
                               std::current_exception());
    }
}

void ChildTransport::pipe_data(int fd, std::string_view data) {
    later(Kind::kData, fd, std::string(data));
}

void ChildTransport::pipe_lost(int fd, std::exception_ptr error) {
    pipes_[static_cast<std::size_t>(fd)].connected = false;
    if (protocol_) later(Kind::kPipeLost, fd, {}, std::move(error));
    try_finish();
}

void ChildTransport::look_for_exit() {
    if (returncode_ || gone_) return;
    bool lost = false;
    const std::optional<int> code = reap(pid_, pidfd_, lost);
    if (!code) return;
    if (lost) {
        log::write(log::Level::WARNING, "child process pid " + std::to_string(pid_) +
                                            " exit status already read:  will report returncode "
                                            "255");
    }
    returncode_ = code;
    close_pidfd();
    if (core_.debug) log::write(log::Level::INFO, repr() + " exited");
    if (protocol_) later(Kind::kExited);
    exited_.set();
    try_finish();
}

void ChildTransport::close_pidfd() noexcept {
    if (pidfd_ < 0) return;
    try {
        engine().watch_nodes(pidfd_, nullptr, nullptr);
    } catch (const std::exception&) {
        // It is closed next, which removes it as well.
    }
    ::close(std::exchange(pidfd_, -1));
}

void ChildTransport::try_finish() {
    if (!returncode_ || finished_) return;
    for (const Pipe& p : pipes_) {
        if (p.connected) return;
    }
    finished_ = true;
    later(Kind::kLost);
}

// connection_lost() was called, or nobody was told of anything.
void ChildTransport::finish() {
    gone_ = true;
    closing_ = true;
    protocol_ = nullptr;
    for (Pipe& p : pipes_) p = Pipe();
    handle_ = SubprocessTransport();
    leave();
    release();  // the loop's count
}

void ChildTransport::close() {
    if (closing_) return;
    closing_ = true;
    for (Pipe& p : pipes_) {
        if (p.transport) p.transport->close();
    }
    if (!returncode_ && !gone_) send_signal_to(pid_, pidfd_, SIGKILL);
}

void ChildTransport::send_signal(int signal) {
    if (gone_) throw ProcessLookupError();
    if (returncode_) return;
    const int error = send_signal_to(pid_, pidfd_, signal);
    if (error != 0 && error != ESRCH) std::rethrow_exception(make_os_error(error));
}

// Nobody will hear of its end: it ends now.
void ChildTransport::bury() noexcept {
    if (returncode_ || pid_ < 0) return;
    const int pidfd = pidfd_ >= 0 ? ::fcntl(pidfd_, F_DUPFD_CLOEXEC, kFirstOwn) : -1;
    close_pidfd();
    kill_and_reap(pid_, pidfd);
    returncode_ = -SIGKILL;
}

void ChildTransport::loop_closed() noexcept {
    const auto self = Ref<ChildTransport>::adopt(this);  // the loop's count
    if (core_.debug) log::write(log::Level::WARNING, "unclosed transport " + repr());
    bury();
    while (!early_.empty()) early_.pop()->drop();
    gone_ = true;
    closing_ = true;
    made_ = nullptr;
    handle_ = SubprocessTransport();
    // The pipes close themselves, as members of the loop.
    for (Pipe& p : pipes_) p = Pipe();
    std::exchange(protocol_, nullptr).reset();
}

std::string ChildTransport::repr() const {
    std::string text = "<asyncio.SubprocessTransport";
    if (closing_) text += " closed";
    if (pid_ >= 0) text += " pid=" + std::to_string(pid_);
    if (returncode_) {
        text += " returncode=" + std::to_string(*returncode_);
    } else {
        text += pid_ >= 0 ? " running" : " not started";
    }
    static constexpr const char* kNames[] = {" stdin=", " stdout=", " stderr="};
    for (std::size_t i = 0; i < 3; ++i) {
        if (pipes_[i].transport) text += kNames[i] + pipes_[i].transport->repr();
    }
    return text + '>';
}

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
