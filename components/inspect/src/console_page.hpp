// The page of `asyncio console`, which the build makes of tools/asyncio/console/.
#pragma once

#include <string>

namespace tool {

std::string console_page();

}  // namespace tool
