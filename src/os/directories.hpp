// Directories: what POSIX has (opendir, readdir...) by its own name, and the removal of a whole
// tree.
#pragma once

#include <dirent.h>

#include <chrono>
#include <memory>
#include <string>

#include "os/files.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

struct CloseDirectory {
    void operator()(DIR* directory) const noexcept { ::closedir(directory); }
};
using Directory = std::unique_ptr<DIR, CloseDirectory>;

// readdir(3), but for "." and "..". Null: that was the last one, if errno is 0.
const dirent* next_entry(DIR* directory) noexcept;
// What kind of file it is, as in st_mode; 0 if it vanishes meanwhile. Does not follow a link.
mode_t type_of_entry(DIR* directory, const dirent& entry) noexcept;

// Removes a directory and all that is in it, as far as it can; `path` is absolute. Neither follows
// a link nor enters what is mounted there; a directory that its owner may not change is changed so
// that he may. Holds few descriptors, however deep it is.
// Raises: OSError, of the first that could not be removed, when all else is; std::bad_alloc.
// `patience`: for how long what others make in it meanwhile is removed as well, as a call does that
// was cancelled and has not ended yet; this thread sleeps between two tries. 0: one try.
void remove_tree(const std::string& path, std::chrono::milliseconds patience);

}  // namespace detail
}  // namespace v1
}  // namespace asyncio
