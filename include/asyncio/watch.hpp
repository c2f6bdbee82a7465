// watch: what changes in a directory or a file, as an asynchronous generator. inotify(7).
#pragma once

#include <cstdint>
#include <string>

#include "asyncio/detail/path_view.hpp"
#include "asyncio/generators.hpp"

namespace asyncio {
inline namespace v1 {

// What has happened to a file.
enum class FileChange : std::uint8_t {
    CREATED,     // made here, or moved here from elsewhere
    MODIFIED,    // written to or truncated
    CLOSED,      // closed by somebody who had it open for writing
    ATTRIBUTES,  // permissions, owner, times, number of links
    DELETED,     // removed, or moved elsewhere
    MOVED,       // renamed within the directory: `from` is the old path
    LOST,        // more has happened than there was room or memory for: look at everything
    GONE,        // the path leads no longer to what is watched: the last event
};

// One of what watch() gives.
struct FileEvent {
    std::string path;  // the watched path as it was given and, of a directory, the name in it
    FileChange kind = FileChange::MODIFIED;  // what has happened to it
    std::string from;                        // MOVED: the path before

    // `MODIFIED 'logs/x'`.
    ASYNCIO_API std::string repr() const;
};

// Yields each change of a directory's entries (not of those in directories below it), or of a file,
// from this call on, in the order of the system, which makes one of several equal ones that follow
// each other: `while (auto event = co_await changes.next()) ...`
// What changes while nobody asks is kept by the system, up to a limit of its own
// (fs.inotify.max_queued_events), and, while another watch of this loop is asked, up to 16384
// events here; beyond it there is one event LOST, and then what comes later. All watches of a loop
// share one inotify instance, and thus the system's queue.
//
// When the path no longer leads to what is watched, since that or a directory above it was removed
// or renamed, GONE is the last event: within half a second where the system does not tell (of
// thousands of watches: some seconds). What is made at the path afterwards is another one, to be
// watched anew. A rename of which the system tells in two parts is DELETED and CREATED.
//
// Raises, from next(): OSError and its kin, with the path, and the name of the limit that was
// reached (fs.inotify.max_user_watches, fs.inotify.max_user_instances); ValueError "embedded null
// byte"; NotImplementedError on virtual time; RuntimeError in another loop while its own is open.
// If cancelled: a next() that is cancelled ends the generator, as it does with every generator.
[[nodiscard(
    "drive it: while (auto x = co_await generator.next())")]] ASYNCIO_API AsyncGenerator<FileEvent>
watch(PathView path);

}  // namespace v1
}  // namespace asyncio
