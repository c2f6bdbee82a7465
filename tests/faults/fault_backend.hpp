// A back end between a loop and its real one, in which one call fails as the system may let it
// fail: an error, or less than was asked for. Which call and how is a number (see install.cpp).
//
// It keeps the contract of backend.hpp: what is said not to be ready now is told to be ready in a
// later wait, and a descriptor whose watch() fails is forgotten.
#pragma once

#include <errno.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "asyncio/exceptions.hpp"
#include "backend/backend.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

// Of the whole process.
struct FaultPlan {
    // Whether this call, `call` for who reads of it, is the one that fails; `how` is the way then.
    virtual bool fails(const char* call, unsigned& how) noexcept = 0;

  protected:
    ~FaultPlan() = default;
};

class FaultBackend final : public Backend {
  public:
    FaultBackend(std::unique_ptr<Backend> real, FaultPlan& plan) noexcept
        : real_(std::move(real)), plan_(plan) {}

    void wait(std::int64_t timeout, ReadyQueue& ready) override {
        unsigned how = 0;
        if (plan_.fails("wait", how)) {
            if (how % 4 == 0) raise(one_of(how / 4, {EBADF, ENOMEM, EINVAL}));
            if (!real_->is_virtual()) timeout = 0;  // it is interrupted
        }
        tell(ready);
        if (!ready.empty() && !real_->is_virtual()) timeout = 0;
        real_->wait(timeout, ready);
        take_calls();
    }
    void watch(int fd, Node* on_read, Node* on_write) override {
        unsigned how = 0;
        if ((on_read || on_write) && plan_.fails("watch", how)) {
            real_->watch(fd, nullptr, nullptr);
            raise(one_of(how, {ENOMEM, ENOSPC, EBADF}));
        }
        real_->watch(fd, on_read, on_write);
    }

    void open(Channel& channel, int fd, ChannelKind kind) override {
        unsigned how = 0;
        if (plan_.fails("open", how)) raise(one_of(how, {ENOMEM, ENOSPC, EMFILE}));
        real_->open(channel, fd, kind);
    }
    void hand_over(Channel& from, Channel& to, ChannelKind kind) noexcept override {
        std::replace(readable_.begin(), readable_.end(), &from, &to);
        std::replace(writable_.begin(), writable_.end(), &from, &to);
        real_->hand_over(from, to, kind);
    }
    void close(Channel& channel) noexcept override {
        std::erase(readable_, &channel);
        std::erase(writable_, &channel);
        real_->close(channel);
    }
    Channel* channel_of(int fd) const noexcept override { return real_->channel_of(fd); }
    void close_channels() noexcept override { real_->close_channels(); }
    void await_room(Channel& channel) noexcept override { real_->await_room(channel); }

