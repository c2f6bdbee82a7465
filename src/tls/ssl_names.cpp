// Host names with letters beyond ASCII, as certificates and SNI have them.
//
// The resolver has the C library encode such names, and that loads libidn2 for it. The same library
// is asked here, and found in the same way, so that both ends of a call mean the same host and
// nothing more has to be installed for programs that have no such names.
#include <dlfcn.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "asyncio/exceptions.hpp"
#include "tls/ssl_state.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {
namespace {

// What is used of libidn2, whose interface is that of <idn2.h>.
struct Idn2 {
    int (*lookup_u8)(const std::uint8_t* name, std::uint8_t** encoded, int flags) = nullptr;
    const char* (*error_text)(int code) = nullptr;
    void (*free)(void* encoded) = nullptr;

    Idn2() {
        // Never closed: names are encoded until the process ends.
        void* library = ::dlopen("libidn2.so.0", RTLD_NOW | RTLD_LOCAL);
        if (!library) return;
        // Safe because these are the functions' types in every libidn2.so.0.
        lookup_u8 = reinterpret_cast<decltype(lookup_u8)>(::dlsym(library, "idn2_lookup_u8"));
        error_text = reinterpret_cast<decltype(error_text)>(::dlsym(library, "idn2_strerror"));
        free = reinterpret_cast<decltype(free)>(::dlsym(library, "idn2_free"));
    }
    bool usable() const noexcept { return lookup_u8 && error_text && free; }
};

bool is_ascii(std::string_view text) noexcept {
    return std::all_of(text.begin(), text.end(),
                       [](char c) { return static_cast<unsigned char>(c) < 0x80; });
}

// Raises: ValueError.
std::string encode_international(const std::string& host) {
    static const Idn2 idn2;
    if (!idn2.usable()) {
        throw ValueError("server_hostname has letters beyond ASCII, which needs libidn2: '" + host +
                         "'");
    }
    std::uint8_t* encoded = nullptr;
    constexpr int kNormalize = 1;  // IDN2_NFC_INPUT, as the C library has it
    // Safe because UTF-8 is bytes.
    const auto* name = reinterpret_cast<const std::uint8_t*>(host.c_str());
    const int code = idn2.lookup_u8(name, &encoded, kNormalize);
    if (code != 0) {
        throw ValueError("server_hostname cannot be encoded (IDNA): " +
                         std::string(idn2.error_text(code)) + ": '" + host + "'");
    }
    // Safe because what was encoded is ASCII.
    std::string result = reinterpret_cast<const char*>(encoded);
    idn2.free(encoded);
    return result;
}

}  // namespace

std::string encode_host(std::string_view host) {
    if (host.find('\0') != std::string_view::npos) throw ValueError("embedded null character");
    std::string name(host);
    if (!is_ascii(name)) {
        name = encode_international(name);
        // Letters may stand for others: what is no name then must not pass for an unchecked one.
        if (name.empty() || !is_ascii(name)) {
            throw ValueError("server_hostname cannot be encoded (IDNA): '" + std::string(host) +
                             "'");
        }
    }
    if (name.starts_with('.')) {
        throw ValueError("server_hostname cannot be an empty string or start with a leading dot.");
    }
    return name;
}

}  // namespace detail
}  // namespace v1
}  // namespace asyncio
