// co_return of a value in a generator
// says: return_value
#include <asyncio.hpp>

asyncio::AsyncGenerator<int> f() { co_return 5; }
