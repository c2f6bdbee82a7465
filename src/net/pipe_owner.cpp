#include "net/pipe_owner.hpp"

#include "asyncio/exceptions.hpp"
#include "os/blocking.hpp"
#include "os/pipes.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

void WatchedPipe::examine(int fd, PipeKind kind, const char* refusal) {
    const FileKind found = kind_of(fd);
    is_file_ = found == FileKind::kRegular && kind == PipeKind::kFile;
    is_device_ = found == FileKind::kDevice;
    is_socket_ = found == FileKind::kSocket;
    if (found != FileKind::kPipe && !is_socket_ && !is_device_ && !is_file_) {
        throw ValueError(refusal);
    }
    // Each call on a socket says that it does not wait.
    if (!is_socket_ && !is_file_) was_blocking_ = make_non_blocking(fd);
}

void WatchedPipe::watch(Loop& loop, int fd, bool read, Node* on_room) {
    if (!always_ready_) {
        try {
            loop.watch_nodes(fd, read ? &on_read_ : nullptr, on_room);
            watched_ = read || on_room;
            return;
        } catch (const PermissionError&) {
            if (has_other_end()) throw;  // epoll(7) watches none of the others: they never block
            always_ready_ = true;
        }
    }
    wants_ = read || on_room;
    look_again(loop);
}

void WatchedPipe::look_again(LoopCore& core) noexcept {
    if (always_ready_ && wants_ && queue_read()) core.push_ready(&on_read_);
}

void WatchedPipe::stop_watching(Loop& loop, int fd) noexcept {
    wants_ = false;
    if (!std::exchange(watched_, false)) return;
    try {
        loop.watch_nodes(fd, nullptr, nullptr);
    } catch (const std::exception&) {
        // It is closed next, which removes it as well.
    }
}

void WatchedPipe::give_back(Loop& loop, int fd) noexcept {
    stop_watching(loop, fd);
    leave();
    if (was_blocking_) make_blocking(fd);
    Socket(fd).close();
}

}  // namespace detail
}  // namespace v1
}  // namespace asyncio
