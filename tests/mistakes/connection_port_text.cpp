// open_connection("host", "80"): the port as text
// says: open_connection
#include <asyncio.hpp>

asyncio::Coroutine<> f() { auto streams = co_await asyncio::open_connection("host", "80"); }
