// State for each loop of what is built on the library: asyncio/component/services.hpp.
#include <asyncio/component/services.hpp>
#include <asyncio/events.hpp>
#include <asyncio/exceptions.hpp>

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

using asyncio::EventLoop;
using asyncio::component::find_service;
using asyncio::component::LoopService;
using asyncio::component::service;
using asyncio::component::ServiceKey;
using asyncio::component::ServiceRank;
using asyncio::detail::LoopCore;

using Lines = std::vector<std::string>;
Lines log;

template <ServiceRank Rank>
struct Noted : LoopService {
    static const ServiceKey key;
    explicit Noted(LoopCore& core) : LoopService(Rank), loop(core) { note("made"); }
    ~Noted() override { note("destroyed"); }
    void loop_closed() noexcept override {
        note("closed");
        if (at_close) at_close(loop);
    }
    void left_to_parent() noexcept override { left = true; }

    static void note(const char* what) { log.push_back(std::to_string(int(Rank)) + ' ' + what); }

    LoopCore& loop;
    void (*at_close)(LoopCore&) = nullptr;
    bool left = false;
};
template <ServiceRank Rank>
const ServiceKey Noted<Rank>::key;

using First = Noted<ServiceRank::kThreads>;
using Component = Noted<ServiceRank::kComponents>;
using Last = Noted<ServiceRank::kSystem>;

class Services : public testing::Test {
  protected:
    Services() { log.clear(); }
    std::unique_ptr<EventLoop> loop_ = asyncio::new_event_loop();
};

TEST_F(Services, AreMadeByTheFirstCallAndOneForEachLoop) {
    EXPECT_EQ(find_service<Component>(loop_->core()), nullptr);
    Component& made = service<Component>(loop_->core());
    EXPECT_EQ(&service<Component>(loop_->core()), &made);
    EXPECT_EQ(find_service<Component>(loop_->core()), &made);
    EXPECT_EQ(find_service<Last>(loop_->core()), nullptr);
    const auto other = asyncio::new_event_loop();
    EXPECT_NE(&service<Component>(other->core()), &made);
}

TEST_F(Services, AreToldByTheirRankThatTheLoopCloses) {
    service<Last>(loop_->core());
    service<First>(loop_->core());
    service<Component>(loop_->core());
    log.clear();
    loop_->close();
    EXPECT_EQ(log, (Lines{"0 closed", "3 closed", "4 closed", "0 destroyed", "3 destroyed",
                          "4 destroyed"}));
}

TEST_F(Services, MayStillBeAskedForUntilTheyAreToldButAreNotMade) {
    service<Last>(loop_->core());
    static bool found;
    static bool refused;
    service<Last>(loop_->core()).at_close = [](LoopCore& core) {
        try {
            service<First>(core);
        } catch (const asyncio::RuntimeError&) {
            refused = find_service<First>(core)->is_closed();
        }
    };
    static std::string error;
    found = refused = false;
    service<First>(loop_->core()).at_close = [](LoopCore& core) {
        found = find_service<Last>(core) == &service<Last>(core);
        try {
            service<Component>(core);
        } catch (const asyncio::RuntimeError& e) {
            error = e.what();
        }
    };
    loop_->close();
    EXPECT_TRUE(found);
    EXPECT_TRUE(refused);
    EXPECT_EQ(error, "Event loop is closed");
    EXPECT_EQ(find_service<Last>(loop_->core()), nullptr);
    EXPECT_THROW(service<Last>(loop_->core()), asyncio::RuntimeError);
}

struct Refuses : LoopService {
    static const ServiceKey key;
    explicit Refuses(LoopCore&) : LoopService(ServiceRank::kComponents) {
        throw std::runtime_error("no");
    }
    void loop_closed() noexcept override {}
};
const ServiceKey Refuses::key;

TEST_F(Services, ThatCannotBeMadeAreAskedForAgain) {
    EXPECT_THROW(service<Refuses>(loop_->core()), std::runtime_error);
    EXPECT_EQ(find_service<Refuses>(loop_->core()), nullptr);
    EXPECT_THROW(service<Refuses>(loop_->core()), std::runtime_error);
}

TEST_F(Services, HearOfAForkInTheChildAlone) {
    Component& mine = service<Component>(loop_->core());
    const pid_t child = ::fork();
    if (child == 0) ::_exit(mine.left ? 42 : 1);
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_EQ(WEXITSTATUS(status), 42);
    EXPECT_FALSE(mine.left);
}

}  // namespace
