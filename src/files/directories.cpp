// What is in directories, and below them.
#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <iterator>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "asyncio/exceptions.hpp"
#include "asyncio/files.hpp"
#include "files/file_requests.hpp"
#include "os/directories.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {
namespace {

// A directory that is being read, shared with the thread that does so.
class Listing {
  public:
    explicit Listing(std::string path) : path_(std::move(path)) {}
    Listing(const Listing&) = delete;
    Listing& operator=(const Listing&) = delete;
    // Some more entries; none: the end. Raises: OSError.
    std::vector<DirEntry> more() {
        if (!dir_) open();
        std::vector<DirEntry> found;
        while (found.size() < kBatch) {
            const dirent* const entry = next_entry(dir_.get());
            if (!entry && errno != 0) throw_file_error(errno, path_);
            if (!entry) break;
            found.push_back(describe(*entry));
        }
        return found;
    }

  private:
    static constexpr std::size_t kBatch = 512;

    void open() {
        if (refused("opendir")) throw_file_error(errno, path_);
        dir_.reset(::opendir(path_.c_str()));
        if (!dir_) throw_file_error(errno, path_);
    }
    DirEntry describe(const dirent& entry) const {
        DirEntry found;
        found.name = entry.d_name;
        found.path = joined(path_, found.name);
        found.type = file_type(type_of_entry(dir_.get(), entry));
        return found;
    }

    const std::string path_;
    Directory dir_;
};

AsyncGenerator<DirEntry> entries_of(std::string path) {
    check_path(path);
    const auto listing = std::make_shared<Listing>(std::move(path));
    while (true) {
        auto more = [listing] { return listing->more(); };
        std::vector<DirEntry> entries = co_await on_file_thread(std::move(more));
        if (entries.empty()) break;
        for (DirEntry& entry : entries) co_yield std::move(entry);
    }
}

bool is_directory(const DirEntry& entry, bool follow) {
    if (entry.is_directory()) return true;
    if (!follow || !entry.is_symlink()) return false;
    struct stat s{};
    return ::stat(entry.path.c_str(), &s) == 0 && S_ISDIR(s.st_mode);
}

// Null: it has vanished, or is left out.
std::unique_ptr<WalkEntry> read_for_walk(const std::string& path, bool top, WalkOptions options) {
    auto found = std::make_unique<WalkEntry>();
    found->path = path;
    try {
        Listing listing(path);
        while (true) {
            const std::vector<DirEntry> entries = listing.more();
            if (entries.empty()) break;
            for (const DirEntry& entry : entries) {
                const bool directory = is_directory(entry, options.follow_links);
                (directory ? found->directories : found->files).push_back(entry.name);
            }
        }
    } catch (const OSError& error) {
        const int number = error.code().value();
        const bool vanished = !top && (number == ENOENT || number == ENOTDIR);
        if (!vanished && !options.ignore_errors) throw;
        return nullptr;
    }
    std::sort(found->directories.begin(), found->directories.end());
    std::sort(found->files.begin(), found->files.end());
    return found;
}

// A stack in place of recursion: trees may be deep.
AsyncGenerator<WalkEntry&> entries_below(std::string path, WalkOptions options) {
    struct Place {
        std::string path;
        std::unique_ptr<WalkEntry> entry;  // bottom-up: what is yielded after those below it
    };
    check_path(path);
    std::vector<Place> left;
    left.push_back(Place{path, nullptr});
    bool top = true;
    while (!left.empty()) {
        Place place = std::move(left.back());
        left.pop_back();
        if (place.entry) {
            co_yield *place.entry;
            continue;
        }
        auto read = [path = place.path, top, options] { return read_for_walk(path, top, options); };
        std::unique_ptr<WalkEntry> entry = co_await on_file_thread(std::move(read));
        top = false;
        if (!entry) continue;
        if (options.top_down) co_yield *entry;
        std::vector<Place> below;
        for (const std::string& name : entry->directories) {
            below.push_back(Place{joined(place.path, name), nullptr});
        }
        if (!options.top_down) left.push_back(Place{place.path, std::move(entry)});
        std::move(below.rbegin(), below.rend(), std::back_inserter(left));
    }
}

}  // namespace
}  // namespace detail

AsyncGenerator<DirEntry> list_dir(PathView path) {
    return detail::entries_of(std::string(path.text()));
}

AsyncGenerator<WalkEntry&> walk(PathView path, WalkOptions options) {
    return detail::entries_below(std::string(path.text()), options);
}

}  // namespace v1
}  // namespace asyncio
