// With ASYNCIO_TEST_FAULT=N in the environment every loop of a test program gets a back end of
// which one call fails: the (N / 32)th of the process, in the way N % 32. N = 0 counts them only.
// The end of the program, or the fault, is told on standard error, where run.py reads it.
#include "faults/install.hpp"

#include <asyncio/component/backends.hpp>

#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <utility>

#include "faults/fault_backend.hpp"

namespace faults {
namespace {

class Plan final : public FaultPlan {
  public:
    Plan(unsigned long number, pid_t process) noexcept
        : call_(number / 32), how_(static_cast<unsigned>(number % 32)), process_(process) {}
    bool fails(const char* call, unsigned& how) noexcept override {
        if (::getpid() != process_) return false;  // a child of fork()
        if (calls_.fetch_add(1) + 1 != call_) return false;
        how = how_;
        char text[100];
        const int n =
            std::snprintf(text, sizeof text, "fault: call %lu, %s, in way %u\n", call_, call, how_);
        [[maybe_unused]] const ssize_t written =
            ::write(STDERR_FILENO, text, static_cast<std::size_t>(n));
        return true;
    }
    void tell() const {
        if (::getpid() == process_) std::fprintf(stderr, "fault: of %lu calls\n", calls_.load());
    }

  private:
    const unsigned long call_;
    const unsigned how_;
    const pid_t process_;
    std::atomic<unsigned long> calls_{0};
};

Plan* plan = nullptr;

std::unique_ptr<Backend> wrap(std::unique_ptr<Backend> real) {
    return std::make_unique<FaultBackend>(std::move(real), *plan);
}

}  // namespace

void install() {
    const char* const number = std::getenv("ASYNCIO_TEST_FAULT");
    if (!number) return;
    static Plan only(std::strtoul(number, nullptr, 10), ::getpid());
    plan = &only;
    // A test writes to a peer that a failed call has closed. That the library raises no SIGPIPE is
    // held by all runs without a fault.
    std::signal(SIGPIPE, SIG_IGN);
    asyncio::component::wrap_backends(wrap);
    std::atexit([] { plan->tell(); });
}

}  // namespace faults
