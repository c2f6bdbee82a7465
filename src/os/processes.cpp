// Starting a child process. As posix_spawn(3) does it: the child borrows the parent's memory and
// the parent waits until the child has become the program (CLONE_VM | CLONE_VFORK), so that nothing
// is copied however large the parent is, and an error of the child is simply written down. Unlike
// posix_spawn it can do all that is asked (directory, umask, user, close_range(2)) and gives the
// pidfd at once.
//
// What the child may do in borrowed memory:
//   1. all signals are blocked before it starts, so that no handler of the parent runs in it; it
//      sets what is caught to the default before it unblocks them;
//   2. it makes system calls only, and raw ones: the C library's setuid() and its kin would talk to
//      the parent's threads, and the sanitizers' versions would note what only the child did;
//   3. all that it needs is prepared before: it allocates nothing;
//   4. its stack is a piece of its parent's, which waits.
#include "os/processes.hpp"

#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <pwd.h>
#include <sched.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <string_view>
#include <system_error>
#include <thread>

#include "asyncio/exceptions.hpp"
#include "os/posix.hpp"

#ifndef CLONE_PIDFD
#define CLONE_PIDFD 0x00001000
#endif
#ifndef P_PIDFD
#define P_PIDFD 3
#endif
#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif
#ifndef SYS_pidfd_send_signal
#define SYS_pidfd_send_signal 424
#endif
#ifndef SYS_close_range
#define SYS_close_range 436
#endif

// The child's code is not instrumented: it runs on a borrowed stack, and never returns.
#define ASYNCIO_IN_CHILD \
    __attribute__((no_sanitize("address"), no_sanitize("thread"), no_sanitize("undefined")))

// clone(2) by glibc's other name for it: the first one is taken over by the thread sanitizer, which
// would take a child that shares our memory for a fork, and note in that memory that we are one.
#ifdef __GLIBC__
// NOLINTNEXTLINE(bugprone-reserved-identifier,readability-identifier-naming)
extern "C" int __clone(int (*fn)(void*), void* stack, int flags, void* argument, ...) noexcept;
#else
#define __clone ::clone
#endif

