// create_task() without anything
// says: create_task()
#include <asyncio.hpp>

void f() { asyncio::create_task(); }
