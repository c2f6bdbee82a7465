// run() without a program
// says: run()
#include <asyncio.hpp>

int main() { asyncio::run(); }
