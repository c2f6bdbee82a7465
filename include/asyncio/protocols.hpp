// Protocols: what a transport calls when something happens to its connection. Derive from one and
// override what matters. PR-01 to PR-09.
#pragma once

#include <cstddef>
#include <exception>
#include <span>
#include <string_view>

#include "asyncio/detail/config.hpp"

namespace asyncio {
inline namespace v1 {

class Transport;
class DatagramTransport;
class SubprocessTransport;
class SocketAddress;

// What all protocols have. Their methods are called on the loop's thread, connection_made first and
// connection_lost last, each once (PR-09). What a method throws goes to the loop's exception
// handler; if it was called with data or their end, the connection is aborted, too (TR-13).
class ASYNCIO_API BaseProtocol {
  public:
    BaseProtocol() noexcept = default;
    BaseProtocol(const BaseProtocol&) = delete;
    BaseProtocol& operator=(const BaseProtocol&) = delete;
    virtual ~BaseProtocol();

    // The connection is over: null after a clean end, close() or abort(), else the error (PR-02).
    virtual void connection_lost(std::exception_ptr error);
    // The write buffer has grown over its high mark; has shrunk to its low mark (PR-03, TR-10).
    virtual void pause_writing();
    virtual void resume_writing();
};

// A byte stream.
class ASYNCIO_API Protocol : public BaseProtocol {
  public:
    ~Protocol() override;
    // `transport` stays valid until connection_lost has returned; copy it to keep it longer.
    virtual void connection_made(Transport& transport);
    // `data` is valid during the call (PR-04).
    virtual void data_received(std::string_view data);
    // The peer will send no more. False: the transport closes itself; true: it stays half open
    // (PR-05).
    virtual bool eof_received();
};

// A byte stream that is read into the protocol's own memory. PR-06.
class ASYNCIO_API BufferedProtocol : public BaseProtocol {
  public:
    ~BufferedProtocol() override;
    // As Protocol's.
    virtual void connection_made(Transport& transport);
    // Where the next bytes go; not empty. `hint`: how many may come, 0 if that is not known.
    virtual std::span<char> get_buffer(std::size_t hint) = 0;
    // `n` bytes were put at the start of that buffer.
    virtual void buffer_updated(std::size_t n) = 0;
    // As Protocol's.
    virtual bool eof_received();
};

// Datagrams.
class ASYNCIO_API DatagramProtocol : public BaseProtocol {
  public:
    ~DatagramProtocol() override;
    // The socket is there. `transport` stays valid until connection_lost has returned.
    virtual void connection_made(DatagramTransport& transport);
    // A datagram came; `data` is valid during the call.
    virtual void datagram_received(std::string_view data, const SocketAddress& from);
    // An OSError of an earlier send or receive; the endpoint stays open (PR-07).
    virtual void error_received(std::exception_ptr error);
};

// A child process and its pipes. PR-08.
class ASYNCIO_API SubprocessProtocol : public BaseProtocol {
  public:
    ~SubprocessProtocol() override;
    // The child runs. `transport` stays valid until connection_lost has returned.
    virtual void connection_made(SubprocessTransport& transport);
    // The child wrote `data`, which is valid during the call. `fd`: 1 or 2, as the child sees it.
    virtual void pipe_data_received(int fd, std::string_view data);
    // A pipe is over: null at its end, else the error. `fd`: 0, 1 or 2, as the child sees it.
    virtual void pipe_connection_lost(int fd, std::exception_ptr error);
    // The child has ended; its pipes may still be open.
    virtual void process_exited();
};

}  // namespace v1
}  // namespace asyncio
