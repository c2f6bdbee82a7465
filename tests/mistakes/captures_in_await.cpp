// a lambda that captures a text, inside co_await (g++ 12)
// says: name this
// only: g++
#include <asyncio.hpp>

#include <string>

asyncio::Coroutine<> f(std::string text) {
    co_await asyncio::to_thread([text] { return text; });
}
