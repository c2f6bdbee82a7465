// run(program) of a function with parameters
// says: run() takes
#include <asyncio.hpp>

asyncio::Coroutine<> program(int);
int main() { asyncio::run(program); }
