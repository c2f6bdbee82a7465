// Addresses and sockets as values, and the view of a transport's socket. TR-14.
#include <asyncio/exceptions.hpp>
#include <asyncio/sockets.hpp>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <sstream>
#include <string>
#include <string_view>
#include <unordered_set>
#include <utility>

#include "support.hpp"

namespace {

using asyncio::OSError;
using asyncio::Socket;
using asyncio::SocketAddress;
using asyncio::TransportSocket;
using asyncio::ValueError;
using namespace std::chrono_literals;
using namespace std::string_view_literals;

TEST(SocketAddress, OfNothing) {
    const SocketAddress none;
    EXPECT_FALSE(none);
    EXPECT_EQ(none.family(), AF_UNSPEC);
    EXPECT_EQ(none.host(), "");
    EXPECT_EQ(none.port(), 0);
    EXPECT_EQ(none.path(), "");
    EXPECT_EQ(none.repr(), "None");
}

TEST(SocketAddress, IPv4) {
    const SocketAddress a("127.0.0.1", 80);
    EXPECT_TRUE(a);
    EXPECT_EQ(a.family(), AF_INET);
    EXPECT_EQ(a.host(), "127.0.0.1");
    EXPECT_EQ(a.port(), 80);
    EXPECT_EQ(a.size(), sizeof(sockaddr_in));
    EXPECT_EQ(a.repr(), "('127.0.0.1', 80)");
    std::ostringstream out;
    out << a;
    EXPECT_EQ(out.str(), a.repr());
}

TEST(SocketAddress, IPv6WithFlowAndScope) {
    const SocketAddress a("fe80::1", 8080, 5, 7);
    EXPECT_EQ(a.family(), AF_INET6);
    EXPECT_EQ(a.host(), "fe80::1");
    EXPECT_EQ(a.flowinfo(), 5u);
    EXPECT_EQ(a.scope_id(), 7u);
    EXPECT_EQ(a.repr(), "('fe80::1', 8080, 5, 7)");
    EXPECT_EQ(SocketAddress("::1", 80).repr(), "('::1', 80, 0, 0)");
}

TEST(SocketAddress, IsOrderedAndHashedAsItIsCompared) {
    const SocketAddress all[] = {
        SocketAddress(),
        SocketAddress::unix(std::string_view("\0name", 5)),
        SocketAddress::unix("/a"),
        SocketAddress::unix("/b"),
        SocketAddress("1.2.3.4", 80),
        SocketAddress("1.2.3.4", 443),
        SocketAddress("200.2.3.4", 1),
        SocketAddress("::1", 80),
        SocketAddress("fe80::1", 80),
        SocketAddress("fe80::1", 80, 5),
        SocketAddress("fe80::1", 80, 5, 7),
    };
    const std::hash<SocketAddress> hash;
    for (const SocketAddress& a : all) {
        for (const SocketAddress& b : all) {
            EXPECT_EQ(a < b, &a < &b) << a << b;
            EXPECT_EQ(a == b, &a == &b) << a << b;
        }
        EXPECT_EQ(hash(a), hash(SocketAddress::from(a.data(), a.size())));
    }
    const std::unordered_set<SocketAddress> set(std::begin(all), std::end(all));
    EXPECT_EQ(set.size(), std::size(all));
}

TEST(SocketAddress, ScopeOfIPv6ByNameAndByNumber) {
    EXPECT_EQ(SocketAddress("fe80::1%lo", 1).scope_id(), ::if_nametoindex("lo"));
    EXPECT_EQ(SocketAddress("fe80::1%42", 1).scope_id(), 42u);
    EXPECT_EQ(SocketAddress("fe80::1%42", 1).host(), "fe80::1");
}

TEST(SocketAddress, RefusesWhatIsNoNumber) {
    const auto refused = [](std::string_view host) {
        return support::raised<ValueError>([&] { (void)SocketAddress(host, 1); });
    };
    EXPECT_EQ(refused("localhost"), "'localhost' does not appear to be an IPv4 or IPv6 address");
    EXPECT_EQ(refused(""), "'' does not appear to be an IPv4 or IPv6 address");
    EXPECT_EQ(refused("127.0.0.1%lo"),
              "'127.0.0.1%lo' does not appear to be an IPv4 or IPv6 address");
    EXPECT_EQ(refused("127.0.0.1\0x"sv),
              "'127.0.0.1\\x00x' does not appear to be an IPv4 or IPv6 address");
    EXPECT_EQ(refused("fe80::1%no_such_interface"),
              "'fe80::1%no_such_interface' does not appear to be an IPv4 or IPv6 address");
}

TEST(SocketAddress, RefusesPortAndFlowOutOfRange) {
    const auto port = [](int number) {
        return support::raised<ValueError>([&] { (void)SocketAddress("::1", number); });
    };
    EXPECT_EQ(port(-1), "port must be 0-65535.");
    EXPECT_EQ(port(65536), "port must be 0-65535.");
    EXPECT_EQ(SocketAddress("::1", 65535).port(), 65535);
    EXPECT_EQ(
        support::raised<ValueError>([] { (void)SocketAddress("::1", 1, std::uint32_t{1} << 20); }),
        "flowinfo must be 0-1048575.");
}

TEST(SocketAddress, UnixPath) {
    const SocketAddress a = SocketAddress::unix("/tmp/x.sock");
    EXPECT_EQ(a.family(), AF_UNIX);
    EXPECT_EQ(a.path(), "/tmp/x.sock");
    EXPECT_EQ(a.host(), "");
    EXPECT_EQ(a.repr(), "'/tmp/x.sock'");
    EXPECT_EQ(SocketAddress::unix("").repr(), "''");
}

TEST(SocketAddress, AbstractUnixName) {
    const SocketAddress a = SocketAddress::unix("\0na\0me"sv);
    EXPECT_EQ(a.path(), "\0na\0me"sv);
    EXPECT_EQ(a.repr(), "b'\\x00na\\x00me'");
    EXPECT_EQ(a.size(), offsetof(sockaddr_un, sun_path) + 6);
}

TEST(SocketAddress, LimitsOfUnixPaths) {
    const std::string longest(107, 'x');
    EXPECT_EQ(SocketAddress::unix(longest).path(), longest);
    EXPECT_EQ(support::raised<OSError>([&] { (void)SocketAddress::unix(longest + 'x'); }),
              "AF_UNIX path too long");
    const std::string abstract = '\0' + std::string(107, 'x');
    EXPECT_EQ(SocketAddress::unix(abstract).path(), abstract);
    EXPECT_EQ(support::raised<OSError>([&] { (void)SocketAddress::unix(abstract + 'x'); }),
              "AF_UNIX path too long");
    EXPECT_EQ(support::raised<ValueError>([] { (void)SocketAddress::unix("a\0b"sv); }),
              "embedded null byte");
}

TEST(SocketAddress, ComparesByMeaning) {
    EXPECT_EQ(SocketAddress("127.0.0.1", 1), SocketAddress("127.0.0.1", 1));
    EXPECT_FALSE(SocketAddress("127.0.0.1", 1) == SocketAddress("127.0.0.1", 2));
    EXPECT_FALSE(SocketAddress("127.0.0.1", 1) == SocketAddress("127.0.0.2", 1));
    EXPECT_EQ(SocketAddress("::1", 1), SocketAddress("0:0::1", 1));
    EXPECT_FALSE(SocketAddress("::1", 1) == SocketAddress("::1", 1, 0, 3));
    EXPECT_FALSE(SocketAddress("::1", 1) == SocketAddress("127.0.0.1", 1));
    EXPECT_EQ(SocketAddress::unix("a"), SocketAddress::unix("a"));
    EXPECT_FALSE(SocketAddress::unix("a") == SocketAddress::unix("\0a"sv));
    EXPECT_EQ(SocketAddress(), SocketAddress());
    // The padding of what the system gives may be anything.
    sockaddr_in raw{};
    std::memset(&raw, 0xff, sizeof raw);
    raw.sin_family = AF_INET;
    raw.sin_port = htons(1);
    raw.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(SocketAddress::from(&raw, sizeof raw), SocketAddress("127.0.0.1", 1));
}

TEST(SocketAddress, OfAnotherFamilyPrintsItsBytes) {
    const unsigned char raw[] = {16, 0, 1, 2, 'x'};  // AF_NETLINK, on any machine of this century
    EXPECT_EQ(SocketAddress::from(raw, sizeof raw).repr(), "(16, b'\\x01\\x02x')");
    EXPECT_FALSE(SocketAddress::from(raw, 1));
}

TEST(Socket, OwnsItsDescriptor) {
    Socket a(AF_INET, SOCK_STREAM);
    const int fd = a.fileno();
    EXPECT_TRUE(a);
    EXPECT_TRUE(::fcntl(fd, F_GETFL) & O_NONBLOCK);
    EXPECT_TRUE(::fcntl(fd, F_GETFD) & FD_CLOEXEC);
    Socket b = std::move(a);
    EXPECT_EQ(b.fileno(), fd);
    EXPECT_EQ(a.fileno(), -1);
    b.close();
    EXPECT_EQ(::fcntl(fd, F_GETFD), -1);
    b.close();
    EXPECT_EQ(b.fileno(), -1);
}

TEST(Socket, MoveAssignmentClosesTheOldOne) {
    Socket a(AF_INET, SOCK_STREAM);
    Socket b(AF_INET, SOCK_STREAM);
    const int closed = a.fileno();
    a = std::move(b);
    EXPECT_EQ(::fcntl(closed, F_GETFD), -1);
    EXPECT_EQ(a.type(), SOCK_STREAM);
}

TEST(Socket, DetachGivesItAway) {
    Socket a(AF_INET, SOCK_STREAM);
    const int fd = a.detach();
    EXPECT_FALSE(a);
    EXPECT_EQ(::close(fd), 0);
}

TEST(Socket, KnowsWhatItIs) {
    const Socket udp(AF_INET6, SOCK_DGRAM);
    EXPECT_EQ(udp.family(), AF_INET6);
    EXPECT_EQ(udp.type(), SOCK_DGRAM);
    EXPECT_EQ(udp.proto(), IPPROTO_UDP);
}

TEST(Socket, BindsListensAndConnects) {
    const Socket server(AF_INET, SOCK_STREAM);
    server.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1);
    EXPECT_NE(server.getsockopt(SOL_SOCKET, SO_REUSEADDR), 0);
    server.bind(SocketAddress("127.0.0.1", 0));
    server.listen(1);
    const SocketAddress at = server.getsockname();
    EXPECT_EQ(at.host(), "127.0.0.1");
    EXPECT_GT(at.port(), 0);
    EXPECT_EQ(support::raised<OSError>([&] { (void)server.getpeername(); }),
              "[Errno 107] Transport endpoint is not connected");
    const Socket second(AF_INET, SOCK_STREAM);
    EXPECT_EQ(support::raised<asyncio::AddressInUseError>([&] { second.bind(at); }),
              "[Errno 98] Address already in use");
}

