// add_done_callback of a function with other parameters
// says: a done callback takes
#include <asyncio.hpp>

void f(asyncio::Task<int> task) {
    task.add_done_callback([](int) {});
}
