// The memory of a process that runs: process_vm_readv(2), proc(5).
#include <fcntl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <memory>
#include <sstream>

#include "taking.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {
namespace reading {

namespace {

std::string file_of(int pid, const char* name) {
    return "/proc/" + std::to_string(pid) + '/' + name;
}

// Why the system refuses, and what to do.
[[noreturn]] void refused(int pid, int error) {
    const std::string process = "process " + std::to_string(pid);
    if (error == ESRCH || error == ENOENT) throw Failure("there is no " + process);
    if (error != EPERM && error != EACCES) throw Failure(process + ": " + std::strerror(error));
    throw Failure(
        process +
        " may not be read by this user. Run the tool as the user of that process, or as root; "
        "where the system "
        "allows it to parents only (/proc/sys/kernel/yama/ptrace_scope is 1), let the program call "
        "asyncio::inspect::allow_tools() or start it with ASYNCIO_ALLOW_TOOLS=1; in a container, "
        "give it the "
        "capability SYS_PTRACE");
}

struct MemoryFile {
    MemoryFile(int pid, int how) : fd(::open(file_of(pid, "mem").c_str(), how | O_CLOEXEC)) {}
    MemoryFile(const MemoryFile&) = delete;
    MemoryFile& operator=(const MemoryFile&) = delete;
    ~MemoryFile() {
        if (fd >= 0) ::close(fd);
    }
    const int fd;
};

class LiveMemory final : public ProcessMemory {
  public:
    explicit LiveMemory(int pid) : pid_(pid) {
        std::ifstream maps(file_of(pid, "maps"));
        if (!maps) refused(pid, errno);
        std::string line;
        while (std::getline(maps, line)) add(line);
        if (mappings_.empty()) refused(pid, maps.bad() ? errno : EACCES);
    }

    const std::vector<Mapping>& mappings() const override { return mappings_; }

    bool write(Address address, std::uint64_t value) override {
        const iovec local{&value, sizeof value};
        // Safe because the kernel looks at this address, and nobody here.
        const iovec remote{reinterpret_cast<void*>(address), sizeof value};
        if (::process_vm_writev(pid_, &local, 1, &remote, 1, 0) == sizeof value) return true;
        // The file writes where the process itself may not: only where the call is not there.
        if (errno != ENOSYS && errno != EPERM) return false;
        // As one piece, since it is aligned.
        const MemoryFile file(pid_, O_WRONLY);
        return ::pwrite(file.fd, &value, sizeof value, static_cast<off_t>(address)) == sizeof value;
    }

  private:
    // 55d0c0a00000-55d0c0a21000 r--p 00000000 fe:00 1234   /usr/bin/program
    void add(const std::string& line) {
        std::istringstream in(line);
        Mapping m;
        char dash;
        std::string access, device, inode;
        in >> std::hex >> m.begin >> dash >> m.end >> access >> m.offset >> device >> inode;
        if (!in || access.empty() || access[0] != 'r') return;
        std::getline(in >> std::ws, m.file);
        m.writable = access.size() > 1 && access[1] == 'w';
        mappings_.push_back(std::move(m));
    }

    std::uint32_t fetch(Address address, char* to) override {
        iovec local{to, kPage * kPages};
        iovec remote[kPages];
        for (std::size_t i = 0; i < kPages; ++i) {
            // Safe because the kernel looks at these addresses, and nobody here.
            remote[i] = {reinterpret_cast<void*>(address + i * kPage), kPage};
        }
        std::uint32_t pages = 0;
        for (std::size_t from = 0; from < kPages;) {
            local = {to + from * kPage, (kPages - from) * kPage};
            // By its number: a thread sanitizer takes what the library's function reads, here
            // another process's memory, for this one's, and keeps a shadow of it until none is
            // left.
            const long n = ::syscall(SYS_process_vm_readv, pid_, &local, 1UL, remote + from,
                                     kPages - from, 0UL);
            if (n < 0 && errno != EFAULT) return fetch_by_file(address, to, errno);
            const std::size_t whole = n < 0 ? 0 : static_cast<std::size_t>(n) / kPage;
            for (std::size_t i = 0; i < whole; ++i) pages |= 1u << (from + i);
            from += whole + 1;  // the one at which it stopped is not there
        }
        return pages;
    }

    // Where a sandbox knows no process_vm_readv(2): the same memory as a file. `error`: of that.
    std::uint32_t fetch_by_file(Address address, char* to, int error) {
        if (!file_) file_ = std::make_unique<MemoryFile>(pid_, O_RDONLY);
        if (file_->fd < 0) refused(pid_, error);
        std::uint32_t pages = 0;
        for (std::size_t i = 0; i < kPages; ++i) {
            const auto at = static_cast<off_t>(address + i * kPage);
            if (::pread(file_->fd, to + i * kPage, kPage, at) == kPage) pages |= 1u << i;
        }
        return pages;
    }

    int pid_;
    std::vector<Mapping> mappings_;
    std::unique_ptr<MemoryFile> file_;
};

}  // namespace

std::unique_ptr<ProcessMemory> live_memory(int pid) { return std::make_unique<LiveMemory>(pid); }

}  // namespace reading
}  // namespace detail
}  // namespace v1
}  // namespace asyncio
