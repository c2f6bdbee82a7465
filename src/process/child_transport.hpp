// The transport of a child process: joins its pipes, its pidfd and its protocol.
//
// A child belongs to its loop from its start until its end was learned and its pipes are closed:
// the loop's list of members (see LoopMember) keeps the transport. Its end comes as an event of the
// pidfd; where the kernel has none a thread waits for it, without reaping, so that the number
// stays the child's until the loop's thread has heard of its end.
#pragma once

#include <any>
#include <array>
#include <cstddef>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "asyncio/exceptions.hpp"
#include "asyncio/locks.hpp"
#include "asyncio/subprocess.hpp"
#include "loop/loop.hpp"
#include "os/processes.hpp"
#include "process/plan.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

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

}  // namespace detail
}  // namespace v1
}  // namespace asyncio
