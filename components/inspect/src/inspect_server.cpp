#include "asyncio/inspect_server.hpp"

#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <optional>
#include <system_error>
#include <thread>
#include <utility>

#include "asyncio/exceptions.hpp"
#include "asyncio/log.hpp"
#include "asyncio/sockets.hpp"
#include "os/sockets.hpp"
#include "os/threads.hpp"
#include "own_hold.hpp"
#include "page_server.hpp"
#include "site.hpp"

namespace asyncio {
inline namespace v1 {
namespace inspect {

namespace {

using namespace detail::reading;

// Threads that begin meanwhile get the program's signals no more than those that it has chosen to.
class SignalsBlocked {
  public:
    SignalsBlocked() noexcept {
        sigset_t all;
        sigfillset(&all);
        ::pthread_sigmask(SIG_SETMASK, &all, &before_);
    }
    SignalsBlocked(const SignalsBlocked&) = delete;
    SignalsBlocked& operator=(const SignalsBlocked&) = delete;
    ~SignalsBlocked() { ::pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

  private:
    sigset_t before_{};
};

// Whether a program that has ended left a socket there: nobody listens. Where that cannot be known,
// as this user may not connect, nothing is removed.
bool is_left_behind(const SocketAddress& address) {
    const Socket probe(AF_UNIX, SOCK_STREAM);
    // Safe because this is how addresses are given to sockets: sockaddr(3type).
    const auto* const to = reinterpret_cast<const sockaddr*>(address.data());
    return ::connect(probe.fileno(), to, static_cast<socklen_t>(address.size())) != 0 &&
           errno == ECONNREFUSED;
}

// What a socket has in the file system, which goes with this.
class BoundFile {
  public:
    BoundFile() = default;
    explicit BoundFile(const Socket& socket) : file_(detail::file_of(socket)) {}
    BoundFile(BoundFile&& other) noexcept : file_(std::exchange(other.file_, std::nullopt)) {}
    BoundFile& operator=(BoundFile&& other) noexcept {
        std::swap(file_, other.file_);
        return *this;
    }
    ~BoundFile() {
        if (file_) detail::remove_file(*file_);
    }

  private:
    std::optional<detail::SocketFile> file_;
};

struct Listening {
    Socket socket;
    BoundFile file;
};

Listening listen_at(const std::string& path) {
    if (path.empty() || path[0] == '\0') {
        throw ValueError("a socket that only its user may use needs a file's path");
    }
    const SocketAddress address = SocketAddress::unix(path);
    Listening at;
    at.socket = Socket(AF_UNIX, SOCK_STREAM);
    if (is_left_behind(address)) detail::remove_stale_file(path);
    at.socket.bind(address);
    at.file = BoundFile(at.socket);
    // Nobody can connect before it listens.
    if (::chmod(path.c_str(), S_IRUSR | S_IWUSR) != 0) {
        throw OSError(errno, std::generic_category().message(errno), path);
    }
    at.socket.listen(128);
    return at;
}

}  // namespace

class Server::State {
  public:
    State(const std::string& path, Listening at)
        : file_(std::move(at.file)),
          path_(path),
          stop_(event()),
          listener_(at.socket.fileno()),
          server_(at.socket.detach()),
          site_(::getpid(), {}, hold_own),
          thread_([this] { run(); }) {}
    State(const State&) = delete;
    State& operator=(const State&) = delete;
    ~State() {
        ::eventfd_write(stop_.fileno(), 1);
        thread_.join();
    }

    const std::string& path() const { return path_; }
    bool is_of_parent() const { return pid_ != ::getpid(); }
    // Its threads are the parent's, and what they held may never be let go.
    void leave_to_parent() const noexcept { ::close(listener_); }

  private:
    static int event() {
        const int fd = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (fd < 0) throw OSError(errno, std::generic_category().message(errno));
        return fd;
    }
    void run() noexcept {
        detail::name_this_thread("asyncio-inspect");
        try {
            server_.serve(stop_.fileno(), [this](std::string_view path, std::string_view query) {
                return site_.answer(path, query);
            });
        } catch (const std::exception& e) {
            // There is nobody above this thread to tell.
            log::write(log::Level::ERROR, std::string("asyncio::inspect::serve: ") + e.what());
        }
    }

    const pid_t pid_ = ::getpid();
    BoundFile file_;
    const std::string path_;
    const Socket stop_;
    const int listener_;
    PageServer server_;
    Site site_;
    std::thread thread_;
};

Server::Server() noexcept = default;
Server::Server(std::unique_ptr<State> state) noexcept : state_(std::move(state)) {}
Server::Server(Server&& other) noexcept = default;
Server& Server::operator=(Server&& other) noexcept {
    if (this == &other) return *this;
    close();
    state_ = std::move(other.state_);
    return *this;
}
Server::~Server() { close(); }

std::string Server::path() const { return state_ ? state_->path() : std::string(); }

void Server::close() noexcept {
    if (state_ && state_->is_of_parent()) {
        state_.release()->leave_to_parent();
        return;
    }
    state_.reset();
}

Server serve(const std::string& path) {
    Listening at = listen_at(path);
    const SignalsBlocked blocked;
    try {
        return Server(std::make_unique<Server::State>(path, std::move(at)));
    } catch (const Failure& e) {
        throw RuntimeError(e.what());
    } catch (const std::system_error& e) {
        if (dynamic_cast<const OSError*>(&e)) throw;
        throw RuntimeError("can't start new thread");
    }
}

}  // namespace inspect
}  // namespace v1
}  // namespace asyncio
