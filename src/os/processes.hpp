// Starting a child process, and learning of its end: clone(2), execve(2), pidfd_open(2), waitid(2).
#pragma once

#include <sys/types.h>

#include <atomic>
#include <cstddef>
#include <optional>
#include <string>
#include <vector>

namespace asyncio {
inline namespace v1 {
namespace detail {

// What to start and how. Descriptors are borrowed.
struct SpawnRequest {
    static constexpr int kInherit = -1;

    std::vector<std::string> args;                // args[0] is what the program is told of its name
    std::string program;                          // with a '/', or looked for in PATH
    std::optional<std::string> cwd;               // where it starts; unset: here
    std::optional<std::vector<std::string>> env;  // "NAME=value"; unset: ours
    int stdio[3] = {kInherit, kInherit, kInherit};  // what is to be its descriptor 0, 1, 2
    std::vector<int> pass_fds;  // further descriptors that it gets, with their numbers
    bool close_fds = true;      // all others are closed; false: unless close-on-exec
    bool start_new_session = false;
    std::optional<pid_t> process_group;  // 0: one of its own
    std::optional<mode_t> umask;
    std::optional<uid_t> user;
    std::optional<gid_t> group;
    std::optional<std::vector<gid_t>> extra_groups;
};

struct Spawned {
    pid_t pid = -1;
    int pidfd = -1;  // -1: this kernel has none
};

// Starts it: when this returns the program runs in place of the child. The child has no signal
// blocked, and SIGPIPE and SIGXFSZ have their default effect.
// Raises: OSError of the class that belongs to what failed, with the name of the program (or of the
// directory) in it; std::bad_alloc. Nothing is left behind then.
Spawned spawn(const SpawnRequest& request);

// Python's `returncode`: the exit status, or minus the number of the signal that ended it. Unset
// while it runs. ECHILD (somebody else has reaped it) gives 255 and sets `lost`. Reaps it.
// `pidfd`: may be -1.
std::optional<int> reap(pid_t pid, int pidfd, bool& lost) noexcept;
// Until it has ended. Does not reap it.
void await_end(pid_t pid) noexcept;
// Sends a signal. Returns an errno: ESRCH if it has ended.
int send_signal_to(pid_t pid, int pidfd, int signal) noexcept;
// Kills it, unless it has ended, and reaps it: at once, or on a thread if it takes long to die.
// Takes `pidfd` over.
void kill_and_reap(pid_t pid, int pidfd) noexcept;

// getpwnam_r(3) and getgrnam_r(3): the number that belongs to the name. Unset: there is none.
std::optional<uid_t> user_named(const std::string& name);
std::optional<gid_t> group_named(const std::string& name);

// False: as on kernels that have no pidfd, for tests.
extern std::atomic<bool> use_pidfd;

}  // namespace detail
}  // namespace v1
}  // namespace asyncio
