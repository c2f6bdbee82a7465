// Files that are read and written without blocking the loop, which asyncio lacks: open_file, whole
// files, directories, temporary and atomically replaced files.
//
// A page that the system has in memory is read at once, in the caller, without a thread; all that
// may block runs on threads that the loop keeps for files alone (docs/internals.md says why).
// Nothing is buffered on writing: what write() has returned from is the system's.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <iosfwd>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "asyncio/coroutines.hpp"
#include "asyncio/detail/path_view.hpp"
#include "asyncio/detail/refcount.hpp"
#include "asyncio/exceptions.hpp"
#include "asyncio/generators.hpp"

namespace asyncio {
inline namespace v1 {

// A file does not do this: it was opened for something else (Python's io.UnsupportedOperation).
class ASYNCIO_API UnsupportedOperation : public OSError {
  public:
    UnsupportedOperation() : UnsupportedOperation(std::string()) {}
    explicit UnsupportedOperation(const std::string& message) : OSError(message) {}
    const char* what() const noexcept override;
};

// What a name in a directory stands for.
enum class FileType : std::uint8_t {
    UNKNOWN,           // the system does not say
    REGULAR,           // a file with bytes
    DIRECTORY,         // a directory
    SYMLINK,           // a symbolic link, itself
    FIFO,              // a named pipe
    SOCKET,            // a unix socket
    CHARACTER_DEVICE,  // a terminal, /dev/null
    BLOCK_DEVICE,      // a disk
};

// What the system knows of a file, stat(2).
struct FileStat {
    // A point of the system's clock.
    using Time = std::chrono::time_point<std::chrono::system_clock, std::chrono::nanoseconds>;

    std::int64_t size = 0;              // bytes
    FileType type = FileType::UNKNOWN;  // what it is
    unsigned permissions = 0;           // the low twelve bits of st_mode: 0644
    unsigned uid = 0;                   // its owner
    unsigned gid = 0;                   // its group
    std::uint64_t device = 0;           // where it is: with `inode` its identity
    std::uint64_t inode = 0;            // its number there
    std::uint64_t links = 0;            // how many names it has
    std::int64_t allocated = 0;         // bytes on the disk
    Time accessed;                      // when it was read last, as far as the system notes that
    Time modified;                      // when it was written to last
    Time changed;                       // when anything of the above was changed last

    // Whether `type` is REGULAR, DIRECTORY, SYMLINK.
    bool is_file() const noexcept { return type == FileType::REGULAR; }
    bool is_directory() const noexcept { return type == FileType::DIRECTORY; }
    bool is_symlink() const noexcept { return type == FileType::SYMLINK; }
};

// Options of open_file.
struct OpenOptions {
    unsigned permissions = 0666;          // of a file that is made, less the process's umask
    std::size_t buffer_size = 64 * 1024;  // bytes that readline() and next() read at a time
};

namespace detail {

class FileState;

}  // namespace detail

// An open file, of bytes: a cheap shared handle; the file is closed with the last one, or by
// close(), which tells of errors. It belongs to the loop that opened it.
//
// Calls that use the position (read, write, readline, seek, ...) run one after another, in the
// order they were made, also when several tasks make them; pread and pwrite run beside them.
//
// Cancelled calls. The caller is resumed at once. A call that still waits for its turn, or for a
// thread, is not made at all, and one that waits for the bytes of a pipe or terminal ends. Any
// other that runs on a thread cannot be stopped: it owns its bytes, goes on to its end, and later
// calls wait for it. A cancelled read leaves the position where it was, so that nothing is skipped
// (what it took from a pipe or terminal comes with the next read); a cancelled write that has begun
// is written whole, and the position is behind it.
class ASYNCIO_API File {
  public:
    // An empty handle.
    File() noexcept;
    File(const File&) noexcept;
    File(File&&) noexcept;
    File& operator=(const File&) noexcept;
    File& operator=(File&&) noexcept;
    ~File();
    explicit operator bool() const noexcept { return static_cast<bool>(state_); }

    // Reads `n` bytes, fewer only at the end of the file; -1: all that is left. "": the end.
    // Raises: UnsupportedOperation "read"; ValueError "I/O operation on closed file", "read length
    // must be non-negative or -1"; OSError.
    // If cancelled: the position stays, see above.
    Coroutine<std::string> read(std::int64_t n = -1) const;
    // The same into memory of the caller's, which must stay until this ends; gives how many bytes.
    // Raises: as read.
    // If cancelled: the position stays, and nothing writes to the memory any more.
    Coroutine<std::size_t> read_into(std::span<std::byte> to) const;
    Coroutine<std::size_t> read_into(std::span<char> to) const;
    // Reads up to the next newline, which is part of the result but for the last line of a file
    // that ends without one; at most `limit` bytes (-1: any number). "": the end.
    // Raises: as read.
    // If cancelled: the position stays, see above.
    Coroutine<std::string> readline(std::int64_t limit = -1) const;
    // The next line as readline() gives it, empty at the end of the file:
    // `while (auto line = co_await file.next()) ...`
    // Raises: as read.
    // If cancelled: the position stays, see above.
    Coroutine<std::optional<std::string>> next() const;
    // Writes all of `data`, in mode "a" at the end of the file; gives its size. A view is copied
    // now, a temporary string is moved. Raises: UnsupportedOperation "write"; ValueError "I/O
    // operation on closed file"; OSError, when the position is behind what was written before it.
    // If cancelled: what has begun is written whole, see above.
    Coroutine<std::size_t> write(std::string_view data) const;
    Coroutine<std::size_t> write(std::string&& data) const;
    Coroutine<std::size_t> write(const char* data) const;
    Coroutine<std::size_t> write(std::span<const std::byte> data) const;

    // Reads up to `n` bytes from `offset` on, whatever the position is; fewer only at the end.
    // Raises: as read; ValueError for a negative `offset`.
    // If cancelled: what is read is dropped.
    Coroutine<std::string> pread(std::size_t n, std::int64_t offset) const;
    // Writes all of `data` at `offset` (in mode "a" at the end, as Linux does); gives its size.
    // Raises: as write; ValueError for a negative `offset`.
    // If cancelled: what has begun is written whole.
    Coroutine<std::size_t> pwrite(std::string_view data, std::int64_t offset) const;

    // Moves the position to `offset` from the start (whence 0), from the position (1) or from the
    // end of the file (2), as SEEK_SET, SEEK_CUR and SEEK_END say; gives the new one.
    // Raises: ValueError "whence value N unsupported", "I/O operation on closed file"; OSError
    // EINVAL for a position before the start, ESPIPE for a pipe or terminal.
    // If cancelled: the position stays.
    Coroutine<std::int64_t> seek(std::int64_t offset, int whence = 0) const;
    // The position. Raises: ValueError "I/O operation on closed file"; OSError ESPIPE for a pipe or
    // terminal.
    std::int64_t tell() const;
    // Cuts the file or extends it by zeros; without a size at the position, which stays. Gives the
    // new size. Raises: UnsupportedOperation "truncate"; OSError.
    // If cancelled: what has begun goes on.
    Coroutine<std::int64_t> truncate(std::optional<std::int64_t> size = std::nullopt) const;
    // Waits until the disk has what was written, fsync(2); `data_only`: fdatasync(2).
    // Raises: OSError; ValueError "I/O operation on closed file".
    // If cancelled: what has begun goes on.
    Coroutine<> sync(bool data_only = false) const;
    // What the system knows of it, fstat(2).
    // Raises: OSError; ValueError "I/O operation on closed file".
    // If cancelled: nothing happens.
    Coroutine<FileStat> stat() const;
    // Closes it, once calls that run have ended: new ones are refused from now on. May be called
    // again. Raises: OSError, if the system could not write what it was given (the file is closed
    // all the same).
    // If cancelled: it is closed nevertheless.
    Coroutine<> close() const;

    // True once close() was called.
    bool closed() const;
    // Whether its mode lets it be read, be written to.
    bool readable() const;
    bool writable() const;
    // False for pipes, sockets and terminals.
    bool seekable() const;
    // The descriptor, borrowed. Raises: ValueError "I/O operation on closed file".
    int fileno() const;
    // As it was opened: path and mode.
    const std::string& name() const;
    const std::string& mode() const;
    // `<File name='x' mode='rb'>`.
    std::string repr() const;

    // For `with`: gives this handle, and closes the file at the end.
    // If cancelled: nothing happens, since it does not wait.
    Coroutine<File> aenter() const;
    Coroutine<bool> aexit(std::exception_ptr error) const;

    friend bool operator==(const File& a, const File& b) noexcept { return a.state_ == b.state_; }

    // For the library.
    explicit File(detail::Ref<detail::FileState> state) noexcept;

  private:
    detail::FileState& state() const;

    detail::Ref<detail::FileState> state_;
};

ASYNCIO_API std::ostream& operator<<(std::ostream& out, const File& file);

// Opens a file, as Python's open() in its binary modes: "r" reads, "w" writes a new or emptied
// file, "a" appends, "x" writes a file that must not exist; "+" does both; "b" is allowed.
// Raises: ValueError "invalid mode: 'q'", "embedded null byte", ...; OSError and its kin, with the
// path: FileNotFoundError "[Errno 2] No such file or directory: 'x'".
// If cancelled: a file that is being opened is closed again; one made by "w" stays.
[[nodiscard("co_await it")]] ASYNCIO_API Coroutine<File> open_file(PathView path,
                                                                   std::string_view mode = "r",
                                                                   OpenOptions options = {});

// ---- whole files -------------------------------------------------------------------------------

// All of a file. Raises: OSError and its kin, with the path.
// If cancelled: what is read is dropped.
[[nodiscard("co_await it")]] ASYNCIO_API Coroutine<std::string> read_file(PathView path);
// Makes or empties a file and writes `data`; to a FIFO when somebody reads it. Raises: OSError and
// its kin, with the path.
// If cancelled: what has begun goes on to its end; a wait for a FIFO's reader ends.
[[nodiscard("co_await it")]] ASYNCIO_API Coroutine<> write_file(PathView path, std::string data);

// Of replace_file().
struct ReplaceOptions {
    unsigned permissions = 0666;  // of a new file, less the umask; one that exists keeps its own
    bool sync = true;             // wait for the disk: the change survives a power cut
};
// Replaces what is in a file so that everybody, at every moment and after a crash, sees the old
// bytes or the new ones: writes a temporary file beside it, fsync(2), rename(2), and fsync of the
// directory. Of a symbolic link the file it names is replaced, or made.
//
// The new file has the owner, group, permissions and access list of the old one before its first
// byte is written, as far as this user may give them: a group that cannot be kept gets no rights
// that all others have not. Other extended attributes and other hard links stay with the old one.
// A process that ends meanwhile leaves `.NAME.0123456789abcdef.tmp`: a dot, up to 200 bytes of
// the name, and sixteen hexadecimal digits.
// Raises: OSError and its kin, with the path, EINVAL "Not a regular file" for a device, FIFO or
// socket; then the old file is there, and no temporary one. Only a disk that fails (EIO) when the
// directory is written says so of a file that is replaced already.
// If cancelled: what has begun goes on to its end: one of both, never a part.
[[nodiscard("co_await it")]] ASYNCIO_API Coroutine<> replace_file(PathView path, std::string data,
                                                                  ReplaceOptions options = {});

// Of copy_file().
struct CopyOptions {
    bool permissions = true;  // the copy gets those of the original
    bool overwrite = true;    // false: FileExistsError if `to` exists
};
// Copies a file's bytes inside the system where it can (copy_file_range(2), sendfile(2)), else
// through memory, in pieces, so that neither the loop nor other files wait; gives their number.
// Holes of a regular file, which take no room on the disk, are holes in the copy.
// Permissions are set before the first byte; where they may not be, nothing is copied.
// A FIFO is copied, from or to, when somebody is at its other end.
// Raises: OSError and its kin, with the path, also if both are the same file.
// If cancelled: the copy ends after the piece it is at, and what was copied stays.
[[nodiscard("co_await it")]] ASYNCIO_API Coroutine<std::int64_t> copy_file(
    PathView from, PathView to, CopyOptions options = {});

// ---- directories -------------------------------------------------------------------------------

// An entry of a directory.
struct DirEntry {
    std::string name;                   // within the directory
    std::string path;                   // the directory's, as it was given, and the name
    FileType type = FileType::UNKNOWN;  // what it is

    // Whether `type` is REGULAR, DIRECTORY, SYMLINK.
    bool is_file() const noexcept { return type == FileType::REGULAR; }
    bool is_directory() const noexcept { return type == FileType::DIRECTORY; }
    bool is_symlink() const noexcept { return type == FileType::SYMLINK; }
};
// The entries of a directory but "." and "..", in the system's order, read as they are asked for.
// Raises, from next(): OSError and its kin, with the path.
// If cancelled: a next() that is cancelled ends the generator, as it does with every generator.
[[nodiscard(
    "drive it: while (auto x = co_await generator.next())")]] ASYNCIO_API AsyncGenerator<DirEntry>
list_dir(PathView path = ".");

// A directory of a walk, with the names in it, sorted.
struct WalkEntry {
    std::string path;                      // its own, beginning with the one that was given
    std::vector<std::string> directories;  // take one out, and walk() does not go into it
    std::vector<std::string> files;        // all that is no directory, links to directories too
};
// Of walk().
struct WalkOptions {
    bool top_down = true;        // a directory before those in it
    bool follow_links = false;   // into links to directories; beware of links that go up
    bool ignore_errors = false;  // a directory that cannot be read is left out, as os.walk does
};
// A directory and all below it, as Python's os.walk. Top-down, the caller may take names out of
// `directories` before it asks for the next: the walk does not enter those.
// Raises, from next(): OSError and its kin, with the path; directories that vanish are left out.
// If cancelled: a next() that is cancelled ends the generator, as it does with every generator.
[[nodiscard(
    "drive it: while (auto x = co_await generator.next())")]] ASYNCIO_API AsyncGenerator<WalkEntry&>
walk(PathView path, WalkOptions options = {});

// ---- temporary ---------------------------------------------------------------------------------

// Of temporary_file() and temporary_directory().
struct TemporaryOptions {
    PathView dir = {};                // default: $TMPDIR, else /tmp
    std::string_view prefix = "tmp";  // of a directory's name
};
// A new file without a name, open for reading and writing ("w+"): it is gone when it is closed,
// also after a crash. Raises: OSError and its kin, with the directory.
// If cancelled: there is no file.
[[nodiscard("co_await it")]] ASYNCIO_API Coroutine<File> temporary_file(
    TemporaryOptions options = {});

// A directory that is removed with all that is in it: by cleanup(), at the end of `with`, or, if
// there was none, by the destructor, which blocks meanwhile. Move-only.
class ASYNCIO_API TemporaryDirectory {
  public:
    // Empty.
    TemporaryDirectory() noexcept = default;
    TemporaryDirectory(TemporaryDirectory&& o) noexcept;
    TemporaryDirectory& operator=(TemporaryDirectory&& o) noexcept;
    ~TemporaryDirectory();

    // Where it is, absolute; empty once it is removed.
    const std::string& path() const noexcept;
    // Removes it; does nothing if that is done. What it may not change it makes changeable, as its
    // owner may; it follows no links, and does not enter what is mounted there.
    // Raises: OSError, with the path of the first that could not be removed, when all else is; the
    // path stays, and this may be called again.
    // If cancelled: what has begun goes on to its end, and the path stays.
    Coroutine<> cleanup();
    // Leaves it there: gives up the path.
    std::string release() noexcept;

    // For `with`: gives the path, and removes the directory at the end.
    // If cancelled: nothing happens, since it does not wait.
    Coroutine<std::string> aenter();
    Coroutine<bool> aexit(std::exception_ptr error);

    // For the library.
    explicit TemporaryDirectory(std::string path);

  private:
    std::shared_ptr<void> tree_;  // a TemporaryTree; as void it costs users less to compile
};
// Makes one with a new name, for this user alone. Raises: OSError and its kin, with the path.
// If cancelled: there is no directory.
[[nodiscard("co_await it")]] ASYNCIO_API Coroutine<TemporaryDirectory> temporary_directory(
    TemporaryOptions options = {});

}  // namespace v1
}  // namespace asyncio
