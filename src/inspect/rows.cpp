#include "inspect/rows.hpp"

#include <algorithm>
#include <ostream>

namespace asyncio {
inline namespace v1 {
namespace detail {
namespace reading {

namespace {

// The number of characters, which is not that of bytes.
std::size_t width(const std::string& text) {
    return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char c) {
        return (static_cast<unsigned char>(c) & 0xc0) != 0x80;
    }));
}

}  // namespace

const char* word(TaskState state) {
    switch (state) {
        case TaskState::kRunning:
            return "running";
        case TaskState::kReady:
            return "ready";
        case TaskState::kWaiting:
            return "waiting";
        case TaskState::kSuspended:
            return "suspended";
    }
    return "";
}

std::string where(const Place& place) {
    return place.file.empty() ? "?" : place.file + ':' + std::to_string(place.line);
}

std::vector<const Place*> frames_of(const Task& task, bool all) {
    std::vector<const Place*> frames;
    for (const Place& place : task.stack) {
        if (all || !place.helper) frames.push_back(&place);
    }
    if (frames.empty() && !task.stack.empty()) frames.push_back(&task.stack.back());
    return frames;
}

bool wanted(const Loop& loop, const ShowOptions& options) {
    return !options.loop || *options.loop == loop.number;
}

bool wanted(const Task& task, const ShowOptions& options) {
    if (options.only && !options.only->contains(task.id)) return false;
    if (options.filter.empty()) return true;
    const auto has = [&](const std::string& text) {
        return text.find(options.filter) != std::string::npos;
    };
    return has(task.name) || has(task.waits_for) || has(word(task.state)) ||
           std::any_of(task.stack.begin(), task.stack.end(), [&](const Place& place) {
               return has(place.function) || has(where(place));
           });
}

void print_rows(std::ostream& out, const std::vector<Row>& rows) {
    constexpr std::size_t kWidest = 60;
    std::vector<std::size_t> widths(rows.front().size());
    for (const Row& row : rows) {
        for (std::size_t i = 0; i < row.size(); ++i) {
            widths[i] = std::max(widths[i], std::min(width(row[i]), kWidest));
        }
    }
    for (const Row& row : rows) {
        std::string line;
        std::size_t spaces = 0;
        for (std::size_t i = 0; i < row.size(); ++i) {
            line.append(spaces, ' ');
            line += row[i];
            spaces = widths[i] + 2 - std::min(width(row[i]), widths[i]);
        }
        out << line << '\n';
    }
}

}  // namespace reading
}  // namespace detail
}  // namespace v1
}  // namespace asyncio
