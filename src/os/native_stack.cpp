// backtrace(3) in a signal handler of the thread that is asked: sigaction(2), tgkill(2), elf(5).
#include "os/native_stack.hpp"

#include <cxxabi.h>
#include <dlfcn.h>
#include <elf.h>
#include <execinfo.h>
#include <fcntl.h>
#include <link.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <mutex>

#include "os/posix.hpp"
#include "os/threads.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

namespace {

constexpr int kMostFrames = 64;
// The handler, and the frame by which the kernel called it.
constexpr int kOwnFrames = 2;

// What the handler writes. A thread that answers too late finds that nobody asks any more.
struct Answer {
    std::atomic<std::int32_t> asked{0};  // the thread; 0: none
    void* frames[kMostFrames];
    int count = 0;
    sem_t given;
};
Answer answer;
std::mutex asking;

int stack_signal() noexcept { return SIGRTMIN + 7; }

void tell_stack(int) {
    const int error = errno;
    std::int32_t me = thread_id();
    // Claimed by a negative number, so that it is written by one thread once.
    if (answer.asked.compare_exchange_strong(me, -me)) {
        answer.count = ::backtrace(answer.frames, kMostFrames);
        ::sem_post(&answer.given);
    }
    errno = error;
}

// False: the program has put its own handler there.
bool prepare() noexcept {
    struct sigaction before{};
    if (::sigaction(stack_signal(), nullptr, &before) != 0) return false;
    if (before.sa_handler == tell_stack) return true;
    if (before.sa_handler != SIG_DFL) return false;
    // It loads a library when it is first called, which a handler may not.
    void* frames[2];
    ::backtrace(frames, 2);
    ::sem_init(&answer.given, 0, 0);
    struct sigaction action{};
    action.sa_handler = tell_stack;
    action.sa_flags = SA_RESTART | SA_ONSTACK;
    ::sigfillset(&action.sa_mask);
    return ::sigaction(stack_signal(), &action, nullptr) == 0;
}

bool wait_for_answer() noexcept {
    timespec until{};
    ::clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 1;
    int result;
    do {
        result = ::sem_timedwait(&answer.given, &until);
    } while (result != 0 && errno == EINTR);
    return result == 0;
}

}  // namespace

std::vector<void*> native_stack(std::int32_t thread) {
    const std::lock_guard lock(asking);
    if (!prepare()) return {};
    answer.asked.store(thread);
    if (::syscall(SYS_tgkill, ::getpid(), thread, stack_signal()) != 0) {
        answer.asked.store(0);
        return {};
    }
    if (!wait_for_answer()) {
        // 1. It has not begun to answer: taken back. 2. It is at it: it answers in a moment.
        std::int32_t still = thread;
        if (answer.asked.compare_exchange_strong(still, 0)) return {};
        while (::sem_wait(&answer.given) != 0) {
        }
    }
    answer.asked.store(0);
    const int first = std::min(kOwnFrames, answer.count);
    // Not in braces: there they would be the two elements.
    return std::vector<void*>(answer.frames + first, answer.frames + answer.count);
}

namespace {

std::string demangled(const char* name) {
    int status = 0;
    const std::unique_ptr<char, decltype(&std::free)> text(
        abi::__cxa_demangle(name, nullptr, nullptr, &status), std::free);
    return status == 0 && text ? text.get() : name;
}

bool read_at(int fd, void* to, std::uint64_t size, std::uint64_t offset) noexcept {
    return ::pread(fd, to, size, static_cast<off_t>(offset)) == static_cast<ssize_t>(size);
}

// All of a section, if the file has it.
template <class T>
std::vector<T> section(int fd, const ElfW(Shdr) & header, std::uint64_t file_size) {
    if (header.sh_offset > file_size || header.sh_size > file_size - header.sh_offset) return {};
    std::vector<T> found(header.sh_size / sizeof(T));
    if (!read_at(fd, found.data(), found.size() * sizeof(T), header.sh_offset)) return {};
    return found;
}

}  // namespace

const SymbolNames::Module& SymbolNames::module(const char* file) {
    for (const Module& known : modules_) {
        if (known.file == file) return known;
    }
    Module& made = modules_.emplace_back(Module{file, {}});
    const Descriptor fd(::open(file, O_RDONLY | O_CLOEXEC));
    ElfW(Ehdr) head{};
    struct stat status{};
    if (fd.get() < 0 || ::fstat(fd.get(), &status) != 0 ||
        !read_at(fd.get(), &head, sizeof head, 0)) {
        return made;
    }
    const auto size = static_cast<std::uint64_t>(status.st_size);
    ElfW(Shdr) all{};
    all.sh_offset = head.e_shoff;
    all.sh_size = std::uint64_t{head.e_shnum} * sizeof(ElfW(Shdr));
    const auto sections = section<ElfW(Shdr)>(fd.get(), all, size);
    for (const auto& header : sections) {
        if (header.sh_type != SHT_SYMTAB || header.sh_link >= sections.size()) continue;
        const auto symbols = section<ElfW(Sym)>(fd.get(), header, size);
        auto names = section<char>(fd.get(), sections[header.sh_link], size);
        if (names.empty()) continue;
        names.back() = '\0';
        for (const auto& symbol : symbols) {
            if (ELF64_ST_TYPE(symbol.st_info) != STT_FUNC || symbol.st_name >= names.size())
                continue;
            made.symbols.push_back(
                {symbol.st_value, symbol.st_size, names.data() + symbol.st_name});
        }
    }
    std::sort(made.symbols.begin(), made.symbols.end(),
              [](const Symbol& a, const Symbol& b) { return a.begin < b.begin; });
    return made;
}

std::string SymbolNames::of(void* address) {
    // Safe because an address is only a number here. What is on the stack are return addresses: the
    // call stands before them.
    const auto at = reinterpret_cast<std::uintptr_t>(address) - 1;
    Dl_info info{};
    char text[64];
    // A static program is in nobody's list.
    const bool known = ::dladdr(reinterpret_cast<void*>(at), &info) != 0 && info.dli_fname;
    // The program's own name is what it was called by, from a folder that it may have left.
    const char* const file = known && info.dli_fname[0] == '/' ? info.dli_fname : "/proc/self/exe";
    const auto offset_text = [&](std::uintptr_t begin) {
        std::snprintf(text, sizeof text, "+%lu", static_cast<unsigned long>(at + 1 - begin));
        return std::string(text);
    };
    // Safe because both are addresses of the same module, as numbers.
    const auto base = reinterpret_cast<std::uintptr_t>(info.dli_fbase);
    const Module& m = module(file);
    // In a program that is not position independent symbols are addresses themselves.
    for (const std::uintptr_t value : {at - base, at}) {
        const auto after =
            std::upper_bound(m.symbols.begin(), m.symbols.end(), value,
                             [](std::uintptr_t v, const Symbol& s) { return v < s.begin; });
        if (after == m.symbols.begin()) continue;
        const Symbol& symbol = *(after - 1);
        if (value - symbol.begin >= symbol.size) continue;
        return demangled(symbol.name.c_str()) + offset_text(at - (value - symbol.begin));
    }
    if (info.dli_sname) {
        // Safe because the address is only a number here.
        return demangled(info.dli_sname) +
               offset_text(reinterpret_cast<std::uintptr_t>(info.dli_saddr));
    }
    std::snprintf(text, sizeof text, "+0x%lx", static_cast<unsigned long>(at + 1 - base));
    return std::string(known ? info.dli_fname : "") + text;
}

}  // namespace detail
}  // namespace v1
}  // namespace asyncio
