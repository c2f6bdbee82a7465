// A service that is told what to do by signals, as daemons are:
//
//   HUP   read the configuration again
//   USR1  say how it is going
//   TERM  finish what is under way, then end (Ctrl-C: the same, but a second one ends it at once)
//
// Try it:  ./signals & sleep 1; kill -HUP $!; kill -USR1 $!; kill -TERM $!; wait
#include <asyncio.hpp>

#include <chrono>
#include <csignal>

#include "command_line.hpp"

using namespace std::chrono_literals;

struct Service {
    int configuration = 1;
    int jobs_done = 0;
    bool closing = false;
};

// Does one job after another until it is asked to stop.
asyncio::Coroutine<> work(Service& service) {
    while (!service.closing) {
        co_await asyncio::sleep(200ms);
        ++service.jobs_done;
    }
    command::say("work: the last job is done\n");
}

// Every SIGHUP from the start on; those that come while it reads count as one more.
asyncio::Coroutine<> reload(Service& service) {
    auto hangups = asyncio::signals::watch(SIGHUP);
    while (auto signal = co_await hangups.next()) {
        co_await asyncio::sleep(50ms);  // reading takes a moment
        command::say("reload: configuration ", ++service.configuration, "\n");
    }
}

asyncio::Coroutine<> program() {
    Service service;
    // A callback is enough where nothing is awaited.
    asyncio::get_running_loop().add_signal_handler(
        SIGUSR1, [&] { command::say("status: ", service.jobs_done, " jobs done\n"); });
    auto worker = asyncio::create_task(work(service));
    auto reloader = asyncio::create_task(reload(service));
    auto terminated = asyncio::create_task(asyncio::signals::wait(SIGTERM));
    co_await asyncio::sleep(0s);  // now all three have begun, and no signal finds nobody there
    command::say("started\n");

    // Ctrl-C needs no handler: asyncio cancels this task, which ends as TERM would have it.
    const auto told = co_await asyncio::as_result(terminated);
    command::say("\nfinishing: ", told.has_value() ? "TERM" : "Ctrl-C", "\n");
    service.closing = true;
    co_await worker;
    reloader.cancel();
    if (!told.has_value()) told.value();  // raises the cancellation again: exit status 130
}

int main(int argc, char** argv) {
    return command::run("signals", argc, argv, [](const command::Arguments& words) {
        words.expect(0, 0);
        return program();
    });
}
