// How a socket for datagrams is opened (CN-06), and its transport made.
#include "net/datagram_socket.hpp"

#include <cerrno>
#include <optional>
#include <type_traits>

#include "asyncio/exceptions.hpp"
#include "asyncio/log.hpp"
#include "asyncio/tasks.hpp"
#include "net/datagram_transport.hpp"
#include "net/fd_wait.hpp"
#include "net/resolver.hpp"
#include "os/blocking.hpp"

namespace asyncio {
inline namespace v1 {
// g++ copies what it passes to a coroutine bitwise, now and then: such a copy must do no harm.
static_assert(std::is_trivially_copyable_v<DatagramOptions>);

namespace detail {

// ---- the options -------------------------------------------------------------------------------

DatagramRequest::Address::Address(const HostPort& address)
    : host(address.host), port(address.port), given(address.given()) {}

DatagramRequest::DatagramRequest(const DatagramOptions& options)
    : sock(options.sock.fileno()),
      has_sock(options.sock.given()),
      local(options.local_addr),
      remote(options.remote_addr),
      family(options.family),
      proto(options.proto),
      flags(options.flags),
      reuse_port(options.reuse_port),
      allow_broadcast(options.allow_broadcast) {}

namespace {

std::string repr(const DatagramRequest::Address& address) {
    if (!address.port.given()) return quoted(address.host);
    return '(' + quoted(address.host) + ", " + std::to_string(address.port) + ')';
}

// The options that are set, as Python prints them: "family=2, reuse_port=True".
std::string modifiers(const DatagramRequest& request) {
    std::string text;
    const auto add = [&](bool given, const char* name, const std::string& value) {
        if (!given) return;
        if (!text.empty()) text += ", ";
        text += std::string(name) + '=' + value;
    };
    add(request.local.given, "local_addr", repr(request.local));
    add(request.remote.given, "remote_addr", repr(request.remote));
    add(request.family != 0, "family", std::to_string(request.family));
    add(request.proto != 0, "proto", std::to_string(request.proto));
    add(request.flags != 0, "flags", std::to_string(request.flags));
    add(request.reuse_port, "reuse_port", "True");
    add(request.allow_broadcast, "allow_broadcast", "True");
    return text;
}

// The socket that the caller has brought.
DatagramSocket take_socket(DatagramRequest& request) {
    Socket socket = std::move(request.sock);
    if (socket.type() == SOCK_STREAM) {
        throw ValueError("A datagram socket was expected, got " + socket.repr());
    }
    const std::string problems = modifiers(request);
    if (!problems.empty()) {
        throw ValueError(
            "socket modifier keyword arguments can not be used when sock is specified. (" +
            problems + ')');
    }
    make_non_blocking(socket.fileno());
    DatagramSocket taken;
    taken.socket = std::move(socket);
    return taken;
}

// ---- the addresses -----------------------------------------------------------------------------

// One way to open the socket.
struct Candidate {
    int family = 0;
    int proto = 0;
    std::optional<SocketAddress> local;
    std::optional<SocketAddress> remote;
};

// A socket that a program which has ended left at `path` would be in the way.
void remove_stale_socket(const std::string& path) {
    if (path.empty() || path[0] == '\0') return;
    const int error = remove_stale_file(path);
    if (error == 0) return;
    // Binding says what is wrong, if that fails too.
    log::write(log::Level::ERROR, "Unable to check or remove stale UNIX socket " + quoted(path) +
                                      ": " + detail::describe(make_os_error(error)));
}

Candidate unix_candidate(const DatagramRequest& request) {
    for (const auto* address : {&request.local, &request.remote}) {
        if (address->port.given()) throw TypeError("string is expected");
    }
    Candidate candidate{AF_UNIX, request.proto, {}, {}};
    if (request.local.given) {
        candidate.local = SocketAddress::unix(request.local.host);
        remove_stale_socket(request.local.host);
    }
    if (request.remote.given) candidate.remote = SocketAddress::unix(request.remote.host);
    return candidate;
}

// The candidate for that family and protocol, made if there is none.
Candidate& candidate_for(std::vector<Candidate>& candidates, const AddrInfo& info) {
    for (Candidate& c : candidates) {
        if (c.family == info.family && c.proto == info.proto) return c;
    }
    return candidates.emplace_back(Candidate{info.family, info.proto, {}, {}});
}

Coroutine<std::vector<Candidate>> internet_candidates(EventLoop& loop,
                                                      const DatagramRequest& request) {
    std::vector<Candidate> candidates;
    for (const bool is_local : {true, false}) {
        const DatagramRequest::Address& address = is_local ? request.local : request.remote;
        if (!address.given) continue;
        if (!address.port.given()) throw TypeError("2-tuple is expected");
        address.port.check();
        // No host to bind to means every address of this machine.
        const bool any = is_local && address.host.empty();
        const int flags = request.flags | (any ? AI_PASSIVE : 0);
        const std::vector<AddrInfo> infos = co_await resolve(
            loop, address.host, address.port, request.family, SOCK_DGRAM, request.proto, flags);
        if (infos.empty()) throw OSError("getaddrinfo() returned empty list");
        for (const AddrInfo& info : infos) {
            Candidate& candidate = candidate_for(candidates, info);
            (is_local ? candidate.local : candidate.remote) = info.address;
        }
    }
    std::erase_if(candidates, [&](const Candidate& c) {
        return (request.local.given && !c.local) || (request.remote.given && !c.remote);
    });
    if (candidates.empty()) throw ValueError("can not get address information");
    co_return candidates;
}

Coroutine<std::vector<Candidate>> find_candidates(EventLoop& loop, const DatagramRequest& request) {
    std::vector<Candidate> candidates;
    if (!request.local.given && !request.remote.given) {
        if (request.family == 0) throw ValueError("unexpected address family");
        candidates.push_back({request.family, request.proto, {}, {}});
    } else if (request.family == AF_UNIX) {
        candidates.push_back(unix_candidate(request));
    } else {
        candidates = co_await internet_candidates(loop, request);
    }
    co_return candidates;
}

Coroutine<DatagramSocket> open_candidate(EventLoop& loop, const DatagramRequest& request,
                                         const Candidate& candidate) {
    DatagramSocket opened;
    opened.socket = Socket(candidate.family, SOCK_DGRAM, candidate.proto);
    if (request.reuse_port) opened.socket.setsockopt(SOL_SOCKET, SO_REUSEPORT, 1);
    if (request.allow_broadcast) opened.socket.setsockopt(SOL_SOCKET, SO_BROADCAST, 1);
    if (candidate.local) opened.socket.bind(*candidate.local);
    if (candidate.remote) {
        if (!request.allow_broadcast) {
            co_await loop.sock_connect(opened.socket, *candidate.remote);
        }
        opened.remote = *candidate.remote;
    }
    co_return opened;
}

}  // namespace

Coroutine<DatagramSocket> open_datagram_socket(EventLoop& loop, DatagramRequest request) {
    check_awaited_here(loop);
    if (request.has_sock) co_return take_socket(request);
    const std::vector<Candidate> candidates = co_await find_candidates(loop, request);
    std::exception_ptr first_error;
    for (const Candidate& candidate : candidates) {
        Result<DatagramSocket> opened =
            co_await as_result(open_candidate(loop, request, candidate));
        if (opened.has_value()) co_return std::move(opened).value();
        if (!opened.holds<OSError>()) std::rethrow_exception(opened.error());
        if (!first_error) first_error = opened.error();
    }
    std::rethrow_exception(std::move(first_error));
}

// ---- for a transport and a protocol -------------------------------------------------------------

namespace {

void log_created(const DatagramRequest::Address& local, const DatagramRequest::Address& remote,
                 const DatagramTransport& transport) {
    std::string text = "Datagram endpoint ";
    if (local.given) text += "local_addr=" + repr(local) + ' ';
    text += "remote_addr=" + (remote.given ? repr(remote) : "None") + " created: ";
    log::write(local.given ? log::Level::INFO : log::Level::DEBUG, text + transport.repr());
}

}  // namespace

Coroutine<DatagramTransport> create_datagram_transport(EventLoop& loop, DatagramRequest request,
                                                       DatagramFactory factory) {
    const DatagramRequest::Address local = request.local;
    const DatagramRequest::Address remote = request.remote;
    DatagramSocket opened = co_await open_datagram_socket(loop, std::move(request));
    std::shared_ptr<DatagramProtocol> protocol = factory();
    if (!protocol) throw TypeError("the protocol factory returned no protocol");
    const Future<> made = loop.create_future();
    auto channel = Ref<DatagramChannel>::adopt(
        new DatagramChannel(loop, std::move(protocol), made, opened.remote));
    channel->open(std::move(opened.socket));
    DatagramTransport transport(Ref<TransportBase>::share(channel.get()));
    if (loop.get_debug()) log_created(local, remote, transport);
    const Result<void> outcome = co_await as_result(made);
    if (!outcome) {
        transport.close();
        std::rethrow_exception(outcome.error());
    }
    co_return transport;
}

}  // namespace detail
}  // namespace v1
}  // namespace asyncio
