// File system changes. The system's queue is the only one: nothing is read from it while nobody
// asks, so that a slow reader costs no memory here and is told when it is too slow.
#include "asyncio/watch.hpp"

#include <errno.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <memory>
#include <optional>
#include <vector>

#include "asyncio/events.hpp"
#include "asyncio/exceptions.hpp"
#include "asyncio/futures.hpp"
#include "backend/posix.hpp"
#include "file_requests.hpp"

namespace asyncio::inline v1 {
namespace detail {
namespace {

constexpr std::uint32_t kInterest = IN_CREATE | IN_MODIFY | IN_CLOSE_WRITE | IN_ATTRIB | IN_DELETE |
                                    IN_MOVE | IN_DELETE_SELF | IN_MOVE_SELF;

class Watcher {
  public:
    // Raises: OSError.
    explicit Watcher(std::string path) : path_(std::move(path)) {
        fd_ = above_standard(::inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
        if (fd_ < 0) throw_file_error(errno, path_);
        struct stat s{};
        if (::inotify_add_watch(fd_, path_.c_str(), kInterest) < 0 ||
            ::stat(path_.c_str(), &s) != 0) {
            const int error = errno;
            ::close(fd_);
            throw_file_error(error, path_);
        }
        directory_ = S_ISDIR(s.st_mode);
        device_ = s.st_dev;
        inode_ = s.st_ino;
    }
    Watcher(const Watcher&) = delete;
    Watcher& operator=(const Watcher&) = delete;
    ~Watcher() { ::close(fd_); }

    int fd() const noexcept { return fd_; }
    bool over() const noexcept { return over_; }

    // The next event that the system has told of. Raises: OSError.
    std::optional<FileEvent> next() {
        while (!over_ && have_next()) {
            if (std::optional<FileEvent> event = translate(take())) return event;
        }
        return std::nullopt;
    }

  private:
    struct Raw {
        std::uint32_t mask = 0;
        std::uint32_t cookie = 0;
        std::string name;
    };

    bool have_next() {
        if (begin_ < end_) return true;
        buffer_.resize(16 * 1024);
        ssize_t n;
        do {
            n = ::read(fd_, buffer_.data(), buffer_.size());
        } while (n < 0 && errno == EINTR);
        if (n < 0 && errno != EAGAIN) throw_file_error(errno, path_);
        begin_ = 0;
        end_ = n > 0 ? static_cast<std::size_t>(n) : 0;
        if (end_ == 0) std::vector<char>().swap(buffer_);  // none is held while nothing happens
        return end_ > 0;
    }
    Raw look() const {
        inotify_event head;
        std::memcpy(&head, buffer_.data() + begin_, sizeof head);
        Raw raw;
        raw.mask = head.mask;
        raw.cookie = head.cookie;
        // Padded with zeros.
        if (head.len > 0) raw.name = buffer_.data() + begin_ + sizeof head;
        return raw;
    }
    Raw take() {
        Raw raw = look();
        inotify_event head;
        std::memcpy(&head, buffer_.data() + begin_, sizeof head);
        begin_ += sizeof head + head.len;
        return raw;
    }

    std::string path_of(const Raw& raw) const {
        if (raw.name.empty()) return path_;
        return path_.ends_with('/') ? path_ + raw.name : path_ + '/' + raw.name;
    }
    FileEvent event(FileChange kind, const Raw& raw) const {
        FileEvent e;
        e.path = path_of(raw);
        e.kind = kind;
        return e;
    }
    FileEvent gone() {
        over_ = true;
        return event(FileChange::GONE, Raw());
    }

    std::optional<FileEvent> translate(const Raw& raw) {
        if (raw.mask & IN_Q_OVERFLOW) return event(FileChange::LOST, Raw());
        if (raw.mask & (IN_IGNORED | IN_MOVE_SELF | IN_UNMOUNT)) return gone();
        if (raw.mask & IN_DELETE_SELF) return std::nullopt;  // IN_IGNORED follows
        if (raw.mask & IN_CREATE) return event(FileChange::CREATED, raw);
        if (raw.mask & IN_MOVED_TO) return event(FileChange::CREATED, raw);
        if (raw.mask & IN_MOVED_FROM) return moved(raw);
        if (raw.mask & IN_DELETE) return event(FileChange::DELETED, raw);
        if (raw.mask & IN_CLOSE_WRITE) return event(FileChange::CLOSED, raw);
        if (raw.mask & IN_MODIFY) return event(FileChange::MODIFIED, raw);
        if (raw.mask & IN_ATTRIB) return attributes(raw);
        return std::nullopt;
    }
    // Where it went is told next, if it stayed in the directory.
    FileEvent moved(const Raw& from) {
        if (have_next()) {
            const Raw to = look();
            if ((to.mask & IN_MOVED_TO) && to.cookie == from.cookie) {
                FileEvent e = event(FileChange::MOVED, take());
                e.from = path_of(from);
                return e;
            }
        }
        return event(FileChange::DELETED, from);
    }
    // Of a file that somebody has open the system tells no more, when it is removed, than that it
    // has a link less.
    FileEvent attributes(const Raw& raw) {
        struct stat s{};
        if (!directory_ &&
            (::stat(path_.c_str(), &s) != 0 || s.st_dev != device_ || s.st_ino != inode_)) {
            return gone();
        }
        return event(FileChange::ATTRIBUTES, raw);
    }

    const std::string path_;
    int fd_ = -1;
    bool directory_ = false;
    dev_t device_ = 0;
    ino_t inode_ = 0;
    bool over_ = false;
    std::vector<char> buffer_;
    std::size_t begin_ = 0;
    std::size_t end_ = 0;
};

// Ends add_reader whatever happens.
class Reading {
  public:
    Reading(EventLoop& loop, int fd, const Future<void>& readable) : loop_(loop), fd_(fd) {
        loop_.add_reader(fd_, [readable] {
            if (!readable.done()) readable.set_result();
        });
    }
    Reading(const Reading&) = delete;
    Reading& operator=(const Reading&) = delete;
    ~Reading() { loop_.remove_reader(fd_); }

  private:
    EventLoop& loop_;
    const int fd_;
};

Coroutine<> wait_readable(int fd) {
    EventLoop& loop = get_running_loop();
    const Future<void> readable = loop.create_future();
    const Reading reading(loop, fd, readable);
    co_await readable;
}

AsyncGenerator<FileEvent> changes_of(std::unique_ptr<Watcher> watcher) {
    while (!watcher->over()) {
        std::optional<FileEvent> event = watcher->next();
        if (event) {
            co_yield std::move(*event);
        } else {
            co_await wait_readable(watcher->fd());
        }
    }
}

}  // namespace
}  // namespace detail

std::string FileEvent::repr() const {
    static constexpr const char* kNames[] = {"CREATED", "MODIFIED", "CLOSED", "ATTRIBUTES",
                                             "DELETED", "MOVED",    "LOST",   "GONE"};
    std::string text = kNames[static_cast<std::size_t>(kind)];
    if (kind == FileChange::MOVED) text += ' ' + detail::quoted(from) + " to";
    return text + ' ' + detail::quoted(path);
}

AsyncGenerator<FileEvent> watch(std::string_view path) {
    return detail::changes_of(std::make_unique<detail::Watcher>(detail::checked_path(path)));
}

}  // namespace asyncio::inline v1
