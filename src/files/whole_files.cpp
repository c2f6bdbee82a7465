// Whole files: read, written, replaced.
#include "files/whole_files.hpp"

#include <cerrno>
#include <chrono>
#include <exception>
#include <memory>
#include <utility>

#include "asyncio/files.hpp"
#include "asyncio/tasks.hpp"
#include "files/shared_reads.hpp"
#include "os/replacing.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

bool read_small_file(const std::string& path, std::string& data, FileOpening& opened) {
    opened = open_here(path, O_RDONLY);
    const struct stat& s = opened.stat;
    if (!opened.ready) return false;
    // Others are opened again, so that those that wait for a thread hold no descriptors.
    const Ref<SharedDescriptor> file = std::move(opened.file);
    const auto size = static_cast<std::size_t>(s.st_size);
    if (!S_ISREG(s.st_mode) || size == 0 || size > kMostInline) return false;
    // As long as it was when it was opened: what is appended meanwhile is another reader's.
    data.resize(size);
    return read_cached(file->get(), data.data(), size, 0) == s.st_size;
}

void perform_opening(FileRequest& opening) {
    opening.perform();
    if (opening.error != 0) throw_file_error(opening.error, opening.path);
}

void refuse_directory(const struct stat& s, const std::string& path) {
    if (S_ISDIR(s.st_mode)) throw_file_error(EISDIR, path);
}

void write_whole(const Ref<SharedDescriptor>& file, const std::string& path, std::string data) {
    const auto request = Ref<FileRequest>::adopt(new FileRequest(FileRequest::Op::kWrite));
    request->file = file;
    request->data = std::move(data);
    request->perform();
    if (request->error != 0) throw_file_error(request->error, path);
}

void close_or_throw(Ref<SharedDescriptor> file, const std::string& path) {
    if (const int error = file->close()) throw_file_error(error, path);
}

namespace {

constexpr std::size_t kStreamPiece = 64 * 1024;  // what a pipe holds

// All of the file that `opening` opens. Raises: OSError.
std::string read_whole(const Ref<FileRequest>& opening) {
    const std::string& path = opening->path;
    perform_opening(*opening);
    const struct stat& s = opening->stat;
    refuse_directory(s, path);
    // One of no size may be made up by the kernel, and then a stream, or as long as it likes.
    const bool sized = S_ISREG(s.st_mode) && s.st_size > 0;
    const auto request = Ref<FileRequest>::adopt(new FileRequest(FileRequest::Op::kRead));
    request->file = opening->file;
    request->offset = sized ? 0 : FileRequest::kNoOffset;
    request->most = static_cast<std::size_t>(-1);
    std::string data = std::move(opening->data);
    while (true) {
        if (!sized && !opening->await_bytes()) throw_file_error(opening->error, path);
        request->expect = sized ? static_cast<std::size_t>(s.st_size) + 1 : kStreamPiece;
        request->data.clear();
        request->perform();
        if (request->failure) std::rethrow_exception(request->failure);
        if (request->error != 0) throw_file_error(request->error, path);
        if (sized) return std::move(request->data);
        if (request->data.empty()) return data;
        data += request->data;  // a stream gives some at a time
    }
}

Coroutine<std::string> read_path(std::string path) {
    check_path(path);
    if (FileCourtesy(4096).due()) co_await sleep(std::chrono::seconds(0));
    FileBackend& files = file_backend();
    if (!files.shared) {
        auto& loop = static_cast<Loop&>(running_core());
        files.shared = std::make_unique<SharedReads>(loop, files.threads());
    }
    FileOpening opened;
    if (files.shared->alone()) {
        std::string data;
        if (read_small_file(path, data, opened)) co_return data;
    } else {
        const auto read = Ref<SharedRead>::adopt(new SharedRead(std::move(path)));
        SharedReadWait wait(*files.shared, *read);
        co_await wait;
        if (read->failure) std::rethrow_exception(read->failure);
        if (read->found) co_return std::move(read->data);
        path = std::move(read->path);
        opened = std::move(read->opened);
    }
    const auto opening = Ref<FileRequest>::adopt(new FileRequest(FileRequest::Op::kOpen));
    opening->path = std::move(path);
    opening->flags = O_RDONLY;
    opening->file = std::move(opened.file);
    opening->stat = opened.stat;
    const Abandon at_end(opening);
    auto whole = [opening] { return read_whole(opening); };
    co_return co_await on_file_thread(std::move(whole));
}

Coroutine<> write_path(std::string path, std::string data) {
    check_path(path);
    const auto opening = Ref<FileRequest>::adopt(new FileRequest(FileRequest::Op::kOpen));
    opening->path = std::move(path);
    opening->flags = O_WRONLY | O_CREAT | O_TRUNC;
    opening->permissions = 0666;
    const Abandon at_end(opening);
    auto write = [opening, data = std::move(data)]() mutable {
        perform_opening(*opening);
        write_whole(opening->file, opening->path, std::move(data));
        close_or_throw(std::move(opening->file), opening->path);
    };
    co_await on_file_thread(std::move(write));
}

void replace_whole(const std::string& path, std::string data, ReplaceOptions options) {
    if (path.empty()) throw_file_error(ENOENT, path);
    // The system says first whether its links may be followed at all.
    struct stat before{};
    const bool exists = ::stat(path.c_str(), &before) == 0;
    if (!exists && errno != ENOENT) throw_file_error(errno, path);
    const std::string target = resolve_link(path);
    // A link of /proc leads to what no longer has that name.
    if (exists && ::stat(target.c_str(), &before) != 0) throw_file_error(errno, path);
    if (exists) refuse_directory(before, path);
    if (exists && !S_ISREG(before.st_mode)) {
        std::rethrow_exception(make_os_error(EINVAL, "Not a regular file", path));
    }
    // Nobody else may read it before it is as closed as the old one.
    Temporary temporary(target, exists ? 0600 : options.permissions);
    const int fd = temporary.file()->get();
    const mode_t mode = exists ? take_access(fd, target, before) : 0;
    write_whole(temporary.file(), path, std::move(data));
    if ((mode & ~mode_t{0777}) != 0 && ::fchmod(fd, mode) != 0) throw_file_error(errno, path);
    if (options.sync) temporary.sync();
    temporary.rename();
    temporary.sync_rename();
}

Coroutine<> replace_path(std::string path, std::string data, ReplaceOptions options) {
    check_path(path);
    auto replace = [path = std::move(path), data = std::move(data), options]() mutable {
        replace_whole(path, std::move(data), options);
    };
    co_await on_file_thread(std::move(replace));
}

}  // namespace
}  // namespace detail

Coroutine<std::string> read_file(PathView path) {
    return detail::read_path(std::string(path.text()));
}

Coroutine<> write_file(PathView path, std::string data) {
    return detail::write_path(std::string(path.text()), std::move(data));
}

Coroutine<> replace_file(PathView path, std::string data, ReplaceOptions options) {
    return detail::replace_path(std::string(path.text()), std::move(data), options);
}

}  // namespace v1
}  // namespace asyncio
