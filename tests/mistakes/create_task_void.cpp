// create_task(f()) of a plain function
// says: void
// lines: 13
#include <asyncio.hpp>

void g();
void f() { asyncio::create_task(g()); }
