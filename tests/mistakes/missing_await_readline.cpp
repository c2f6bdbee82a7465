// std::string s = reader.readline(): co_await forgotten
// says: ReadBytes
// lines: 22
#include <asyncio.hpp>

#include <string>

asyncio::Coroutine<> f(asyncio::StreamReader reader) {
    std::string s = reader.readline();
    co_return;
}
