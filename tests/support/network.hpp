// What the tests of the network share: a protocol that notes what happens to it, and a run on a
// real loop that ends in time.
#pragma once

#include <asyncio/base_events.hpp>
#include <asyncio/exceptions.hpp>
#include <asyncio/protocols.hpp>
#include <asyncio/sockets.hpp>
#include <asyncio/tasks.hpp>
#include <asyncio/timeouts.hpp>
#include <asyncio/transports.hpp>
#include <asyncio/with.hpp>

#include <stdlib.h>

#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include "support.hpp"

namespace network {

using namespace asyncio;
using namespace std::chrono_literals;
using support::Lines;

// Notes what happens to it, and does what a test asks of it.
class Recorder : public Protocol {
  public:
    void connection_made(Transport& transport) override {
        transport_ = transport;
        note("made");
        if (on_made) on_made();
    }
    void data_received(std::string_view data) override {
        received += data;
        note("data");
        if (on_data) on_data(data);
    }
    bool eof_received() override {
        note("eof");
        if (on_eof) on_eof();
        return keep_open;
    }
    void connection_lost(std::exception_ptr error) override {
        lost_error = error;
        note(error ? "lost " + detail::type_name(error) : "lost");
        if (on_lost) on_lost();
        if (!lost.done()) lost.set_result();
    }
    void pause_writing() override {
        note("pause");
        if (on_pause) on_pause();
    }
    void resume_writing() override {
        note("resume");
        if (on_resume) on_resume();
    }

    void note(const std::string& what) {
        if (what == "data" && !events.empty() && events.back() == "data") return;
        events.push_back(what);
    }
    Transport& transport() { return transport_; }

    Lines events;
    std::string received;
    bool keep_open = false;
    std::exception_ptr lost_error;
    Future<> lost;
    std::function<void()> on_made, on_eof, on_lost, on_pause, on_resume;
    std::function<void(std::string_view)> on_data;

  private:
    Transport transport_;
};

inline std::shared_ptr<Recorder> recorder() { return std::make_shared<Recorder>(); }

// Sends back what it gets.
class Echo : public Protocol {
  public:
    void connection_made(Transport& transport) override { transport_ = transport; }
    void data_received(std::string_view data) override { transport_.write(data); }

  private:
    Transport transport_;
};
inline std::shared_ptr<Echo> echo() { return std::make_shared<Echo>(); }

// A server that is closed with its scope: what its factory uses may be gone with that. A mere
// handle lets it serve on, so it did if the test failed, as it may when a call of the back end
// does.
class Serving : public Server {
  public:
    Serving(Server server) : Server(std::move(server)) {}
    Serving(const Serving&) = delete;
    Serving& operator=(const Serving&) = delete;
    ~Serving() { close(); }
};

// A folder that is removed with all that is in it.
class TemporaryFolder {
  public:
    TemporaryFolder() {
        std::string name = (std::filesystem::temp_directory_path() / "asyncio-XXXXXX").string();
        if (!::mkdtemp(name.data())) throw RuntimeError("no temporary folder");
        path_ = name;
    }
    TemporaryFolder(const TemporaryFolder&) = delete;
    TemporaryFolder& operator=(const TemporaryFolder&) = delete;
    ~TemporaryFolder() {
        std::error_code ignored;
        std::filesystem::remove_all(path_, ignored);
    }
    const std::string& path() const { return path_; }

  private:
    std::string path_;
};

// Runs `main()` on a new loop (ASYNCIO_BACKEND names its back end), for ten seconds at most, and
// closes the loop.
template <class F>
void run_briefly(F&& main) {
    const auto loop = new_event_loop();
    auto body = std::forward<F>(main);
    auto limited = [&]() -> Coroutine<> { co_await asyncio::wait_for(body(), 10s); };
    loop->run_until_complete(limited());
}

// Returns when a task is done, however it ended.
template <class T>
Coroutine<> end_of(Task<T> task) {
    [[maybe_unused]] const auto ended = co_await as_result(task);
}

// Returns when `condition()` is true; looks in every iteration.
template <class F>
Coroutine<> until(F condition) {
    while (!condition()) co_await asyncio::sleep(1ms);
}

}  // namespace network