namespace asyncio {
inline namespace v1 {
namespace detail {

std::atomic<bool> use_pidfd{true};

namespace {

// The kernel's own sigset_t, all 64 signals.
using KernelSignals = unsigned long;
static_assert(sizeof(KernelSignals) == 8);
constexpr KernelSignals kAllSignals = ~KernelSignals{0};

// The kernel's own sigaction, as rt_sigaction(2) has it.
struct KernelAction {
    void* handler;
    unsigned long flags;
    void* restorer;
    KernelSignals mask;
};

enum class Step : int { kPrepare, kChdir, kExec };

// What the child reads, and where it writes why it failed.
struct Child {
    const SpawnRequest* request;
    char* const* argv;
    char* const* envp;
    char* const* candidates;  // paths of the program, ends with null
    const char* cwd;
    const int* pass_fds;  // sorted
    std::size_t pass_count;
    const gid_t* groups;
    std::size_t group_count;
    int error;
    Step step;
};

[[noreturn]] ASYNCIO_IN_CHILD void fail(Child& child, Step step) {
    child.error = errno;
    child.step = step;
    while (true) ::syscall(SYS_exit_group, 127);
}

ASYNCIO_IN_CHILD void check(Child& child, long result) {
    if (result < 0) fail(child, Step::kPrepare);
}

// Puts the three descriptors in their places. One that stands at a lower place than its own would
// be overwritten first, so those move out of the way.
ASYNCIO_IN_CHILD void place_descriptors(Child& child) {
    int from[3];
    for (int i = 0; i < 3; ++i) {
        from[i] = child.request->stdio[i];
        if (from[i] < 0 || from[i] >= 3 || from[i] == i) continue;
        from[i] = static_cast<int>(::syscall(SYS_fcntl, from[i], F_DUPFD_CLOEXEC, 3));
        check(child, from[i]);
    }
    for (int i = 0; i < 3; ++i) {
        if (from[i] < 0) continue;
        if (from[i] == i) {
            check(child, ::syscall(SYS_fcntl, i, F_SETFD, 0));
        } else {
            check(child, ::syscall(SYS_dup3, from[i], i, 0));
        }
    }
    for (std::size_t i = 0; i < child.pass_count; ++i) {
        check(child, ::syscall(SYS_fcntl, child.pass_fds[i], F_SETFD, 0));
    }
}

ASYNCIO_IN_CHILD void close_from(unsigned first, unsigned last) {
    if (first > last || ::syscall(SYS_close_range, first, last, 0) == 0) return;
    rlimit limit{};
    ::syscall(SYS_prlimit64, 0, RLIMIT_NOFILE, nullptr, &limit);
    const auto end = static_cast<unsigned>(std::min<rlim_t>(limit.rlim_cur, INT_MAX));
    for (unsigned fd = first; fd <= last && fd < end; ++fd) ::syscall(SYS_close, fd);
}

// All but 0, 1, 2 and those that are passed on.
ASYNCIO_IN_CHILD void close_others(const Child& child) {
    unsigned first = 3;
    for (std::size_t i = 0; i < child.pass_count; ++i) {
        const auto kept = static_cast<unsigned>(child.pass_fds[i]);
        if (kept < 3) continue;
        if (kept > first) close_from(first, kept - 1);
        first = kept + 1;
    }
    close_from(first, UINT_MAX);
}

ASYNCIO_IN_CHILD void change_identity(Child& child) {
    const SpawnRequest& r = *child.request;
    if (r.start_new_session) check(child, ::syscall(SYS_setsid));
    if (r.process_group) check(child, ::syscall(SYS_setpgid, 0, *r.process_group));
    if (r.extra_groups) {
        check(child, ::syscall(SYS_setgroups, child.group_count, child.groups));
    }
    if (r.group) check(child, ::syscall(SYS_setregid, *r.group, *r.group));
    if (r.user) check(child, ::syscall(SYS_setreuid, *r.user, *r.user));
}

// What is ignored stays ignored (nohup), but for what a program does not expect to be.
ASYNCIO_IN_CHILD void reset_signals() {
    for (int signal = 1; signal <= 64; ++signal) {
        KernelAction action{};
        if (::syscall(SYS_rt_sigaction, signal, nullptr, &action, sizeof action.mask) != 0) {
            continue;
        }
        // Safe because the kernel's SIG_DFL and SIG_IGN are the numbers 0 and 1.
        const auto handler = reinterpret_cast<unsigned long>(action.handler);
        const bool ignored = handler == 1 && signal != SIGPIPE && signal != SIGXFSZ;
        if (handler == 0 || ignored) continue;
        action = {};
        ::syscall(SYS_rt_sigaction, signal, &action, nullptr, sizeof action.mask);
    }
    const KernelSignals none = 0;
    ::syscall(SYS_rt_sigprocmask, SIG_SETMASK, &none, nullptr, sizeof none);
}

// As execvp(3): a directory of PATH without it does not count, one that refuses it is remembered.
ASYNCIO_IN_CHILD void exec(Child& child) {
    int refusal = 0;
    for (char* const* path = child.candidates; *path; ++path) {
        ::syscall(SYS_execve, *path, child.argv, child.envp);
        if (errno != ENOENT && errno != ENOTDIR && refusal == 0) refusal = errno;
    }
    if (refusal != 0) errno = refusal;
    fail(child, Step::kExec);
}

ASYNCIO_IN_CHILD int run_child(void* argument) {
    Child& child = *static_cast<Child*>(argument);
    const SpawnRequest& r = *child.request;
    place_descriptors(child);
    if (child.cwd && ::syscall(SYS_chdir, child.cwd) != 0) fail(child, Step::kChdir);
    if (r.umask) ::syscall(SYS_umask, *r.umask);
    change_identity(child);
    if (r.close_fds) close_others(child);
    reset_signals();
    exec(child);
    return 0;
}

std::vector<char*> pointers(const std::vector<std::string>& strings) {
    std::vector<char*> all;
    all.reserve(strings.size() + 1);
    // Safe because execve(2) changes none of them.
    for (const std::string& s : strings) all.push_back(const_cast<char*>(s.c_str()));
    all.push_back(nullptr);
    return all;
}

// PATH of the child's environment, or what the system takes where there is none.
std::string_view search_path(const SpawnRequest& request) {
    constexpr std::string_view kName = "PATH=";
    if (!request.env) {
        const char* path = ::getenv("PATH");
        return path ? path : "/bin:/usr/bin";
    }
    for (const std::string& line : *request.env) {
        if (line.starts_with(kName)) return std::string_view(line).substr(kName.size());
    }
    return "/bin:/usr/bin";
}

std::vector<std::string> candidates_of(const SpawnRequest& request) {
    const std::string& program = request.program;
    if (program.find('/') != std::string::npos) return {program};
    std::vector<std::string> all;
    std::string_view rest = search_path(request);
    while (true) {
        const std::size_t colon = rest.find(':');
        std::string directory(rest.substr(0, colon));
        if (directory.empty()) directory = ".";
        directory += '/';
        directory += program;
        all.push_back(std::move(directory));
        if (colon == std::string_view::npos) return all;
        rest.remove_prefix(colon + 1);
    }
}

class SignalsBlocked {
  public:
    SignalsBlocked() noexcept {
        ::syscall(SYS_rt_sigprocmask, SIG_SETMASK, &kAllSignals, &before_, sizeof before_);
    }
    SignalsBlocked(const SignalsBlocked&) = delete;
    SignalsBlocked& operator=(const SignalsBlocked&) = delete;
    ~SignalsBlocked() {
        ::syscall(SYS_rt_sigprocmask, SIG_SETMASK, &before_, nullptr, sizeof before_);
    }

  private:
    KernelSignals before_ = 0;
};

// Starts the child and waits until it has become the program or has failed. Returns its pid, or -1
// and errno.
__attribute__((noinline)) pid_t start(Child& child, int& pidfd) noexcept {
    // Of the child: execve(2) and a few small frames.
    alignas(64) char stack[16 * 1024];
    const int flags = CLONE_VM | CLONE_VFORK | CLONE_PIDFD | SIGCHLD;
    const SignalsBlocked blocked;
    const pid_t pid = __clone(&run_child, stack + sizeof stack, flags, &child, &pidfd);
    return pid;
}

[[noreturn]] void raise_failure(const SpawnRequest& request, const Child& child) {
    const std::string text = std::generic_category().message(child.error);
    switch (child.step) {
        case Step::kChdir:
            std::rethrow_exception(make_os_error(child.error, text, request.cwd.value_or("")));
        case Step::kExec:
            std::rethrow_exception(make_os_error(child.error, text, request.program));
        case Step::kPrepare:
            break;
    }
    std::rethrow_exception(make_os_error(child.error, text));
}

void wait_for(pid_t pid) noexcept {
    while (::waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
    }
}

}  // namespace

Spawned spawn(const SpawnRequest& request) {
    const std::vector<std::string> paths = candidates_of(request);
    const std::vector<char*> candidates = pointers(paths);
    const std::vector<char*> argv = pointers(request.args);
    std::vector<char*> envp;
    if (request.env) envp = pointers(*request.env);
    std::vector<int> pass_fds = request.pass_fds;
    std::sort(pass_fds.begin(), pass_fds.end());

    Child child{};
    child.request = &request;
    child.argv = argv.data();
    child.envp = request.env ? envp.data() : environ;
    child.candidates = candidates.data();
    child.cwd = request.cwd ? request.cwd->c_str() : nullptr;
    child.pass_fds = pass_fds.data();
    child.pass_count = pass_fds.size();
    if (request.extra_groups) {
        child.groups = request.extra_groups->data();
        child.group_count = request.extra_groups->size();
    }

    Spawned spawned;
    spawned.pid = start(child, spawned.pidfd);
    if (spawned.pid < 0) std::rethrow_exception(make_os_error(errno));
    spawned.pidfd = above_standard(spawned.pidfd);  // none: as where there are no pidfds
    if (child.error != 0) {
        if (spawned.pidfd >= 0) ::close(spawned.pidfd);
        wait_for(spawned.pid);
        raise_failure(request, child);
    }
    if (spawned.pidfd >= 0 && !use_pidfd.load(std::memory_order_relaxed)) {
        ::close(std::exchange(spawned.pidfd, -1));
    }
    return spawned;
}

namespace {

int look_at(idtype_t type, int id, siginfo_t& info) noexcept {
    int done;
    do {
        done = ::waitid(type, static_cast<id_t>(id), &info, WEXITED | WNOHANG);
    } while (done < 0 && errno == EINTR);
    return done;
}

}  // namespace

void await_end(pid_t pid) noexcept {
    siginfo_t info{};
    while (::waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOWAIT) < 0 &&
           errno == EINTR) {
    }
}

std::optional<int> reap(pid_t pid, int pidfd, bool& lost) noexcept {
    siginfo_t info{};
    int done = -1;
    if (pidfd >= 0) done = look_at(static_cast<idtype_t>(P_PIDFD), pidfd, info);
    // By its number where the system has no pidfd, or (before Linux 5.4) cannot wait for one.
    if (pidfd < 0 || (done < 0 && errno == EINVAL)) done = look_at(P_PID, pid, info);
    lost = done < 0;
    if (lost) return 255;
    if (info.si_pid == 0) return std::nullopt;
    return info.si_code == CLD_EXITED ? info.si_status : -info.si_status;
}

int send_signal_to(pid_t pid, int pidfd, int signal) noexcept {
    if (pidfd >= 0) {
        if (::syscall(SYS_pidfd_send_signal, pidfd, signal, nullptr, 0) == 0) return 0;
        if (errno != ENOSYS) return errno;
    }
    // Safe because a child that was not reaped keeps its number.
    return ::kill(pid, signal) == 0 ? 0 : errno;
}

namespace {

// Waits a moment; nearly all are gone then.
bool reap_soon(pid_t pid, int pidfd) noexcept {
    constexpr int kTries = 100;
    constexpr int kWait = 10;  // ms
    bool lost = false;
    for (int i = 0; i < kTries; ++i) {
        if (reap(pid, pidfd, lost)) return true;
        pollfd ended{pidfd, POLLIN, 0};
        ::poll(&ended, pidfd >= 0 ? 1 : 0, kWait);
    }
    return reap(pid, pidfd, lost).has_value();
}

// It hangs in the system, which nobody should have to wait for.
void reap_on_thread(pid_t pid) noexcept {
    try {
        std::thread([pid] { wait_for(pid); }).detach();
    } catch (const std::system_error&) {
        wait_for(pid);
    }
}

}  // namespace

void kill_and_reap(pid_t pid, int pidfd) noexcept {
    bool lost = false;
    if (!reap(pid, pidfd, lost)) {
        send_signal_to(pid, pidfd, SIGKILL);
        if (!reap_soon(pid, pidfd)) reap_on_thread(pid);
    }
    if (pidfd >= 0) ::close(pidfd);
}

std::optional<uid_t> user_named(const std::string& name) {
    std::vector<char> memory(16 * 1024);
    passwd entry{};
    passwd* found = nullptr;
    ::getpwnam_r(name.c_str(), &entry, memory.data(), memory.size(), &found);
    return found ? std::optional(found->pw_uid) : std::nullopt;
}

std::optional<gid_t> group_named(const std::string& name) {
    std::vector<char> memory(64 * 1024);
    ::group entry{};
    ::group* found = nullptr;
    ::getgrnam_r(name.c_str(), &entry, memory.data(), memory.size(), &found);
    return found ? std::optional(found->gr_gid) : std::nullopt;
}

}  // namespace detail
}  // namespace v1
}  // namespace asyncio
