// ContextVar of a move-only type, read by value
// says: is copied to whoever asks
#include <asyncio.hpp>

#include <memory>

asyncio::ContextVar<std::unique_ptr<int>> variable("v");
void f() { auto p = variable.get(); }
