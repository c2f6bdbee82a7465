// Kitchen timers: what the server of docs/tutorial.md keeps for each client. There is no network in
// it, so that its tests run on virtual time.
#pragma once

#include <asyncio.hpp>

#include <chrono>
#include <cstddef>
#include <map>
#include <sstream>
#include <string>

// A client that has more timers than this is mistaken.
inline constexpr std::size_t kMostTimers = 100;

class Kitchen {
  public:
    // What there is to tell, a line each. A client that does not read holds up its own timers once
    // so many lines wait, and costs no more memory.
    asyncio::Queue<std::string> news{kMostTimers};

    // Does what a line says, and returns the answer. The timers become tasks of `group`, which must
    // end before this object goes. Raises: ValueError if the line makes no sense.
    std::string obey(asyncio::TaskGroup& group, const std::string& line) {
        std::istringstream words(line);
        std::string order, name;
        double seconds = 0;
        words >> order;
        if (order == "start" && words >> seconds >> name) return start(group, name, seconds);
        if (order == "cancel" && words >> name) return cancel(name);
        if (order == "list") return list();
        throw asyncio::ValueError("say: start SECONDS NAME, cancel NAME, or list");
    }

  private:
    std::string start(asyncio::TaskGroup& group, const std::string& name, double seconds) {
        if (seconds <= 0) throw asyncio::ValueError("a timer takes more than 0 seconds");
        if (timers_.contains(name)) throw asyncio::ValueError(name + " is on its way already");
        if (timers_.size() == kMostTimers) throw asyncio::ValueError("too many timers");
        const std::chrono::duration<double> delay(seconds);
        timers_.emplace(name, group.create_task(run(name, delay), {.name = name}));
        return "started " + name;
    }

    std::string cancel(const std::string& name) {
        const auto timer = timers_.find(name);
        if (timer == timers_.end()) throw asyncio::ValueError("no timer is called " + name);
        timer->second.cancel();
        timers_.erase(timer);
        return "cancelled " + name;
    }

    std::string list() const {
        std::string names;
        for (const auto& [name, task] : timers_) names += " " + name;
        return "timers:" + names;
    }

    asyncio::Coroutine<> run(std::string name, asyncio::Delay delay) {
        co_await asyncio::sleep(delay);
        timers_.erase(name);
        co_await news.put(name + " is ready");
    }

    std::map<std::string, asyncio::Task<>> timers_;  // those that run
};
