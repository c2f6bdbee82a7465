// a coroutine that returns a Task
// says: promise type | promise_type
#include <asyncio.hpp>

asyncio::Task<int> f() { co_return 5; }
