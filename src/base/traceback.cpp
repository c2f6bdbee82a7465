// How an error reads with where it was raised: as Python's traceback module prints it.
#include "asyncio/traceback.hpp"

#include <algorithm>
#include <cstddef>
#include <ranges>
#include <string_view>
#include <utility>

#include "asyncio/exceptions.hpp"
#include "base/exception_parts.hpp"
#include "base/function_name.hpp"
#include "base/traces.hpp"

namespace asyncio {
inline namespace v1 {

// What is noted is innermost first, and a task's name stands at its outermost frame.
std::vector<FrameSummary> traceback(const std::exception_ptr& error) {
    const std::vector<detail::NotedFrame> noted = detail::noted_frames(error);
    std::vector<FrameSummary> frames;
    frames.reserve(noted.size());
    std::string task;
    for (const detail::NotedFrame& f : std::views::reverse(noted)) {
        if (f.is_root) task = f.task;
        const std::uint64_t omitted = f.left_out;
        if (!detail::is_of_library(f.function)) {
            frames.push_back({f.file, f.line, detail::function_name(f.function), task, omitted});
        } else if (!frames.empty()) {
            frames.back().omitted += omitted;
        }
        // Those left out may have been of several tasks, and the ones below of another.
        if (omitted > 0) task.clear();
    }
    return frames;
}

namespace {

// As in Python: of what is nested in groups so much is shown.
constexpr std::size_t kMostGroups = 10;
constexpr std::size_t kMostMembers = 15;
// Where Python has no limit.
constexpr std::size_t kMostCauses = 100;
constexpr std::size_t kMostErrors = 1000;

constexpr std::string_view kCause =
    "\nThe above exception was the direct cause of the following exception:\n";

class Printer {
  public:
    std::string print(const std::exception_ptr& error) {
        print_chain(error);
        out_.pop_back();  // the last newline
        return std::move(out_);
    }

  private:
    std::string indent() const { return std::string(2 * depth_, ' '); }

    void emit(std::string_view text, char margin = '|') {
        while (true) {
            const std::size_t end = std::min(text.find('\n'), text.size());
            if (depth_ > 0) (out_ += indent()) += {margin, ' '};
            out_.append(text.substr(0, end)) += '\n';
            if (end == text.size()) return;
            text.remove_prefix(end + 1);
        }
    }

    // The causes first.
    void print_chain(const std::exception_ptr& error) {
        std::vector<std::exception_ptr> chain{error};
        while (chain.size() < kMostCauses) {
            std::exception_ptr cause = cause_of(chain.back());
            if (!cause) break;
            chain.push_back(std::move(cause));
        }
        if (cause_of(chain.back())) {
            emit("...");
            emit(kCause);
        }
        for (std::size_t i = chain.size(); i-- > 0;) {
            print_one(chain[i]);
            if (i > 0) emit(kCause);
        }
    }

    void print_one(const std::exception_ptr& error) {
        const auto* const group = detail::find<BaseExceptionGroup>(error);
        if (++errors_ > kMostErrors) {
            emit("...");
        } else if (!group) {
            print_frames(error, "Traceback", '|');
            emit(detail::title_of(error));
        } else if (depth_ > kMostGroups) {
            emit("... (max_group_depth is 10)");
        } else {
            print_group(error, *group);
        }
    }

    void print_group(const std::exception_ptr& error, const BaseExceptionGroup& group) {
        const bool outermost = depth_ == 0;
        if (outermost) ++depth_;
        print_frames(error, "Exception Group Traceback", outermost ? '+' : '|');
        emit(detail::title_of(error));
        print_members(group.exceptions());
        if (outermost) --depth_;
    }

    void print_members(const std::vector<std::exception_ptr>& members) {
        const std::size_t shown = std::min(members.size(), kMostMembers + 1);
        close_ = false;
        for (std::size_t i = 0; i < shown; ++i) {
            const bool last = i + 1 == shown;
            // A group within the last member may draw the line that closes all of them.
            if (last) close_ = true;
            out_ += indent() + (i == 0 ? "+-" : "  ") + "+---------------- ";
            out_ += (i < kMostMembers ? std::to_string(i + 1) : "...") + " ----------------\n";
            ++depth_;
            if (i < kMostMembers) {
                print_chain(members[i]);
            } else {
                const std::size_t more = members.size() - kMostMembers;
                emit("and " + std::to_string(more) + " more exception" + (more > 1 ? "s" : ""));
            }
            if (last && std::exchange(close_, false)) {
                out_ += indent() + "+------------------------------------\n";
            }
            --depth_;
        }
    }

    void print_frames(const std::exception_ptr& error, std::string_view title, char margin) {
        const std::vector<FrameSummary> frames = traceback(error);
        if (frames.empty()) return;
        emit(std::string(title) + " (most recent call last):", margin);
        // Of the outermost task the report itself tells, unless it is one of several.
        std::string task = depth_ > 1 ? std::string() : frames.front().task;
        std::string last;
        std::size_t repeated = 0;
        for (const FrameSummary& f : frames) {
            if (f.task != task) {
                end_repeated(last, repeated);
                task = f.task;
                if (!task.empty()) emit("  In task " + detail::quoted(task) + ':');
            }
            std::string line = "  File \"" + f.filename + "\", line " + std::to_string(f.lineno) +
                               ", in " + f.name;
            if (line != last) end_repeated(last, repeated);
            if (++repeated <= kMostRepeated) emit(line);
            last = std::move(line);
            if (f.omitted > 0) {
                end_repeated(last, repeated);
                emit("  [" + std::to_string(f.omitted) + " more " +
                     (f.omitted > 1 ? "frames" : "frame") + ']');
            }
        }
        end_repeated(last, repeated);
    }

    void end_repeated(std::string& line, std::size_t& times) {
        if (times > kMostRepeated) {
            const std::size_t more = times - kMostRepeated;
            emit("  [Previous line repeated " + std::to_string(more) + " more time" +
                 (more > 1 ? "s]" : "]"));
        }
        line.clear();
        times = 0;
    }

    // As in Python: lines that are alike are shown so many times.
    static constexpr std::size_t kMostRepeated = 3;

    std::string out_;
    std::size_t depth_ = 0;  // of groups
    std::size_t errors_ = 0;
    bool close_ = false;
};

}  // namespace

std::string format_exception(const std::exception_ptr& error) { return Printer().print(error); }

}  // namespace v1
}  // namespace asyncio
