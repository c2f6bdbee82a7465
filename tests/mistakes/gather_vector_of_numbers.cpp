// gather of a vector of numbers
// says: gather() takes
#include <asyncio.hpp>

#include <vector>

asyncio::Coroutine<> f(std::vector<int> numbers) { co_await asyncio::gather(numbers); }
