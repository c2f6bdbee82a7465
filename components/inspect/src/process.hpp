// What the system tells of a process: proc(5).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "taking.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {
namespace reading {

struct ProcessFacts {
    std::string exe;
    std::uint64_t rss = 0;  // bytes
    std::uint64_t threads = 0;
    std::uint64_t fds = 0;
};

struct Descriptor {
    int fd = -1;
    std::string kind;   // "tcp", "udp", "unix", "pipe", "eventpoll", "file"
    std::string local;  // an address, or a path
    std::string peer;
    std::string state;     // "LISTEN"; empty: it has none
    std::uint64_t in = 0;  // bytes that came and were not read yet
    std::uint64_t out = 0;
};

// One process, for as long as it is the same: its number may be another's afterwards.
class Process {
  public:
    enum class Life {
        kRuns,
        kStopped,   // by a signal, or a debugger
        kEnded,     // whoever has its number now
        kReplaced,  // it runs another program (execve): what was read of it is of no use any more
    };

    explicit Process(int pid);

    int pid() const { return pid_; }
    Life life() const;
    ProcessFacts facts() const;
    // Of at most `most` descriptors, in the order of their numbers, sockets first.
    std::vector<Descriptor> descriptors(std::size_t most) const;

  private:
    struct Stat {
        char state = 'Z';
        std::uint64_t threads = 0, started = 0, pages = 0, code = 0, stack = 0;
    };
    Stat stat() const;

    int pid_;
    std::string folder_;
    Stat first_;
};

// Adds to each wait for a connection of `process` where that leads.
void name_connections(Snapshot& snapshot, const Process& process);

}  // namespace reading
}  // namespace detail
}  // namespace v1
}  // namespace asyncio
