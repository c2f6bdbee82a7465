// run_main(program) of a plain function
// says: run_main() takes
#include <asyncio.hpp>

void program();
int main() { return asyncio::run_main(program); }
