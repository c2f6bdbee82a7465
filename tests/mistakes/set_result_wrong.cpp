// Future<int>::set_result("text")
// says: set_result()
#include <asyncio.hpp>

void f(asyncio::Future<int> future) { future.set_result("text"); }
