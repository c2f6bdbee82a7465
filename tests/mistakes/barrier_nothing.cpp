// Barrier without its number
// says: Barrier
#include <asyncio.hpp>

void f() { asyncio::Barrier barrier; }