TEST(Socket, PairIsConnected) {
    const auto [a, b] = Socket::pair();
    EXPECT_EQ(::send(a.fileno(), "hi", 2, 0), 2);
    char text[4];
    EXPECT_EQ(::recv(b.fileno(), text, sizeof text, 0), 2);
    const Socket copy = a.dup();
    EXPECT_NE(copy.fileno(), a.fileno());
    EXPECT_TRUE(::fcntl(copy.fileno(), F_GETFD) & FD_CLOEXEC);
    a.shutdown(SHUT_WR);
    EXPECT_EQ(::recv(b.fileno(), text, sizeof text, 0), 0);
    EXPECT_EQ(b.getpeername().repr(), "''");
}

TEST(Socket, Repr) {
    const Socket a(AF_INET, SOCK_STREAM);
    a.bind(SocketAddress("127.0.0.1", 0));
    const std::string fd = std::to_string(a.fileno());
    EXPECT_EQ(a.repr(), "<asyncio.Socket fd=" + fd +
                            ", family=2, type=1, proto=6, laddr=" + a.getsockname().repr() + '>');
    EXPECT_EQ(Socket().repr(), "<asyncio.Socket [closed] fd=-1>");
    std::ostringstream out;
    out << Socket();
    EXPECT_EQ(out.str(), "<asyncio.Socket [closed] fd=-1>");
}

