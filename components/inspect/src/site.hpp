// What a browser, or curl, is shown of a process: the page, and what that asks for.
#pragma once

#include <chrono>
#include <string>
#include <string_view>

#include "page_server.hpp"
#include "taking.hpp"
#include "watcher.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {
namespace reading {

class Site {
  public:
    // `hold`: as in Live. Raises: Failure.
    Site(int pid, const TakeOptions& take, const HoldLoop& hold = {});

    // `path`: "" is the page, "data" and "task" what it asks for (look_json.hpp); "ps", "pstree",
    // "stack" and "metrics" are what the tool prints, with `filter`, `loop`, `all`, `json` and, of
    // "stack", `task` in the query. Raises: Failure; std::bad_alloc.
    PageAnswer answer(std::string_view path, std::string_view query);

  private:
    std::string data(std::string_view query);
    PageAnswer printed(std::string_view command, std::string_view query);

    Watcher watcher_;
    Live live_;  // of the thread that answers
    TakeOptions take_;
    // The answer to the last question, which many pages may ask at once: it is made anew ten times
    // a second at most, and less often if that takes long.
    std::string last_query_;
    std::string last_answer_;
    std::chrono::steady_clock::time_point last_until_{};
};

// The page, its style and its script in one. A browser runs and uses nothing else: only they have
// this answer's number.
PageAnswer page();

}  // namespace reading
}  // namespace detail
}  // namespace v1
}  // namespace asyncio
