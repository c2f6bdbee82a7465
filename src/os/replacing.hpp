// A new file that takes the place of an old one, whole or not at all.
#pragma once

#include <string>

#include "os/files.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

// A temporary file beside `target`, unlinked unless it was renamed. Its directory is held, and may
// be renamed meanwhile.
class Temporary {
  public:
    // Raises: OSError; std::bad_alloc.
    Temporary(const std::string& target, unsigned permissions);
    Temporary(const Temporary&) = delete;
    Temporary& operator=(const Temporary&) = delete;
    ~Temporary();
    const Ref<SharedDescriptor>& file() const noexcept { return file_; }
    // To the disk, with what rename() will need for its own part: nothing that could be refused is
    // left for afterwards. Raises: OSError.
    void sync();
    // Raises: OSError; then the target is as it was.
    void rename();
    // The rename itself reaches the disk, if sync() was called. Raises: OSError for a disk that
    // fails.
    void sync_rename() const;

  private:
    std::string target_;
    std::string directory_;
    std::string base_;
    std::string name_;             // empty: there is none, or it was renamed
    Ref<SharedDescriptor> place_;  // the directory
    Ref<SharedDescriptor> file_;
    Ref<SharedDescriptor> synced_by_;  // the directory, or a file in it
    bool whole_system_ = false;
};

// Where a link leads, at the end of a chain of them, be there a file or not. Raises: OSError ELOOP.
std::string resolve_link(const std::string& path);

// Gives a new and still empty file the owner, group, permissions and access list (acl(5)) of the
// one that it is to replace, as far as this user may. Where the group cannot be kept, it gets no
// rights that all others have not. Returns the permissions. Raises: OSError.
mode_t take_access(int fd, const std::string& target, const struct stat& before);

}  // namespace detail
}  // namespace v1
}  // namespace asyncio
