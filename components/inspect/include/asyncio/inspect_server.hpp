// Looking into a program that no tool may read: it tells of itself, over a unix socket.
//
//     auto server = asyncio::inspect::serve("/run/shop/inspect.sock");
//
//     $ asyncio console /run/shop/inspect.sock
//     $ curl --unix-socket /run/shop/inspect.sock http://localhost/pstree
#pragma once

#include <memory>
#include <string>

#include "asyncio/inspect.hpp"

namespace asyncio {
inline namespace v1 {
namespace inspect {

// Serves for as long as it lives. In a child of fork() it serves nothing, and may be destroyed.
class ASYNCIO_API Server {
  public:
    // Of nothing.
    Server() noexcept;
    Server(Server&& other) noexcept;
    Server& operator=(Server&& other) noexcept;
    // As close().
    ~Server();

    // Where it listens; empty once it is closed.
    std::string path() const;
    // Ends it, waits for its threads, which takes as long as an answer that is being made, and
    // removes its socket. On any thread.
    void close() noexcept;

  private:
    class State;
    friend Server serve(const std::string& path);
    explicit Server(std::unique_ptr<State> state) noexcept;
    std::unique_ptr<State> state_;
};

// Serves the page of `asyncio console`, and what it shows, over HTTP on the unix socket `path`, for
// this user and root: the file's mode is 0600. A socket that a program left there which has ended
// is replaced. It has two threads of its own, which take no signals, and so it answers while loops
// are stuck. A loop that runs without a pause is held between two steps while it is read, for at
// most 90 ms; one that sleeps is not disturbed. Nobody asks: it costs nothing.
//
// `GET /` is the page, `/ps`, `/pstree`, `/stack?task=NAME` and `/metrics` are what the program
// `asyncio` prints (docs/inspect.md), with its options as `?filter=TEXT&loop=1&all=1&json=1`.
//
// Raises: ValueError if `path` is empty or begins with a zero (an abstract name, which everybody
// could connect to); OSError if it is too long, is no socket but there, or another process listens
// there; RuntimeError if there are no threads; std::bad_alloc.
[[nodiscard("it serves only while the result lives")]] ASYNCIO_API Server
serve(const std::string& path);

}  // namespace inspect
}  // namespace v1
}  // namespace asyncio
