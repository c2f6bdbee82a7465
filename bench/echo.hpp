// What the echo servers share: `PROG [tcp_echo] PORT`, and `# ready` on standard output once they
// listen.
#pragma once

#include <sys/resource.h>

#include <cstdio>
#include <cstdlib>

namespace echo_bench {

// The last argument. As many descriptors as the system allows are allowed from now on.
inline int port_of(int argc, char** argv) {
    if (argc < 2) {
        std::fprintf(stderr, "usage: %s PORT\n", argv[0]);
        std::exit(2);
    }
    rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    return std::atoi(argv[argc - 1]);
}

inline void say_ready() {
    std::puts("# ready");
    std::fflush(stdout);
}

}  // namespace echo_bench
