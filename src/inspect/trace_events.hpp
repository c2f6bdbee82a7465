// Writes what loops did as JSON of the "Trace Event Format", which Perfetto and chrome://tracing
// read (its document: "Trace Event Format", Google, 2016).
//
// A track (`tid`) is a loop, a slice on it a step of a task, or a sleep of the loop. Each task is
// an asynchronous slice of its own from where it was made to its end, and an arrow leads from the
// step that made it to its first one.
#pragma once

#include <cstdint>
#include <iosfwd>
#include <string>
#include <string_view>

namespace asyncio {
inline namespace v1 {
namespace detail {
namespace reading {

class TraceWriter {
  public:
    // Times are ns after any one moment.
    TraceWriter(std::ostream& out, std::int64_t pid);
    // Ends the text.
    void end();

    void name_process(std::string_view name);
    void name_loop(std::uint64_t loop, std::string_view name);
    void step(std::uint64_t loop, std::int64_t at, std::int64_t took, std::uint64_t task,
              std::string_view name, std::string_view place);
    void asleep(std::uint64_t loop, std::int64_t at, std::int64_t took);
    void task_begins(std::uint64_t loop, std::int64_t at, std::uint64_t task,
                     std::string_view name);
    void task_ends(std::uint64_t loop, std::int64_t at, std::uint64_t task, std::string_view name,
                   std::string_view outcome);
    // `at` lies in the step that makes it, `to` in its first one.
    void arrow(std::uint64_t loop, std::int64_t at, std::int64_t to, std::uint64_t task);

  private:
    // The members that each event has.
    std::ostream& begin(const char* kind, std::string_view name, std::uint64_t loop);
    std::ostream& begin_at(const char* kind, std::string_view name, std::uint64_t loop,
                           std::int64_t at);

    std::ostream& out_;
    const std::int64_t pid_;
    bool first_ = true;
};

}  // namespace reading
}  // namespace detail
}  // namespace v1
}  // namespace asyncio
