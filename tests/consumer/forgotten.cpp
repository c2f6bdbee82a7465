// A body without any co_ word: no coroutine, but a function that returns nothing.
#include <asyncio.hpp>

asyncio::Coroutine<int> forgotten() {}

int main() {}
