// A socket as a channel of the back end, for the transport that owns it.
#pragma once

#include <any>
#include <string>
#include <string_view>

#include "asyncio/component/io_channels.hpp"
#include "asyncio/sockets.hpp"
#include "loop/loop.hpp"
#include "net/descriptor_owner.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

// See DescriptorOwner. `Self` has peername(), which get_extra_info("peername") gives, and what its
// nodes for reading and writing do.
template <class Self>
class ChannelRegistration : public IoChannel, public ReadNode<Self>, public WriteNode<Self> {
  public:
    std::string describe() const final { return "transport " + self().repr(); }
    bool in_use() const noexcept final { return !self().is_closing(); }

  protected:
    static constexpr std::string_view kInfo = "socket";

    ChannelRegistration() noexcept
        : IoChannel(static_cast<ReadNode<Self>&>(*this), static_cast<WriteNode<Self>&>(*this)) {}
    ~ChannelRegistration() = default;

    std::any address(std::string_view name, int fd) const {
        if (name == "peername") return self().peername();
        if (name != "sockname" || fd < 0) return {};
        return TransportSocket(fd).getsockname();
    }
    void give_back(Loop& loop, int fd) noexcept {
        loop.backend->close(*this);
        Socket(fd).close();
    }

  private:
    const Self& self() const noexcept { return static_cast<const Self&>(*this); }
};

template <class Self, class P, class Handle>
using ChannelOwner = DescriptorOwner<Self, P, Handle, ChannelRegistration<Self>>;

}  // namespace detail
}  // namespace v1
}  // namespace asyncio
