// What the printers of tasks share.
#pragma once

#include <iosfwd>
#include <string>
#include <vector>

#include "asyncio/detail/config.hpp"
#include "inspect/output.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {
namespace reading {

ASYNCIO_API const char* word(TaskState state);
// "file.cpp:12"
ASYNCIO_API std::string where(const Place& place);
// The frames that people are to see, outermost first.
ASYNCIO_API std::vector<const Place*> frames_of(const Task& task, bool all);

ASYNCIO_API bool wanted(const Loop& loop, const ShowOptions& options);
ASYNCIO_API bool wanted(const Task& task, const ShowOptions& options);

using Row = std::vector<std::string>;

// Rows of the same number of columns, the first one of which is the headings.
ASYNCIO_API void print_rows(std::ostream& out, const std::vector<Row>& rows);

}  // namespace reading
}  // namespace detail
}  // namespace v1
}  // namespace asyncio
