// loop.start_tls(), with or without TLS in this build.
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "asyncio/base_events.hpp"
#include "asyncio/coroutines.hpp"
#include "asyncio/events.hpp"
#include "asyncio/exceptions.hpp"
#include "asyncio/transports.hpp"
#include "net/ssl_factory.hpp"

namespace asyncio {
inline namespace v1 {

Coroutine<Transport> EventLoop::start_tls(const Transport& transport,
                                          std::shared_ptr<BaseProtocol> protocol,
                                          const ssl::SSLContext& sslcontext,
                                          const TlsOptions& options) {
    if (!transport.impl().start_tls_compatible()) {
        throw TypeError("transport " + transport.repr() + " is not supported by start_tls()");
    }
    detail::TlsSettings settings{.context = sslcontext,
                                 .server_side = options.server_side,
                                 .server_hostname = std::nullopt,
                                 .handshake_timeout = options.ssl_handshake_timeout,
                                 .shutdown_timeout = options.ssl_shutdown_timeout};
    if (options.server_hostname) settings.server_hostname.emplace(*options.server_hostname);
    detail::check_tls(settings);
    return detail::start_tls(transport, std::move(protocol), std::move(settings));
}

Coroutine<Transport> EventLoop::start_tls(const Transport& transport,
                                          std::shared_ptr<BaseProtocol> protocol,
                                          const ssl::SSLContext& sslcontext) {
    return start_tls(transport, std::move(protocol), sslcontext, TlsOptions());
}

}  // namespace v1
}  // namespace asyncio
