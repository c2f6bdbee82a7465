// What protocols do where a user has overridden nothing. Out of line, so that each class's type
// information exists once, in the library.
#include "asyncio/protocols.hpp"

namespace asyncio {
inline namespace v1 {

BaseProtocol::~BaseProtocol() = default;
void BaseProtocol::connection_lost(std::exception_ptr) {}
void BaseProtocol::pause_writing() {}
void BaseProtocol::resume_writing() {}

Protocol::~Protocol() = default;
void Protocol::connection_made(Transport&) {}
void Protocol::data_received(std::string_view) {}
bool Protocol::eof_received() { return false; }

BufferedProtocol::~BufferedProtocol() = default;
void BufferedProtocol::connection_made(Transport&) {}
bool BufferedProtocol::eof_received() { return false; }

DatagramProtocol::~DatagramProtocol() = default;
void DatagramProtocol::connection_made(DatagramTransport&) {}
void DatagramProtocol::datagram_received(std::string_view, const SocketAddress&) {}
void DatagramProtocol::error_received(std::exception_ptr) {}

SubprocessProtocol::~SubprocessProtocol() = default;
void SubprocessProtocol::connection_made(SubprocessTransport&) {}
void SubprocessProtocol::pipe_data_received(int, std::string_view) {}
void SubprocessProtocol::pipe_connection_lost(int, std::exception_ptr) {}
void SubprocessProtocol::process_exited() {}

}  // namespace v1
}  // namespace asyncio
