#include "process/child_transport.hpp"

#include <atomic>
#include <cerrno>
#include <csignal>
#include <system_error>
#include <thread>

#include "asyncio/log.hpp"
#include "net/flow_control.hpp"
#include "net/pipes.hpp"
#include "os/descriptors.hpp"
#include "os/threads.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {
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

void open_pipe_for(ChildEnds& ends, int fd) {
    int pipe[2];
    open_pipe(pipe);
    const bool input = fd == 0;
    ends.theirs[fd] = Socket(pipe[input ? 0 : 1]);
    ends.ours[fd] = Socket(pipe[input ? 1 : 0]);
    // Ours alone: a child expects its standard streams to block.
    const int flags = input ? O_WRONLY : O_RDONLY;
    if (::fcntl(ends.ours[fd].fileno(), F_SETFL, flags | O_NONBLOCK) != 0) fail();
}

// The descriptor that is to be the child's `fd`.
int open_stdio(ChildEnds& ends, const SubprocessPlan& plan, int fd) {
    const subprocess::Stdio what = plan.stdio[fd];
    if (what == subprocess::PIPE) {
        open_pipe_for(ends, fd);
        return ends.theirs[fd].fileno();
    }
    if (what == subprocess::DEVNULL) {
        ends.theirs[fd] = Socket(checked(::open("/dev/null", O_RDWR | O_CLOEXEC)));
        return ends.theirs[fd].fileno();
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
        name_this_thread(name.substr(0, kLongestThreadName).c_str());
        await_end(self->pid_);
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
    const int pidfd = pidfd_ >= 0 ? duplicate(pidfd_) : -1;
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

}  // namespace detail
}  // namespace v1
}  // namespace asyncio
