// tail_follow FILE: prints what is appended to a file, as `tail -F` does: also after the file was
// truncated, or replaced by another one, as when logs are rotated.
//
// The directory is watched rather than the file, so that one that is made later is found too.
#include <asyncio.hpp>

#include <cstdio>
#include <string>

#include "command_line.hpp"

using asyncio::Coroutine;
using asyncio::File;

namespace {

// More than one line at a time, so that a busy log costs few calls; little enough to keep.
constexpr std::int64_t kBlock = 64 * 1024;

Coroutine<> print_what_is_new(const File& file) {
    const asyncio::FileStat now = co_await file.stat();
    if (now.size < file.tell()) {
        std::fprintf(stderr, "tail_follow: file truncated\n");
        co_await file.seek(0);
    }
    while (true) {
        const std::string text = co_await file.read(kBlock);
        if (text.empty()) break;
        command::say(text);
    }
}

// The file that is at `path` now: `file` itself, another one, or none.
Coroutine<File> look_again(const std::string& path, File file) {
    auto opened = co_await asyncio::as_result(asyncio::open_file(path));
    if (opened.holds<asyncio::FileNotFoundError>()) co_return File();
    File found = opened.value();
    if (!file) co_return found;
    const asyncio::FileStat before = co_await file.stat();
    const asyncio::FileStat now = co_await found.stat();
    co_return before.inode == now.inode&& before.device == now.device ? file : found;
}

Coroutine<> follow(std::string path) {
    const std::size_t slash = path.rfind('/');
    const std::string directory = slash == std::string::npos ? "." : path.substr(0, slash + 1);
    if (slash == std::string::npos) path = "./" + path;
    auto changes = asyncio::watch(directory);

    File file = co_await look_again(path, File());
    // What is there already was read by others: from the end on.
    if (file) co_await file.seek(0, SEEK_END);
    while (auto change = co_await changes.next()) {
        if (change->kind == asyncio::FileChange::GONE) break;
        const bool lost = change->kind == asyncio::FileChange::LOST;
        if (change->path != path && change->from != path && !lost) continue;
        if (file) co_await print_what_is_new(file);
        const bool other = change->kind == asyncio::FileChange::CREATED ||
                           change->kind == asyncio::FileChange::MOVED || lost;
        if (!other) continue;
        file = co_await look_again(path, file);
        if (file) co_await print_what_is_new(file);
    }
}

}  // namespace

int main(int argc, char** argv) {
    return command::run("tail_follow FILE", argc, argv, [](const command::Arguments& words) {
        words.expect(1, 1);
        return follow(words[0]);
    });
}
