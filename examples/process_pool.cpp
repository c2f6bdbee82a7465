// process_pool DIRECTORY: compresses every file below a directory with `xz`, as many at once as
// there are processors. Each FILE becomes FILE.xz; files that end in .xz already are left alone.
//
// Compressing keeps a processor busy, so it is done by processes; this program only waits for them.
#include <asyncio.hpp>

#include <cstdint>
#include <string>
#include <thread>
#include <vector>

#include "command_line.hpp"

using asyncio::Coroutine;
using command::say, command::printable;

namespace {

struct Totals {
    std::int64_t before = 0;
    std::int64_t after = 0;
    int failed = 0;
};

Coroutine<std::int64_t> size_of(const std::string& path) {
    const asyncio::File file = co_await asyncio::open_file(path);
    const asyncio::FileStat stat = co_await file.stat();
    co_return stat.size;
}

Coroutine<> compress(std::string path, Totals& totals) {
    const std::int64_t before = co_await size_of(path);
    asyncio::SubprocessOptions options{.stdin_ = asyncio::subprocess::DEVNULL};
    // `--` so that a name that begins with a dash is no option.
    auto process = co_await asyncio::create_subprocess_exec(options, "xz", "-T1", "--", path);
    if (co_await process.wait() != 0) {
        ++totals.failed;
        co_return;
    }
    const std::int64_t after = co_await size_of(path + ".xz");
    totals.before += before;
    totals.after += after;
    say(printable(path), ": ", before, " -> ", after, "\n");
}

// One file when its turn has come. What goes wrong with it, a file that cannot be read or no more
// descriptors, is said, and the others are compressed all the same.
Coroutine<> try_to_compress(std::string path, asyncio::Semaphore& at_once, Totals& totals) {
    auto guard = co_await at_once.scoped();
    const auto outcome = co_await asyncio::as_result(compress(path, totals));
    try {
        outcome.value();
    } catch (const asyncio::OSError& error) {
        ++totals.failed;
        std::fprintf(stderr, "%s: %s\n", printable(path).c_str(), error.what());
    }
}

Coroutine<int> compress_all(std::string directory) {
    const unsigned processors = std::thread::hardware_concurrency();  // 0: not known
    asyncio::Semaphore at_once(processors > 0 ? static_cast<int>(processors) : 1);
    Totals totals;
    std::vector<std::string> paths;
    auto places = asyncio::walk(directory);
    while (auto place = co_await places.next()) {
        for (const std::string& name : place->files) {
            if (!name.ends_with(".xz")) paths.push_back(place->path + '/' + name);
        }
    }
    auto body = [&](asyncio::TaskGroup& group) -> Coroutine<> {
        for (const std::string& path : paths) {
            group.create_task(try_to_compress(path, at_once, totals));
        }
        co_return;
    };
    co_await asyncio::with(asyncio::TaskGroup{}, body);
    say("together: ", totals.before, " -> ", totals.after, " bytes\n");
    co_return totals.failed;
}

Coroutine<> program(std::string directory) {
    const int failed = co_await compress_all(std::move(directory));
    if (failed > 0) throw asyncio::SystemExit(1);
}

}  // namespace

int main(int argc, char** argv) {
    return command::run("process_pool DIRECTORY", argc, argv, [](const command::Arguments& words) {
        words.expect(1, 1);
        return program(words[0]);
    });
}