    Received receive(Channel& channel, std::size_t most) noexcept override {
        unsigned how = 0;
        if (!plan_.fails("receive", how)) return called(real_->receive(channel, most));
        if (how % 3 == 1) {
            const Transferred t = real_->receive_into(channel, {few_, sizeof few_});
            return called(Received{few_, t.size, t.error});
        }
        return {nullptr, 0, receive_error(channel, how)};
    }
    Transferred receive_into(Channel& channel, std::span<char> memory) noexcept override {
        unsigned how = 0;
        if (!plan_.fails("receive_into", how)) return called(real_->receive_into(channel, memory));
        if (how % 3 == 1) return called(real_->receive_into(channel, memory.first(1)));
        return {0, receive_error(channel, how)};
    }
    Transferred send(Channel& channel, std::string_view data) noexcept override {
        unsigned how = 0;
        if (!plan_.fails("send", how)) return real_->send(channel, data);
        if (how % 3 == 1 && data.size() > 1) {
            const Transferred t = real_->send(channel, data.substr(0, data.size() / 2));
            if (t.error == 0) has_room_later(channel);
            return t;
        }
        return {0, send_error(channel, how)};
    }
    Transferred send(Channel& channel, std::span<const std::string_view> pieces) noexcept override {
        unsigned how = 0;
        if (!plan_.fails("send", how)) return real_->send(channel, pieces);
        if (how % 3 == 1 && !pieces.empty() && pieces.front().size() > 1) {
            const auto first = pieces.front();
            const Transferred t = real_->send(channel, first.substr(0, first.size() / 2));
            if (t.error == 0) has_room_later(channel);
            return t;
        }
        return {0, send_error(channel, how)};
    }
    ReceivedDatagrams receive_datagrams(Channel& channel, DatagramRoom& room, bool internet,
                                        std::size_t most) noexcept override {
        unsigned how = 0;
        if (plan_.fails("receive_datagrams", how)) {
            if (how % 3 != 1) return {{}, receive_error(channel, how)};
            most = 1;
        }
        return called(real_->receive_datagrams(channel, room, internet, most));
    }
    Transferred send_datagrams(Channel& channel,
                               std::span<const DatagramToSend> datagrams) noexcept override {
        unsigned how = 0;
        if (plan_.fails("send_datagrams", how)) {
            if (how % 3 == 0) {
                has_room_later(channel);
                return {0, EAGAIN};
            }
            if (how % 3 == 2) return {0, one_of(how / 3, {ENOBUFS, ECONNREFUSED, EPERM, ENOMEM})};
            datagrams = datagrams.first(std::min<std::size_t>(datagrams.size(), 1));
        }
        return real_->send_datagrams(channel, datagrams);
    }
    int accept(Channel& channel, SocketAddress& from) noexcept override {
        unsigned how = 0;
        if (!plan_.fails("accept", how)) return called(real_->accept(channel, from));
        if (how % 2 == 0) {
            readable_.push_back(&channel);
            return -EAGAIN;
        }
        return -one_of(how / 2, {EMFILE, ENFILE, ENOBUFS, ENOMEM, ECONNABORTED, EPROTO, EPERM});
    }

    void wake() noexcept override { real_->wake(); }
    void leave_to_parent() noexcept override { real_->leave_to_parent(); }
    std::int64_t now() noexcept override { return real_->now(); }
    bool watches() const noexcept override {
        return real_->watches() || !readable_.empty() || !writable_.empty();
    }
    bool is_virtual() const noexcept override { return real_->is_virtual(); }
    const char* name() const noexcept override { return real_->name(); }
    const char* class_name() const noexcept override { return real_->class_name(); }

  private:
    [[noreturn]] static void raise(int error) {
        std::rethrow_exception(make_os_error(error, "injected"));
    }
    static int one_of(unsigned how, std::initializer_list<int> errors) noexcept {
        return errors.begin()[how % errors.size()];
    }
    template <class R>
    R called(R result) noexcept {
        called_ = true;
        return result;
    }
    void take_calls() noexcept {
        called_ = called_ || real_->called();
        real_->forget_calls();
    }
    // Room for one has been made by the plan's one fault: each of these is called once at most.
    int receive_error(Channel& channel, unsigned how) noexcept {
        if (how % 3 == 2) return one_of(how / 3, {ECONNRESET, ENOMEM, EBADF, EHOSTUNREACH});
        readable_.push_back(&channel);
        return EAGAIN;
    }
    int send_error(Channel& channel, unsigned how) noexcept {
        if (how % 3 == 2) return one_of(how / 3, {EPIPE, ECONNRESET, ENOBUFS, ENOMEM, EBADF});
        has_room_later(channel);
        return EAGAIN;
    }
    void has_room_later(Channel& channel) noexcept {
        channel.awaits_room_ = true;
        writable_.push_back(&channel);
    }
    void tell(ReadyQueue& ready) noexcept {
        for (Channel* c : std::exchange(readable_, {})) {
            c->readable_ = true;
            if (c->wants_read_) c->queue_read(ready);
        }
        for (Channel* c : std::exchange(writable_, {})) {
            if (!std::exchange(c->awaits_room_, false)) continue;
            c->queue_write(ready);
        }
    }

    std::unique_ptr<Backend> real_;
    FaultPlan& plan_;
    // What the next wait tells.
    std::vector<Channel*> readable_;
    std::vector<Channel*> writable_;
    char few_[1];
};

}  // namespace detail
}  // namespace v1
}  // namespace asyncio