TEST(Socket, AClosedOneRaises) {
    const Socket closed;
    EXPECT_EQ(support::raised<OSError>([&] { (void)closed.getsockname(); }),
              "[Errno 9] Bad file descriptor");
    EXPECT_EQ(support::raised<OSError>([&] { (void)closed.dup(); }),
              "[Errno 9] Bad file descriptor");
    EXPECT_EQ(support::raised<OSError>([] { (void)Socket(-1, SOCK_STREAM); }),
              "[Errno 97] Address family not supported by protocol");
}

TEST(TransportSocket, LooksWithoutOwning) {  // TR-14
    const auto [a, b] = Socket::pair(AF_UNIX, SOCK_STREAM);
    {
        const TransportSocket view(a.fileno());
        EXPECT_EQ(view.fileno(), a.fileno());
        EXPECT_EQ(view.family(), AF_UNIX);
        EXPECT_EQ(view.type(), SOCK_STREAM);
        EXPECT_EQ(view.proto(), 0);
        EXPECT_EQ(view.getsockname().path(), "");
        EXPECT_EQ(view.getpeername().family(), AF_UNIX);
        EXPECT_FALSE(view.get_inheritable());
        EXPECT_EQ(view.gettimeout(), 0);
        view.setsockopt(SOL_SOCKET, SO_KEEPALIVE, 1);
        EXPECT_EQ(view.getsockopt(SOL_SOCKET, SO_KEEPALIVE), 1);
        EXPECT_NE(view.dup().fileno(), a.fileno());
        EXPECT_EQ(view.repr().rfind("<asyncio.TransportSocket fd=", 0), 0u);
        view.shutdown(SHUT_WR);
    }
    char byte;
    EXPECT_EQ(::recv(b.fileno(), &byte, 1, 0), 0);
    EXPECT_NE(::fcntl(a.fileno(), F_GETFD), -1);
}

TEST(TransportSocket, CannotBeMadeBlocking) {  // TR-14
    const Socket a(AF_INET, SOCK_STREAM);
    const TransportSocket view(a.fileno());
    view.setblocking(false);
    view.settimeout(0s);
    EXPECT_EQ(support::raised<ValueError>([&] { view.setblocking(true); }),
              "setblocking(): transport sockets cannot be blocking");
    EXPECT_EQ(support::raised<ValueError>([&] { view.settimeout(1s); }),
              "settimeout(): only 0 timeout is allowed on transport sockets");
    EXPECT_EQ(support::raised<ValueError>([&] { view.settimeout(std::nullopt); }),
              "settimeout(): only 0 timeout is allowed on transport sockets");
}

}  // namespace
