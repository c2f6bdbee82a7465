#include "asyncio/stdio.hpp"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <utility>

#include "asyncio/exceptions.hpp"
#include "loop/loop.hpp"
#include "net/pipes.hpp"
#include "os/posix.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {
namespace {

// Whether opening it once more gives the same thing. Not so for a file, whose position would be
// another, for a socket, and for /dev/ptmx, which gives a new terminal each time.
bool can_be_opened_again(int fd) {
    struct stat info{};
    if (::fstat(fd, &info) != 0) std::rethrow_exception(make_os_error(errno));
    if (S_ISFIFO(info.st_mode)) return true;
    return S_ISCHR(info.st_mode) && info.st_rdev != makedev(5, 2);
}

// A descriptor of our own for standard stream `fd`.
Socket open_again(int fd) {
    if (can_be_opened_again(fd)) {
        const std::string path = "/proc/self/fd/" + std::to_string(fd);
        const int direction = fd == 0 ? O_RDONLY : O_WRONLY;
        const int again =
            above_standard(::open(path.c_str(), direction | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
        if (again >= 0) return Socket(again);
    }
    const int copy = ::fcntl(fd, F_DUPFD_CLOEXEC, 3);
    if (copy < 0) std::rethrow_exception(make_os_error(errno));
    return Socket(copy);
}

// Closed unless all went well.
struct Opened {
    Ref<TransportBase> transports[3];
    bool kept = false;

    Opened() = default;
    Opened(const Opened&) = delete;
    Opened& operator=(const Opened&) = delete;
    ~Opened() {
        for (const auto& t : transports) {
            if (t && !kept) t->close();
        }
    }
};

}  // namespace

Coroutine<StdioStreams> open_stdio(std::size_t limit) {
    EventLoop& loop = get_running_loop();
    Opened opened;
    std::shared_ptr<StreamReaderProtocol> protocols[3];
    StreamReader reader(limit);
    for (int fd = 0; fd < 3; ++fd) {
        Socket own = open_again(fd);
        auto& protocol = protocols[fd];
        protocol = std::make_shared<StreamReaderProtocol>(fd == 0 ? reader : StreamReader());
        Future<> made = loop.create_future();
        const auto make = fd == 0 ? &make_read_pipe : &make_write_pipe;
        opened.transports[fd] = make(loop, std::move(own), protocol, made, PipeKind::kFile);
        co_await made;
    }
    StdioStreams streams;
    streams.stdin_ = reader;
    streams.stdout_ = StreamWriter(BaseTransport(opened.transports[1]), protocols[1]);
    streams.stderr_ = StreamWriter(BaseTransport(opened.transports[2]), protocols[2]);
    opened.kept = true;
    co_return streams;
}

}  // namespace detail
}  // namespace v1
}  // namespace asyncio
