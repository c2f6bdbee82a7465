// group.create_task(5)
// says: create_task() takes
#include <asyncio.hpp>

void f(asyncio::TaskGroup& group) { group.create_task(5); }
