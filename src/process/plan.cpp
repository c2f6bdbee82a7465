// The arguments of create_subprocess_exec and its kin, checked and copied.
#include "process/plan.hpp"

#include <algorithm>
#include <iterator>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "asyncio/exceptions.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

PlanPtr::~PlanPtr() { delete plan_; }

void add_argument(std::vector<std::string>& all, std::string a) { all.push_back(std::move(a)); }
std::vector<std::string> one_argument(std::string_view a) { return {std::string(a)}; }

namespace {

void check_text(std::string_view text) {
    if (text.find('\0') != std::string_view::npos) throw ValueError("embedded null byte");
}

std::vector<std::string> copy_environment(const subprocess::Environment& env) {
    std::vector<std::string> lines;
    env.for_each(
        [](void* context, std::string_view name, std::string_view value) {
            check_text(name);
            check_text(value);
            if (name.empty() || name.find('=') != std::string_view::npos) {
                throw ValueError("illegal environment variable name");
            }
            // Safe because `context` is the address of `lines`.
            auto& all = *static_cast<std::vector<std::string>*>(context);
            all.push_back(std::string(name) + '=' + std::string(value));
        },
        &lines);
    return lines;
}

[[noreturn]] void throw_unknown(const char* function, std::string_view name) {
    throw KeyError(std::string(function) + "(): name not found: " + quoted(name));
}

uid_t find_user(const subprocess::Identity& who) {
    if (who.name().empty()) {
        if (who.number() < 0)
            throw ValueError("User ID cannot be negative, got " + std::to_string(who.number()));
        return static_cast<uid_t>(who.number());
    }
    const std::optional<uid_t> found = user_named(std::string(who.name()));
    if (!found) throw_unknown("getpwnam", who.name());
    return *found;
}

gid_t find_group(const subprocess::Identity& who) {
    if (who.name().empty()) {
        if (who.number() < 0)
            throw ValueError("Group ID cannot be negative, got " + std::to_string(who.number()));
        return static_cast<gid_t>(who.number());
    }
    const std::optional<gid_t> found = group_named(std::string(who.name()));
    if (!found) throw_unknown("getgrnam", who.name());
    return *found;
}

void copy_identity(SpawnRequest& r, const SubprocessOptions& options) {
    if (options.user.given()) r.user = find_user(options.user);
    if (options.group.given()) r.group = find_group(options.group);
    if (!options.extra_groups.given()) return;
    r.extra_groups.emplace();
    for (const int g : options.extra_groups.numbers()) r.extra_groups->push_back(find_group(g));
}

void check_stdio(const subprocess::Stdio (&stdio)[3]) {
    for (int i = 0; i < 3; ++i) {
        if (stdio[i] == subprocess::STDOUT && i != 2) {
            throw ValueError("STDOUT can only be used for stderr");
        }
        if (stdio[i].value() < subprocess::Stdio().value()) {
            throw ValueError("Invalid file descriptor: " + std::to_string(stdio[i].value()));
        }
    }
}

void fill(SubprocessPlan& plan, std::vector<std::string> args, bool shell,
          const SubprocessOptions& o) {
    SpawnRequest& r = plan.request;
    if (shell) args.insert(args.begin(), {"/bin/sh", "-c"});
    if (args.empty()) throw ValueError("a program to run is needed");
    for (const std::string& a : args) check_text(a);
    check_text(o.executable);
    check_text(o.cwd);
    r.program = o.executable.empty() ? args.front() : std::string(o.executable);
    r.args = std::move(args);
    if (!o.cwd.empty()) r.cwd = std::string(o.cwd);
    if (o.env) r.env = copy_environment(o.env);
    r.pass_fds.assign(o.pass_fds.begin(), o.pass_fds.end());
    for (const int fd : r.pass_fds) {
        if (fd < 0) throw ValueError("bad value(s) in pass_fds");
    }
    r.close_fds = o.close_fds || !r.pass_fds.empty();
    r.start_new_session = o.start_new_session;
    r.process_group = o.process_group;
    if (o.umask) r.umask = static_cast<mode_t>(*o.umask);
    copy_identity(r, o);
    check_stdio(plan.stdio);
}

}  // namespace

PlanPtr plan_subprocess(std::vector<std::string> args, bool shell, const SubprocessOptions& o) {
    PlanPtr plan(new SubprocessPlan);
    const subprocess::Stdio stdio[] = {o.stdin_, o.stdout_, o.stderr_};
    std::copy(std::begin(stdio), std::end(stdio), plan->stdio);
    plan->limit = o.limit;
    try {
        if (o.limit == 0) throw ValueError("Limit cannot be <= 0");
        fill(*plan, std::move(args), shell, o);
    } catch (const std::exception&) {
        // Raised when the call is awaited, as all its errors are.
        plan->error = std::current_exception();
    }
    return plan;
}

}  // namespace detail
}  // namespace v1
}  // namespace asyncio
