#include "inspect/trace_events.hpp"

#include <cstdio>
#include <ostream>
#include <string>

#include "inspect/output.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {
namespace reading {

namespace {

// The format has microseconds.
std::string microseconds(std::int64_t ns) {
    char text[40];
    const std::int64_t whole = ns / 1000;
    const std::int64_t rest = ns % 1000;
    std::snprintf(text, sizeof text, "%lld.%03lld", static_cast<long long>(whole),
                  static_cast<long long>(rest < 0 ? -rest : rest));
    return text;
}

}  // namespace

TraceWriter::TraceWriter(std::ostream& out, std::int64_t pid) : out_(out), pid_(pid) {
    out_ << "{\"displayTimeUnit\":\"ns\",\"traceEvents\":[";
}

void TraceWriter::end() { out_ << "\n]}\n"; }

std::ostream& TraceWriter::begin(const char* kind, std::string_view name, std::uint64_t loop) {
    out_ << (first_ ? "\n" : ",\n") << "{\"ph\":\"" << kind << "\",\"pid\":" << pid_
         << ",\"tid\":" << loop << ",\"name\":" << json_string(name);
    first_ = false;
    return out_;
}

std::ostream& TraceWriter::begin_at(const char* kind, std::string_view name, std::uint64_t loop,
                                    std::int64_t at) {
    return begin(kind, name, loop) << ",\"ts\":" << microseconds(at);
}

void TraceWriter::name_process(std::string_view name) {
    begin("M", "process_name", 0) << ",\"args\":{\"name\":" << json_string(name) << "}}";
}

void TraceWriter::name_loop(std::uint64_t loop, std::string_view name) {
    begin("M", "thread_name", loop) << ",\"args\":{\"name\":" << json_string(name) << "}}";
}

void TraceWriter::step(std::uint64_t loop, std::int64_t at, std::int64_t took, std::uint64_t task,
                       std::string_view name, std::string_view place) {
    begin_at("X", name, loop, at) << ",\"cat\":\"step\",\"dur\":" << microseconds(took)
                                  << ",\"args\":{\"task\":" << task
                                  << ",\"place\":" << json_string(place) << "}}";
}

void TraceWriter::asleep(std::uint64_t loop, std::int64_t at, std::int64_t took) {
    begin_at("X", "asleep", loop, at) << ",\"cat\":\"loop\",\"dur\":" << microseconds(took) << '}';
}

void TraceWriter::task_begins(std::uint64_t loop, std::int64_t at, std::uint64_t task,
                              std::string_view name) {
    begin_at("b", name, loop, at) << ",\"cat\":\"task\",\"id\":" << task << '}';
}

void TraceWriter::task_ends(std::uint64_t loop, std::int64_t at, std::uint64_t task,
                            std::string_view name, std::string_view outcome) {
    begin_at("e", name, loop, at) << ",\"cat\":\"task\",\"id\":" << task
                                  << ",\"args\":{\"outcome\":" << json_string(outcome) << "}}";
}

void TraceWriter::arrow(std::uint64_t loop, std::int64_t at, std::int64_t to, std::uint64_t task) {
    begin_at("s", "makes", loop, at) << ",\"cat\":\"makes\",\"id\":" << task << '}';
    begin_at("f", "makes", loop, to) << ",\"cat\":\"makes\",\"id\":" << task << ",\"bp\":\"e\"}";
}

}  // namespace reading
}  // namespace detail
}  // namespace v1
}  // namespace asyncio
