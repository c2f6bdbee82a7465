// open_file(5)
// says: a path is text, or a std::filesystem::path
#include <asyncio.hpp>

asyncio::Coroutine<> f() { auto file = co_await asyncio::open_file(5); }
