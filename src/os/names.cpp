#include "os/names.hpp"

#include <errno.h>
#include <locale.h>
#include <netdb.h>
#include <sys/socket.h>

#include <algorithm>
#include <memory>
#include <optional>

namespace asyncio {
inline namespace v1 {
namespace detail {

namespace {

const char* text_or_null(const std::string& text) noexcept {
    return text.empty() ? nullptr : text.c_str();
}

// While it lives this thread's strings are UTF-8: names with other letters than ASCII's are then
// encoded for the name server (IDNA), whatever the program's locale.
class Utf8Locale {
  public:
    Utf8Locale()
        : own_(::newlocale(LC_CTYPE_MASK, "C.UTF-8", nullptr)),
          before_(own_ ? ::uselocale(own_) : nullptr) {}
    Utf8Locale(const Utf8Locale&) = delete;
    Utf8Locale& operator=(const Utf8Locale&) = delete;
    ~Utf8Locale() {
        if (!own_) return;
        ::uselocale(before_);
        ::freelocale(own_);
    }

  private:
    locale_t own_;
    locale_t before_;
};

bool is_ascii(const std::string& text) noexcept {
    return std::all_of(text.begin(), text.end(),
                       [](char c) { return static_cast<unsigned char>(c) < 0x80; });
}

void ask_for_addresses(const NameQuery& query, NameAnswer& answer) {
    addrinfo hints{};
    hints.ai_family = query.family;
    hints.ai_socktype = query.type;
    hints.ai_protocol = query.proto;
    hints.ai_flags = query.flags;
    std::optional<Utf8Locale> utf8;
#ifdef AI_IDN
    if (!is_ascii(query.host)) {
        utf8.emplace();
        hints.ai_flags |= AI_IDN;
    }
#endif
    addrinfo* first = nullptr;
    answer.error =
        ::getaddrinfo(text_or_null(query.host), text_or_null(query.service), &hints, &first);
    if (answer.error == EAI_SYSTEM) answer.system_error = errno;
    if (answer.error != 0) return;
    const std::unique_ptr<addrinfo, void (*)(addrinfo*)> owner(first, &::freeaddrinfo);
    for (const addrinfo* a = first; a; a = a->ai_next) {
        answer.infos.push_back({a->ai_family, a->ai_socktype, a->ai_protocol,
                                a->ai_canonname ? a->ai_canonname : "",
                                SocketAddress::from(a->ai_addr, a->ai_addrlen)});
    }
}

void ask_for_name(const NameQuery& query, NameAnswer& answer) {
    char host[NI_MAXHOST];
    char service[NI_MAXSERV];
    answer.error = ::getnameinfo(static_cast<const sockaddr*>(query.address.data()),
                                 static_cast<socklen_t>(query.address.size()), host, sizeof host,
                                 service, sizeof service, query.flags);
    if (answer.error == EAI_SYSTEM) answer.system_error = errno;
    if (answer.error != 0) return;
    answer.host = host;
    answer.service = service;
}

}  // namespace

void ask_system(const NameQuery& query, NameAnswer& answer) {
    if (query.address) {
        ask_for_name(query, answer);
    } else {
        ask_for_addresses(query, answer);
    }
}

}  // namespace detail
}  // namespace v1
}  // namespace asyncio
