// Task::set_result
// says: set_result
#include <asyncio.hpp>

void f(asyncio::Task<int> task) { task.set_result(5); }
