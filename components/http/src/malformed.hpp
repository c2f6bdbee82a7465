// What a server sent is not HTTP. Thrown by what reads it; the exchange adds the URL and raises a
// ProtocolError.
#pragma once

#include <stdexcept>

namespace asyncio {
inline namespace v1 {
namespace http::detail {

class Malformed : public std::runtime_error {
  public:
    using std::runtime_error::runtime_error;
};

}  // namespace http::detail
}  // namespace v1
}  // namespace asyncio
