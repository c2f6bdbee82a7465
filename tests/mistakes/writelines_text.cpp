// writer.writelines("text")
// says: writelines
#include <asyncio.hpp>

#include <string>

void f(asyncio::StreamWriter writer, std::string text) { writer.writelines(text); }
