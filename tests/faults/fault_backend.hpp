// A back end between a loop and its real one, in which one call fails as the system may let it
// fail: an error, or less than was asked for. Which call and how is a number (see install.cpp).
//
// It stands on the door for back ends alone, and keeps their contract: what is said not to be ready
// now is told to be ready in a later wait, and a descriptor whose watch() fails is forgotten.
#pragma once

#include <asyncio/component/backends.hpp>
#include <asyncio/exceptions.hpp>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

namespace faults {

using namespace asyncio;
using namespace asyncio::component;

// Of the whole process.
struct FaultPlan {
    // Whether this call, `call` for who reads of it, is the one that fails; `how` is the way then.
    virtual bool fails(const char* call, unsigned& how) noexcept = 0;

  protected:
    ~FaultPlan() = default;
};

class FaultBackend final : public ForwardingBackend {
  public:
    FaultBackend(std::unique_ptr<Backend> real, FaultPlan& plan)
        : ForwardingBackend(std::move(real)), plan_(plan) {}

    void wait(std::int64_t timeout, ReadyQueue& ready) override {
        unsigned how = 0;
        if (plan_.fails("wait", how)) {
            if (how % 4 == 0) raise(one_of(how / 4, {EBADF, ENOMEM, EINVAL}));
            if (!real().is_virtual()) timeout = 0;  // it is interrupted
        }
        tell(ready);
        if (!ready.empty() && !real().is_virtual()) timeout = 0;
        ForwardingBackend::wait(timeout, ready);
    }
    void watch(int fd, Node* on_read, Node* on_write) override {
        unsigned how = 0;
        if ((on_read || on_write) && plan_.fails("watch", how)) {
            real().watch(fd, nullptr, nullptr);
            raise(one_of(how, {ENOMEM, ENOSPC, EBADF}));
        }
        real().watch(fd, on_read, on_write);
    }

    void open(IoChannel& channel, int fd, ChannelKind kind) override {
        unsigned how = 0;
        if (plan_.fails("open", how)) raise(one_of(how, {ENOMEM, ENOSPC, EMFILE}));
        real().open(channel, fd, kind);
    }
    void hand_over(IoChannel& from, IoChannel& to, ChannelKind kind) noexcept override {
        if (readable_ == &from) readable_ = &to;
        if (writable_ == &from) writable_ = &to;
        real().hand_over(from, to, kind);
    }
    void close(IoChannel& channel) noexcept override {
        if (readable_ == &channel) readable_ = nullptr;
        if (writable_ == &channel) writable_ = nullptr;
        real().close(channel);
    }

    Received receive(IoChannel& channel, std::size_t most) noexcept override {
        unsigned how = 0;
        if (!plan_.fails("receive", how)) return ForwardingBackend::receive(channel, most);
        if (how % 3 == 1) {
            const Transferred t = real().receive_into(channel, {few_, sizeof few_});
            called_ = true;
            return {few_, t.size, t.error};
        }
        return {nullptr, 0, receive_error(channel, how)};
    }
    Transferred receive_into(IoChannel& channel, std::span<char> memory) noexcept override {
        unsigned how = 0;
        if (!plan_.fails("receive_into", how))
            return ForwardingBackend::receive_into(channel, memory);
        if (how % 3 == 1) return ForwardingBackend::receive_into(channel, memory.first(1));
        return {0, receive_error(channel, how)};
    }
    Transferred send(IoChannel& channel, std::string_view data) noexcept override {
        unsigned how = 0;
        if (!plan_.fails("send", how)) return real().send(channel, data);
        if (how % 3 == 1 && data.size() > 1) {
            const Transferred t = real().send(channel, data.substr(0, data.size() / 2));
            if (t.error == 0) has_room_later(channel);
            return t;
        }
        return {0, send_error(channel, how)};
    }
    Transferred send(IoChannel& channel,
                     std::span<const std::string_view> pieces) noexcept override {
        unsigned how = 0;
        if (!plan_.fails("send", how)) return real().send(channel, pieces);
        if (how % 3 == 1 && !pieces.empty() && pieces.front().size() > 1) {
            const auto first = pieces.front();
            const Transferred t = real().send(channel, first.substr(0, first.size() / 2));
            if (t.error == 0) has_room_later(channel);
            return t;
        }
        return {0, send_error(channel, how)};
    }
    ReceivedDatagrams receive_datagrams(IoChannel& channel, DatagramRoom& room, bool internet,
                                        std::size_t most) noexcept override {
        unsigned how = 0;
        if (plan_.fails("receive_datagrams", how)) {
            if (how % 3 != 1) return {{}, receive_error(channel, how)};
            most = 1;
        }
        return ForwardingBackend::receive_datagrams(channel, room, internet, most);
    }
    Transferred send_datagrams(IoChannel& channel,
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
        return real().send_datagrams(channel, datagrams);
    }
    int accept(IoChannel& channel, SocketAddress& from) noexcept override {
        unsigned how = 0;
        if (!plan_.fails("accept", how)) return ForwardingBackend::accept(channel, from);
        if (how % 2 == 0) {
            readable_ = &channel;
            return -EAGAIN;
        }
        return -one_of(how / 2, {EMFILE, ENFILE, ENOBUFS, ENOMEM, ECONNABORTED, EPROTO, EPERM});
    }

    bool watches() const noexcept override { return real().watches() || readable_ || writable_; }

  private:
    [[noreturn]] static void raise(int error) {
        std::rethrow_exception(make_os_error(error, "injected"));
    }
    static int one_of(unsigned how, std::initializer_list<int> errors) noexcept {
        return errors.begin()[how % errors.size()];
    }
    int receive_error(IoChannel& channel, unsigned how) noexcept {
        if (how % 3 == 2) return one_of(how / 3, {ECONNRESET, ENOMEM, EBADF, EHOSTUNREACH});
        readable_ = &channel;
        return EAGAIN;
    }
    int send_error(IoChannel& channel, unsigned how) noexcept {
        if (how % 3 == 2) return one_of(how / 3, {EPIPE, ECONNRESET, ENOBUFS, ENOMEM, EBADF});
        has_room_later(channel);
        return EAGAIN;
    }
    void has_room_later(IoChannel& channel) noexcept {
        state_of(channel).awaits_room = true;
        writable_ = &channel;
    }
    void tell(ReadyQueue& ready) noexcept {
        if (IoChannel* const c = std::exchange(readable_, nullptr)) {
            state_of(*c).readable = true;
            if (state_of(*c).wants_read) queue_read(*c, ready);
        }
        if (IoChannel* const c = std::exchange(writable_, nullptr)) {
            if (std::exchange(state_of(*c).awaits_room, false)) queue_write(*c, ready);
        }
    }

    FaultPlan& plan_;
    // What the next wait tells: one at most, as the plan fails one call.
    IoChannel* readable_ = nullptr;
    IoChannel* writable_ = nullptr;
    char few_[1];
};

}  // namespace faults
