// process_pool DIRECTORY: compresses every file below a directory with `xz`, as many at once as
// there are processors. Each FILE becomes FILE.xz; files that end in .xz already are left alone.
//
// Compressing keeps a processor busy, so it is done by processes; this program only waits for them.
#include <asyncio.hpp>

#include <cstdint>
#include <exception>
#include <iostream>
#include <string>
#include <thread>

using asyncio::Coroutine;

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

Coroutine<> compress(std::string path, asyncio::Semaphore& at_once, Totals& totals) {
    auto guard = co_await at_once.scoped();
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
    std::cout << path << ": " << before << " -> " << after << std::endl;
}

Coroutine<int> compress_all(std::string directory) {
    asyncio::Semaphore at_once(static_cast<int>(std::thread::hardware_concurrency()));
    Totals totals;
    auto body = [&](asyncio::TaskGroup& group) -> Coroutine<> {
        auto places = asyncio::walk(directory);
        while (auto place = co_await places.next()) {
            for (const std::string& name : place->files) {
                const std::string path = place->path + '/' + name;
                if (!path.ends_with(".xz")) group.create_task(compress(path, at_once, totals));
            }
        }
    };
    co_await asyncio::with(asyncio::TaskGroup{}, body);
    std::cout << "together: " << totals.before << " -> " << totals.after << " bytes\n";
    co_return totals.failed;
}

Coroutine<> program(std::string directory) {
    const int failed = co_await compress_all(std::move(directory));
    if (failed > 0) throw asyncio::SystemExit(1);
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 2) {
        std::cerr << "usage: process_pool DIRECTORY\n";
        return 2;
    }
    return asyncio::run_main(program(argv[1]));
}
