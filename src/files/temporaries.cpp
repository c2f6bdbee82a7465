// Files and directories that go away by themselves.
#include <cerrno>
#include <cstdlib>
#include <exception>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "asyncio/files.hpp"
#include "files/file_requests.hpp"
#include "os/directories.hpp"
#include "os/posix.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

// A directory that is to be removed. Of the thread that has it: others are given its path.
struct TemporaryTree {
    TemporaryTree() = default;
    TemporaryTree(const TemporaryTree&) = delete;
    TemporaryTree& operator=(const TemporaryTree&) = delete;
    ~TemporaryTree();
    std::string path;  // empty: nothing is to be done any more
};

namespace {

TemporaryTree& tree_of(const std::shared_ptr<void>& tree) noexcept {
    return *static_cast<TemporaryTree*>(tree.get());
}

std::string temporary_root(std::string_view given) {
    if (!given.empty()) return std::string(given);
    const char* const set = environment_if_safe("TMPDIR");
    return set && *set ? set : "/tmp";
}

Coroutine<File> make_temporary_file(std::string dir) {
    check_path(dir);
    auto open = [dir] { return SharedDescriptor::own(open_unnamed(dir)); };
    Ref<SharedDescriptor> file = co_await on_file_thread(std::move(open));
    co_return make_temporary(std::move(file), dir);
}

// Raises: OSError.
std::string absolute_path(const std::string& path) {
    if (path.starts_with('/')) return path;
    const std::unique_ptr<char, decltype(&::free)> here(::getcwd(nullptr, 0), &::free);
    if (!here) throw_file_error(errno, path);
    return joined(here.get(), path);
}

constexpr std::chrono::milliseconds kPatience{500};

// The path stays until nothing is there any more.
Coroutine<> remove_directory(std::shared_ptr<TemporaryTree> tree) {
    if (!tree || tree->path.empty()) co_return;
    auto remove = [path = tree->path] { remove_tree(path, kPatience); };
    co_await on_file_thread(std::move(remove));
    tree->path.clear();
}

Coroutine<TemporaryDirectory> make_directory(std::string root, std::string prefix) {
    check_path(root);
    check_path(prefix);
    auto make = [root = std::move(root), prefix = std::move(prefix)] {
        std::string path = absolute_path(joined(root, prefix + "XXXXXX"));
        if (refused("mkdir") || !::mkdtemp(path.data())) throw_file_error(errno, path);
        return TemporaryDirectory(std::move(path));
    };
    co_return co_await on_file_thread(std::move(make));
}

Coroutine<std::string> give_path(std::string path) { co_return path; }

Coroutine<bool> leave_directory(Coroutine<> cleanup) {
    co_await std::move(cleanup);
    co_return false;
}

}  // namespace

// By the last one that knows of it, if nobody has done so before.
TemporaryTree::~TemporaryTree() {
    if (path.empty()) return;
    try {
        // Once: this may be a loop's thread.
        remove_tree(path, std::chrono::milliseconds(0));
    } catch (const std::exception&) {
        // A destructor has nobody to tell.
    }
}

}  // namespace detail

Coroutine<File> temporary_file(TemporaryOptions options) {
    return detail::make_temporary_file(detail::temporary_root(options.dir.text()));
}

Coroutine<TemporaryDirectory> temporary_directory(TemporaryOptions options) {
    return detail::make_directory(detail::temporary_root(options.dir.text()),
                                  std::string(options.prefix));
}

TemporaryDirectory::TemporaryDirectory(std::string path) {
    auto tree = std::make_shared<detail::TemporaryTree>();
    tree->path = std::move(path);
    tree_ = std::move(tree);
}
TemporaryDirectory::TemporaryDirectory(TemporaryDirectory&& o) noexcept = default;
TemporaryDirectory& TemporaryDirectory::operator=(TemporaryDirectory&& o) noexcept {
    std::swap(tree_, o.tree_);
    return *this;
}
TemporaryDirectory::~TemporaryDirectory() = default;

const std::string& TemporaryDirectory::path() const noexcept {
    static const std::string none;
    return tree_ ? detail::tree_of(tree_).path : none;
}

std::string TemporaryDirectory::release() noexcept {
    return tree_ ? std::exchange(detail::tree_of(tree_).path, {}) : std::string();
}

Coroutine<> TemporaryDirectory::cleanup() {
    return detail::remove_directory(std::static_pointer_cast<detail::TemporaryTree>(tree_));
}

Coroutine<std::string> TemporaryDirectory::aenter() { return detail::give_path(path()); }

Coroutine<bool> TemporaryDirectory::aexit(std::exception_ptr) {
    return detail::leave_directory(cleanup());
}

}  // namespace v1
}  // namespace asyncio
