// writer.write(5)
// says: write
#include <asyncio.hpp>

void f(asyncio::StreamWriter writer) { writer.write(5); }
