// What components reach the loop by: asyncio/component/watch.hpp, post.hpp and descriptors.hpp.
#include <asyncio/component/descriptors.hpp>
#include <asyncio/component/post.hpp>
#include <asyncio/component/watch.hpp>
#include <asyncio/events.hpp>
#include <asyncio/exceptions.hpp>
#include <asyncio/sockets.hpp>
#include <asyncio/tasks.hpp>

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace {

using namespace asyncio;
using component::Interest;
using component::Poster;
using component::Watches;

using Lines = std::vector<std::string>;

class Watching : public testing::Test {
  protected:
    // What comes until the loop has asked the system.
    Lines seen() {
        log_.clear();
        loop_->call_later(std::chrono::milliseconds(2), [this] { loop_->stop(); });
        loop_->run_forever();
        return log_;
    }
    Watches::Callback noting() {
        return [this](int fd, Interest ready) {
            const bool known = fd == ends_.first.fileno();
            log_.push_back(std::string(known ? "" : "? ") + (ready.readable ? "r" : "") +
                           (ready.writable ? "w" : ""));
        };
    }
    int fd() const { return ends_.first.fileno(); }
    void send() { ASSERT_EQ(::write(ends_.second.fileno(), "x", 1), 1); }

    std::unique_ptr<EventLoop> loop_ = new_event_loop();
    std::pair<Socket, Socket> ends_ = Socket::pair();
    Lines log_;
};

TEST_F(Watching, FollowsWhatIsWanted) {
    Watches watches(*loop_, noting());
    send();
    EXPECT_EQ(seen(), Lines{});
    watches.set(fd(), {.readable = true});
    EXPECT_EQ(watches.what(fd()), (Interest{.readable = true}));
    EXPECT_FALSE(seen().empty());
    EXPECT_EQ(log_, Lines(log_.size(), "r"));
    watches.set(fd(), {.writable = true});
    EXPECT_FALSE(seen().empty());
    EXPECT_EQ(log_, Lines(log_.size(), "w"));
    watches.set(fd(), {true, true});
    seen();
    EXPECT_NE(std::find(log_.begin(), log_.end(), "r"), log_.end());
    EXPECT_NE(std::find(log_.begin(), log_.end(), "w"), log_.end());
    watches.set(fd(), {});
    EXPECT_EQ(watches.what(fd()), Interest{});
    EXPECT_EQ(seen(), Lines{});
    EXPECT_FALSE(loop_->remove_reader(fd()));
    EXPECT_FALSE(loop_->remove_writer(fd()));
}

TEST_F(Watching, ForgetsAllAndEndsWithItsObject) {
    std::optional<Watches> watches(std::in_place, *loop_, noting());
    watches->set(fd(), {true, true});
    watches->clear();
    EXPECT_EQ(seen(), Lines{});
    watches->set(fd(), {true, true});
    watches.reset();
    EXPECT_EQ(seen(), Lines{});
}

TEST_F(Watching, ACallMayDestroyWhatWatches) {
    std::unique_ptr<Watches> watches;
    std::string told = "not called";
    watches = std::make_unique<Watches>(*loop_, [&, text = std::string(100, 'x')](int, Interest) {
        watches.reset();
        told = text;
    });
    watches->set(fd(), {true, true});
    send();
    seen();
    EXPECT_EQ(told, std::string(100, 'x'));
    EXPECT_EQ(watches, nullptr);
}

TEST_F(Watching, ANumberThatIsAnothersIsWatchedAnew) {
    Watches watches(*loop_, noting());
    watches.set(fd(), {.readable = true});
    const int number = fd();
    auto others = Socket::pair();
    ASSERT_EQ(::dup2(others.first.fileno(), number), number);
    watches.renew(number);
    EXPECT_EQ(watches.what(number), (Interest{.readable = true}));
    EXPECT_EQ(seen(), Lines{});
    ASSERT_EQ(::write(others.second.fileno(), "x", 1), 1);
    EXPECT_FALSE(seen().empty());
}

TEST_F(Watching, WhatIsRefusedIsForgotten) {
    Watches watches(*loop_, noting());
    EXPECT_THROW(watches.set(-1, {.readable = true}), ValueError);
    const int file = ::dup(fd());
    ::close(file);
    EXPECT_THROW(watches.set(file, {true, true}), OSError);
    EXPECT_EQ(watches.what(file), Interest{});
    watches.renew(file);
    watches.set(file, {});
}

TEST_F(Watching, AClosedLoopWatchesNothing) {
    Watches watches(*loop_, noting());
    watches.set(fd(), {.readable = true});
    loop_->close();
    watches.set(fd(), {true, true});
    watches.renew(fd());
    watches.clear();
    loop_.reset();
    watches.set(fd(), {.readable = true});
    EXPECT_EQ(watches.what(fd()), Interest{});
}

TEST(Post, RunsOnTheLoopInOrderWhateverThreadPosts) {
    const auto loop = new_event_loop();
    const auto home = std::this_thread::get_id();
    std::vector<int> order;
    bool elsewhere = false;
    std::thread other([&, poster = Poster(*loop)] {
        for (int i = 0; i < 100; ++i) {
            poster.post([&, i] {
                order.push_back(i);
                elsewhere |= std::this_thread::get_id() != home;
            });
        }
        const Poster last = poster;
        last.post([&] { loop->stop(); });
    });
    loop->run_forever();
    other.join();
    ASSERT_EQ(order.size(), 100u);
    for (int i = 0; i < 100; ++i) EXPECT_EQ(order[static_cast<std::size_t>(i)], i);
    EXPECT_FALSE(elsewhere);
}

TEST(Post, OfAllLoopsThatAreOpenFromAnyThread) {
    const auto before = component::posters().size();
    const auto one = EpollEventLoop::create();
    auto other = EpollEventLoop::create();
    std::vector<component::Poster> all;
    std::thread([&] { all = component::posters(); }).join();
    ASSERT_EQ(all.size(), before + 2);
    EXPECT_EQ(all[before].id(), component::Poster(*one).id());
    EXPECT_NE(all[before].id(), all[before + 1].id());
    other->close();
    other.reset();
    EXPECT_EQ(component::posters().size(), before + 1);
    // One that is gone takes nothing any more, and may be asked all the same.
    EXPECT_FALSE(all[before + 1].post([] {}));
    bool ran = false;
    EXPECT_TRUE(all[before].post([&] { ran = true; }));
    one->run_once(std::chrono::seconds(0));
    EXPECT_TRUE(ran);
    one->close();
}

TEST(Post, NothingIsLostUnseen) {
    auto loop = new_event_loop();
    const Poster poster(*loop);
    const auto kept = std::make_shared<int>();
    bool ran = false;
    EXPECT_TRUE(poster.post([kept, &ran] { ran = true; }));
    EXPECT_EQ(kept.use_count(), 2);
    loop->close();
    EXPECT_EQ(kept.use_count(), 1) << "dropped as the loop closed";
    EXPECT_FALSE(poster.post([kept, &ran] { ran = true; }));
    loop.reset();
    EXPECT_FALSE(poster.post([kept, &ran] { ran = true; }));
    EXPECT_EQ(kept.use_count(), 1);
    EXPECT_FALSE(ran);
}

TEST(Post, EachOneRunsOrIsDestroyedWhileTheLoopCloses) {
    for (int round = 0; round < 20; ++round) {
        auto loop = new_event_loop();
        const auto kept = std::make_shared<int>();
        int ran = 0;
        int refused = 0;
        std::thread other([&, poster = Poster(*loop)] {
            for (int i = 0; i < 200; ++i) refused += !poster.post([kept, &ran] { ++ran; });
        });
        loop->call_soon([&] { loop->stop(); });
        loop->run_forever();
        loop->close();
        loop.reset();
        other.join();
        EXPECT_EQ(kept.use_count(), 1);
        EXPECT_LE(ran + refused, 200);
    }
}

TEST(Post, ErrorsGoToTheExceptionHandler) {
    const auto loop = new_event_loop();
    std::string message;
    loop->set_exception_handler([&](EventLoop&, const ExceptionContext& context) {
        message = context.message;
        loop->stop();
    });
    Poster(*loop).post([] { throw std::runtime_error("no"); });
    loop->run_forever();
    EXPECT_NE(message.find("test_component_doors.cpp"), std::string::npos) << message;
}

TEST(Descriptors, TellTheirEndsAndWhetherSomethingWaits) {
    const int listening = component::open_socket(AF_INET, SOCK_STREAM, 0);
    ASSERT_GT(listening, 2);
    EXPECT_FALSE(component::peer_address(listening));
    EXPECT_EQ(component::own_address(listening).family(), AF_INET);
    EXPECT_EQ(component::close_descriptor(listening), 0);
    EXPECT_FALSE(component::own_address(listening));
    EXPECT_EQ(component::open_socket(-1, 0, 0), -1);
    const auto ends = Socket::pair();
    EXPECT_FALSE(component::has_input(ends.first.fileno()));
    ASSERT_EQ(::write(ends.second.fileno(), "x", 1), 1);
    EXPECT_TRUE(component::has_input(ends.first.fileno()));
}

}  // namespace
