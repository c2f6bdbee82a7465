// run(5)
// says: run() takes
#include <asyncio.hpp>

int main() { asyncio::run(5); }
