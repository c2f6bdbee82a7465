// What is known of a secured connection: SSLObject, and what the peer's certificate says.
#include <cstdio>
#include <optional>
#include <string>
#include <utility>

#include "asyncio/exceptions.hpp"
#include "asyncio/ssl.hpp"
#include "tls/openssl.hpp"
#include "tls/ssl_state.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

// ---- certificates -------------------------------------------------------------------------------

namespace {

std::string raw_text_of(const ASN1_STRING* s) {
    // Safe because bytes may be read as chars.
    return {reinterpret_cast<const char*>(ASN1_STRING_get0_data(s)),
            static_cast<std::size_t>(ASN1_STRING_length(s))};
}

std::string text_of(const ASN1_STRING* s) {
    unsigned char* utf8 = nullptr;
    const int size = ASN1_STRING_to_UTF8(&utf8, s);
    if (size < 0) {
        clear_errors();
        return {};
    }
    // Safe because UTF-8 is bytes, which may be read as chars.
    std::string text(reinterpret_cast<const char*>(utf8), static_cast<std::size_t>(size));
    OPENSSL_free(utf8);
    return text;
}

std::string object_name(const ASN1_OBJECT* object) {
    char text[128];
    OBJ_obj2txt(text, sizeof text, object, 0);
    return text;
}

ssl::Certificate::Names names_of(const X509_NAME* name) {
    ssl::Certificate::Names names;
    for (int i = 0; i < X509_NAME_entry_count(name); ++i) {
        const X509_NAME_ENTRY* entry = X509_NAME_get_entry(name, i);
        names.emplace_back(object_name(X509_NAME_ENTRY_get_object(entry)),
                           text_of(X509_NAME_ENTRY_get_data(entry)));
    }
    return names;
}

std::string contents_of(BIO* bio) {
    char* data = nullptr;
    const long size = BIO_get_mem_data(bio, &data);
    return {data, static_cast<std::size_t>(size)};
}

std::string time_text(const ASN1_TIME* time) {
    const BioPtr bio(BIO_new(BIO_s_mem()));
    if (!bio || ASN1_TIME_print(bio.get(), time) != 1) return {};
    return contents_of(bio.get());
}

std::string ip_text(const ASN1_OCTET_STRING* ip) {
    const std::string bytes = raw_text_of(ip);
    const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(bytes[i]); };
    std::string text;
    if (bytes.size() == 4) {
        for (std::size_t i = 0; i < 4; ++i) text += (i ? "." : "") + std::to_string(byte(i));
        return text;
    }
    if (bytes.size() != 16) return "<invalid>";
    for (std::size_t i = 0; i < 16; i += 2) {
        char group[8];
        std::snprintf(group, sizeof group, "%s%X", i ? ":" : "", byte(i) << 8 | byte(i + 1));
        text += group;
    }
    return text;
}

ssl::Certificate::Names alternative_names(const X509* certificate) {
    ssl::Certificate::Names names;
    auto* all = static_cast<GENERAL_NAMES*>(
        X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr));
    if (!all) return names;
    for (int i = 0; i < sk_GENERAL_NAME_num(all); ++i) {
        const GENERAL_NAME* name = sk_GENERAL_NAME_value(all, i);
        if (name->type == GEN_DNS) names.emplace_back("DNS", raw_text_of(name->d.dNSName));
        if (name->type == GEN_EMAIL) names.emplace_back("email", raw_text_of(name->d.rfc822Name));
        if (name->type == GEN_URI) {
            names.emplace_back("URI", raw_text_of(name->d.uniformResourceIdentifier));
        }
        if (name->type == GEN_IPADD) names.emplace_back("IP Address", ip_text(name->d.iPAddress));
    }
    GENERAL_NAMES_free(all);
    return names;
}

std::string serial_text(const X509* certificate) {
    const BignumPtr number(ASN1_INTEGER_to_BN(X509_get0_serialNumber(certificate), nullptr));
    char* text = number ? BN_bn2hex(number.get()) : nullptr;
    if (!text) return {};
    std::string result = text;
    OPENSSL_free(text);
    return result;
}

}  // namespace

ssl::Certificate read_certificate(X509* certificate) {
    ssl::Certificate c;
    c.subject = names_of(X509_get_subject_name(certificate));
    c.issuer = names_of(X509_get_issuer_name(certificate));
    c.version = static_cast<int>(X509_get_version(certificate)) + 1;
    c.serial_number = serial_text(certificate);
    c.not_before = time_text(X509_get0_notBefore(certificate));
    c.not_after = time_text(X509_get0_notAfter(certificate));
    c.subject_alt_name = alternative_names(certificate);
    unsigned char* der = nullptr;
    const int size = i2d_X509(certificate, &der);
    // Safe because bytes may be read as chars.
    if (size > 0) c.der.assign(reinterpret_cast<const char*>(der), static_cast<std::size_t>(size));
    OPENSSL_free(der);
    clear_errors();
    return c;
}

}  // namespace detail

namespace ssl {

SSLObject::SSLObject() noexcept = default;
SSLObject::SSLObject(detail::Ref<detail::SslState> state) noexcept : state_(std::move(state)) {}
SSLObject::SSLObject(const SSLObject&) noexcept = default;
SSLObject& SSLObject::operator=(const SSLObject&) noexcept = default;
SSLObject::~SSLObject() = default;

namespace {

detail::SslState& checked(const detail::Ref<detail::SslState>& state) {
    if (!state) throw RuntimeError("this SSLObject is empty: it refers to no connection");
    return *state;
}

}  // namespace

std::string SSLObject::version() const {
    SSL* s = checked(state_).ssl();
    return SSL_get_session(s) && SSL_get_current_cipher(s) ? SSL_get_version(s) : "";
}

std::optional<Cipher> SSLObject::cipher() const {
    const SSL_CIPHER* c = SSL_get_current_cipher(checked(state_).ssl());
    if (!c) return std::nullopt;
    return Cipher{SSL_CIPHER_get_name(c), SSL_CIPHER_get_version(c),
                  SSL_CIPHER_get_bits(c, nullptr)};
}

std::optional<std::string> SSLObject::compression() const { return std::nullopt; }

std::optional<std::string> SSLObject::selected_alpn_protocol() const {
    const unsigned char* name = nullptr;
    unsigned int size = 0;
    SSL_get0_alpn_selected(checked(state_).ssl(), &name, &size);
    if (size == 0) return std::nullopt;
    // Safe because bytes may be read as chars.
    return std::string(reinterpret_cast<const char*>(name), size);
}

std::optional<Certificate> SSLObject::getpeercert() const {
    X509* certificate = SSL_get0_peer_certificate(checked(state_).ssl());
    if (!certificate) return std::nullopt;
    return detail::read_certificate(certificate);
}

bool SSLObject::session_reused() const { return SSL_session_reused(checked(state_).ssl()) == 1; }
bool SSLObject::server_side() const { return checked(state_).server_side(); }

std::string SSLObject::server_hostname() const {
    const detail::SslState& state = checked(state_);
    if (!state.server_side() || !state.server_hostname().empty()) return state.server_hostname();
    const char* name = SSL_get_servername(state.ssl(), TLSEXT_NAMETYPE_host_name);
    return name ? name : "";
}

}  // namespace ssl
}  // namespace v1
}  // namespace asyncio
