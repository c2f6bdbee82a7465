// What the printers of tasks share.
#pragma once

#include <iosfwd>
#include <string>
#include <vector>

#include "inspect/output.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {
namespace reading {

const char* word(TaskState state);
// "file.cpp:12"
std::string where(const Place& place);
// The frames that people are to see, outermost first.
std::vector<const Place*> frames_of(const Task& task, bool all);

bool wanted(const Loop& loop, const ShowOptions& options);
bool wanted(const Task& task, const ShowOptions& options);

using Row = std::vector<std::string>;

// Rows of the same number of columns, the first one of which is the headings.
void print_rows(std::ostream& out, const std::vector<Row>& rows);

}  // namespace reading
}  // namespace detail
}  // namespace v1
}  // namespace asyncio
