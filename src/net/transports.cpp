// What every transport does unless its class overrides it: say that it cannot.
#include "asyncio/transports.hpp"

#include <ostream>

#include "asyncio/events.hpp"
#include "asyncio/exceptions.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {
namespace {

[[noreturn]] void unsupported(const TransportBase& transport, const char* method) {
    throw NotImplementedError(std::string(method) + "() is not supported by " + transport.repr());
}

}  // namespace

TransportBase::~TransportBase() = default;

void TransportBase::abort() { unsupported(*this, "abort"); }
void TransportBase::set_protocol(std::shared_ptr<BaseProtocol>) {
    unsupported(*this, "set_protocol");
}
std::shared_ptr<BaseProtocol> TransportBase::get_protocol() const {
    unsupported(*this, "get_protocol");
}
std::any TransportBase::get_extra_info(std::string_view) const { return {}; }

void TransportBase::expect_reader(const void* /*read*/, const void* /*task*/) noexcept {}
bool TransportBase::is_reading() const { unsupported(*this, "is_reading"); }
void TransportBase::pause_reading() { unsupported(*this, "pause_reading"); }
void TransportBase::resume_reading() { unsupported(*this, "resume_reading"); }

void TransportBase::write(std::string_view) { unsupported(*this, "write"); }
void TransportBase::writelines(std::span<const std::string_view> pieces) {
    for (const std::string_view piece : pieces) write(piece);
}
void TransportBase::write_eof() { unsupported(*this, "write_eof"); }
bool TransportBase::can_write_eof() const { return false; }
std::size_t TransportBase::get_write_buffer_size() const {
    unsupported(*this, "get_write_buffer_size");
}
std::pair<std::size_t, std::size_t> TransportBase::get_write_buffer_limits() const {
    unsupported(*this, "get_write_buffer_limits");
}
void TransportBase::set_write_buffer_limits(WriteBufferLimits) {
    unsupported(*this, "set_write_buffer_limits");
}

std::size_t TransportBase::get_read_buffer_size() const {
    unsupported(*this, "get_read_buffer_size");
}
std::pair<std::size_t, std::size_t> TransportBase::get_read_buffer_limits() const {
    unsupported(*this, "get_read_buffer_limits");
}
void TransportBase::set_read_buffer_limits(WriteBufferLimits) {
    unsupported(*this, "set_read_buffer_limits");
}

void TransportBase::sendto(std::string_view, const SocketAddress*) { unsupported(*this, "sendto"); }

Pieces::~Pieces() = default;
void Pieces::add(std::string_view piece) { all_.push_back(piece); }
void Pieces::join(std::string_view piece) { joined_ += piece; }
void Pieces::write_to(TransportBase& transport) {
    if (!joined_.empty()) all_.push_back(joined_);
    transport.writelines(all_);
}

void check_thread(const TransportBase& transport) {
    EventLoop* loop = nullptr;
    try {
        loop = &transport.loop();
    } catch (const RuntimeError&) {
        // The loop is gone, and runs nowhere.
        return;
    }
    check_thread(loop->core());
}

void throw_empty_transport() {
    throw RuntimeError("this transport handle is empty: it refers to no connection");
}

TransportHolder::TransportHolder(const BaseTransport& transport) noexcept
    : transport_(transport ? &transport.impl() : nullptr) {
    if (transport_) transport_->retain();
}
TransportHolder::TransportHolder(const TransportHolder& other) noexcept
    : transport_(other.transport_) {
    if (transport_) transport_->retain();
}
TransportHolder::~TransportHolder() {
    if (transport_) transport_->release();
}
TransportHolder::operator BaseTransport() const noexcept {
    return BaseTransport(Ref<TransportBase>::share(transport_));
}
std::string TransportHolder::repr() const { return BaseTransport(*this).repr(); }

}  // namespace detail

std::string BaseTransport::repr() const {
    return impl_ ? impl_->repr() : "<asyncio.Transport empty>";
}

Transport::operator ReadTransport() const {
    return *this ? ReadTransport(detail::Ref<detail::TransportBase>::share(&impl()))
                 : ReadTransport();
}

std::ostream& operator<<(std::ostream& out, const BaseTransport& transport) {
    return out << transport.repr();
}

}  // namespace v1
}  // namespace asyncio
