// What happens to files, told by the system: inotify(7).
#pragma once

#include <sys/inotify.h>

#include <cstdint>
#include <string>
#include <vector>

#include "os/files.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

// What the system has told, of one thing that it watches.
struct FileNotice {
    static constexpr std::uint32_t kCreated = IN_CREATE;
    static constexpr std::uint32_t kModified = IN_MODIFY;
    static constexpr std::uint32_t kClosed = IN_CLOSE_WRITE;  // by who has written to it
    static constexpr std::uint32_t kAttributes = IN_ATTRIB;
    static constexpr std::uint32_t kDeleted = IN_DELETE;
    // The two halves of a rename, in the directory before and in the one after.
    static constexpr std::uint32_t kMovedFrom = IN_MOVED_FROM;
    static constexpr std::uint32_t kMovedTo = IN_MOVED_TO;
    // What is watched was itself renamed or removed.
    static constexpr std::uint32_t kSelf = IN_MOVE_SELF | IN_DELETE_SELF;
    // It is no longer there, and the system will say no more of it.
    static constexpr std::uint32_t kOver = IN_IGNORED | IN_UNMOUNT;
    // The number is not used any more.
    static constexpr std::uint32_t kForgotten = IN_IGNORED;
    // There was more than the system keeps; of no single one.
    static constexpr std::uint32_t kMissed = IN_Q_OVERFLOW;

    int watch = -1;
    std::uint32_t mask = 0;
    std::uint32_t cookie = 0;  // the same in both halves of a rename
    std::string name;          // of what is in a watched directory
};

// inotify_init1(2): a descriptor that is readable when something was told. `path`: what is to be
// watched, for the error. Raises: OSError, which names the limit if it is that.
int open_notices(const std::string& path);
// inotify_add_watch(2): a number for what the path leads to, the same each time; -1 and errno.
int watch_file(int notices, const std::string& path) noexcept;
// Raises: the OSError of an errno of watch_file(), which names the limit if it is that.
[[noreturn]] void throw_watch_error(int error, const std::string& path);
// inotify_rm_watch(2).
void unwatch_file(int notices, int watch) noexcept;
// Adds what was told, as much as one read(2) gives. Returns whether there may be more.
// Raises: OSError.
bool read_notices(int notices, std::vector<FileNotice>& told);

}  // namespace detail
}  // namespace v1
}  // namespace asyncio
