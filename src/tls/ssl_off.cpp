// A build without TLS (ASYNCIO_TLS=OFF): the names are there, and say so when they are used.
// Nothing but making a context can be reached.
#include <utility>

#include "asyncio/coroutines.hpp"
#include "asyncio/exceptions.hpp"
#include "asyncio/ssl.hpp"
#include "net/ssl_factory.hpp"

namespace asyncio {
inline namespace v1 {
namespace {

[[noreturn]] void refuse() {
    throw RuntimeError("libasyncio was built without TLS (ASYNCIO_TLS=OFF)");
}

}  // namespace

namespace detail {

class SslContextState {
  public:
    void retain() noexcept {}
    void release() noexcept {}
};

class SslState {
  public:
    void retain() noexcept {}
    void release() noexcept {}
};

void append_alpn(std::string&, std::string_view) { refuse(); }
void check_tls(const TlsSettings&) { refuse(); }

TlsConnection make_tls_connection(EventLoop&, const TlsSettings&, std::shared_ptr<BaseProtocol>,
                                  Future<void>, bool) {
    refuse();
}

Coroutine<Transport> start_tls(Transport, std::shared_ptr<BaseProtocol>, TlsSettings, std::string) {
    refuse();
    co_return Transport();
}

}  // namespace detail

namespace ssl {

SSLContext::SSLContext(Purpose) : check_hostname(false), verify_mode(CERT_NONE) { refuse(); }
SSLContext::SSLContext(const SSLContext&) noexcept = default;
SSLContext::SSLContext(SSLContext&&) noexcept = default;
SSLContext& SSLContext::operator=(const SSLContext&) noexcept = default;
SSLContext& SSLContext::operator=(SSLContext&&) noexcept = default;
SSLContext::~SSLContext() = default;

void SSLContext::load_cert_chain(std::string_view, std::string_view, std::string_view) const {
    refuse();
}
void SSLContext::load_verify_locations(std::string_view, std::string_view, std::string_view) const {
    refuse();
}
void SSLContext::load_verify_locations(const CertLocations&) const { refuse(); }
void SSLContext::load_default_certs() const { refuse(); }
void SSLContext::set_alpn(std::string) const { refuse(); }
void SSLContext::set_ciphers(std::string_view) const { refuse(); }
Purpose SSLContext::purpose() const noexcept { return Purpose::SERVER_AUTH; }
std::size_t SSLContext::session_hits() const noexcept { return 0; }

SSLContext create_default_context(Purpose, const CertLocations&) { refuse(); }
const SSLContext& default_context() { refuse(); }

SSLObject::SSLObject() noexcept = default;
SSLObject::SSLObject(detail::Ref<detail::SslState> state) noexcept : state_(std::move(state)) {}
SSLObject::SSLObject(const SSLObject&) noexcept = default;
SSLObject& SSLObject::operator=(const SSLObject&) noexcept = default;
SSLObject::~SSLObject() = default;

std::string SSLObject::version() const { refuse(); }
std::optional<Cipher> SSLObject::cipher() const { refuse(); }
std::optional<std::string> SSLObject::compression() const { refuse(); }
std::optional<std::string> SSLObject::selected_alpn_protocol() const { refuse(); }
std::optional<Certificate> SSLObject::getpeercert() const { refuse(); }
bool SSLObject::session_reused() const { refuse(); }
bool SSLObject::server_side() const { refuse(); }
std::string SSLObject::server_hostname() const { refuse(); }

}  // namespace ssl
}  // namespace v1
}  // namespace asyncio
