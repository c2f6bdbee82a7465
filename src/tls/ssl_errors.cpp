// OpenSSL's errors as SSLError and SSLCertVerificationError, in CPython's words.
#include <cctype>
#include <string>
#include <string_view>

#include "asyncio/exceptions.hpp"
#include "tls/openssl.hpp"
#include "tls/ssl_state.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {
namespace {

// "certificate verify failed" -> "CERTIFICATE_VERIFY_FAILED", as OpenSSL's own names of reasons.
std::string mnemonic(std::string_view text) {
    std::string name;
    for (const char c : text) {
        const auto u = static_cast<unsigned char>(c);
        name += std::isalnum(u) ? static_cast<char>(std::toupper(u)) : '_';
    }
    return name;
}

std::string library_name(int library) {
    switch (library) {
        case ERR_LIB_SSL:
            return "SSL";
        case ERR_LIB_X509:
            return "X509";
        case ERR_LIB_PEM:
            return "PEM";
        default:
            break;
    }
    const char* text = ERR_lib_error_string(ERR_PACK(library, 0, 0));
    return text ? mnemonic(text) : "SSL";
}

std::string verify_message(const SslState& connection) {
    const long code = SSL_get_verify_result(connection.ssl());
    const char* what = nullptr;
    if (code == X509_V_ERR_HOSTNAME_MISMATCH) what = "Hostname mismatch";
    if (code == X509_V_ERR_IP_ADDRESS_MISMATCH) what = "IP address mismatch";
    if (!what) return X509_verify_cert_error_string(code);
    return std::string(what) + ", certificate is not valid for '" + connection.server_hostname() +
           "'.";
}

}  // namespace

std::exception_ptr take_ssl_error(const SslState* verified) {
    const unsigned long code = ERR_peek_last_error();
    ERR_clear_error();
    if (code == 0) return std::make_exception_ptr(SSLError(ssl::ERROR_SSL, "unknown error"));
    const int library = ERR_GET_LIB(code);
    const int reason = ERR_GET_REASON(code);
    const char* known = ERR_reason_error_string(code);
    std::string text = known ? known : "error " + std::to_string(reason);
    const std::string head = "[" + library_name(library) + ": " + mnemonic(text) + "] ";
    if (verified && library == ERR_LIB_SSL && reason == SSL_R_CERTIFICATE_VERIFY_FAILED) {
        text += ": " + verify_message(*verified);
        return std::make_exception_ptr(SSLCertVerificationError(ssl::ERROR_SSL, head + text));
    }
    return std::make_exception_ptr(SSLError(ssl::ERROR_SSL, head + text));
}

}  // namespace detail
}  // namespace v1
}  // namespace asyncio
