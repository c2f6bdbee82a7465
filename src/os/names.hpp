// The system's resolver: getaddrinfo(3) and getnameinfo(3). Its constants (AI_*, NI_*, EAI_*) come
// with this header.
#pragma once

#include <netdb.h>

#include <string>
#include <vector>

#include "asyncio/sockets.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

// One question to the system.
struct NameQuery {
    std::string host;     // "": none
    std::string service;  // "": none
    int family = 0;
    int type = 0;
    int proto = 0;
    int flags = 0;
    SocketAddress address = {};  // given: its name is asked for, with `flags`; the rest is unused
};

struct NameAnswer {
    int error = 0;         // EAI_*; 0: none
    int system_error = 0;  // errno, if that is EAI_SYSTEM
    std::vector<AddrInfo> infos;
    std::string host;     // of getnameinfo
    std::string service;  // of getnameinfo
};

// Asks the system, and blocks. Any thread.
void ask_system(const NameQuery& query, NameAnswer& answer);

}  // namespace detail
}  // namespace v1
}  // namespace asyncio
