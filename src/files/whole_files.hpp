// What the operations on whole files have in common: each is a function that a thread for files
// calls and that owns all it works on, so that nothing is left behind, and nobody waits, when the
// caller is cancelled.
#pragma once

#include <string>

#include "files/file_requests.hpp"
#include "os/files.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

// Raises: OSError.
void perform_opening(FileRequest& opening);
// Raises: IsADirectoryError.
void refuse_directory(const struct stat& s, const std::string& path);
// Raises: OSError.
void write_whole(const Ref<SharedDescriptor>& file, const std::string& path, std::string data);
// Raises: OSError, for what the system could not write.
void close_or_throw(Ref<SharedDescriptor> file, const std::string& path);

// When its caller has gone.
class Abandon {
  public:
    explicit Abandon(const Ref<FileRequest>& request) noexcept : request_(request) {}
    Abandon(const Abandon&) = delete;
    Abandon& operator=(const Abandon&) = delete;
    ~Abandon() { request_->abandon(); }

  private:
    const Ref<FileRequest> request_;
};

}  // namespace detail
}  // namespace v1
}  // namespace asyncio
