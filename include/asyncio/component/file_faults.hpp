// Calls of the system on files that fail when somebody wants it: for tests. Where nobody does it is
// one look at a pointer for each.
#pragma once

#include "asyncio/detail/config.hpp"

namespace asyncio {
inline namespace v1 {
namespace component {

// Asked on the thread of each call that opens, reads, writes, cuts, syncs, looks at, closes,
// renames or removes a file, or lists or makes a directory, before it is made; `call` is its name,
// "fsync". Not 0: it is not made, and has failed with that errno; of "close" the file is closed all
// the same.
using FileHook = int (*)(const char* call);

// `hook` is asked from now on, by all threads; null: nobody is. It raises nothing. What the loop's
// own thread would do at once, since the system has it in memory, goes to a thread meanwhile.
// Returns the one before.
ASYNCIO_API FileHook set_file_hook(FileHook hook) noexcept;

}  // namespace component
}  // namespace v1
}  // namespace asyncio
