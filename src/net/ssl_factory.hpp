// TLS as connections and servers see it: what to put between a transport and a user's protocol.
// Nothing of OpenSSL is in here.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "asyncio/coroutines.hpp"
#include "asyncio/futures.hpp"
#include "asyncio/protocols.hpp"
#include "asyncio/ssl.hpp"
#include "asyncio/time.hpp"
#include "asyncio/transports.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

// How one connection is secured, or all of a server. Made when a call is made: it owns everything.
struct TlsSettings {
    ssl::SSLContext context;  // with its data members as they were then
    bool server_side = false;
    // Of clients. Unset: there is no host to name. Empty: the name is not checked.
    std::optional<std::string> server_hostname = std::nullopt;
    Delay handshake_timeout = std::nullopt;  // nullopt: 60 s
    Delay shutdown_timeout = std::nullopt;   // nullopt: 30 s
};

// To be called when the user's call is made.
// Raises: ValueError "ssl_handshake_timeout should be a positive number, got ...", "check_hostname
// requires server_hostname", "Cannot set verify_mode to CERT_NONE when check_hostname is enabled.",
// for a name that is none; SSLError for a context of the other side.
void check_tls(const TlsSettings& settings);

struct TlsConnection {
    std::shared_ptr<BaseProtocol> protocol;  // for the transport below, which calls connection_made
    Ref<TransportBase> transport;            // for the user
};

// `user`: gets connection_made() when the handshake is over, if `call_connection_made`.
// `handshake`: a pending future, which is done then; its exception says why it failed. If it is
// cancelled nobody is told. Empty: nobody waits, and a failure is told to the debug log.
TlsConnection make_tls_connection(EventLoop& loop, const TlsSettings& settings,
                                  std::shared_ptr<BaseProtocol> user, Future<void> handshake,
                                  bool call_connection_made = true);

// loop.start_tls(). `early`: bytes that have been read from the transport already and belong to the
// handshake.
// If cancelled: the transport is closed.
Coroutine<Transport> start_tls(Transport transport, std::shared_ptr<BaseProtocol> protocol,
                               TlsSettings settings, std::string early = {});

}  // namespace detail
}  // namespace v1
}  // namespace asyncio
