// Crawls the pages of one host: several workers share a queue of pages, and a limit on how many
// requests a second the host has to bear.
//
//   rate_limited_crawler URL [PAGES [PER_SECOND]]     default: 100 pages, 5 a second
#include <asyncio.hpp>
#include <asyncio/http.hpp>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <iomanip>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "command_line.hpp"
#include "html_links.hpp"

using namespace std::chrono_literals;
using command::printable, command::say;
using html::joined, html::links_of, html::origin_of;
namespace http = asyncio::http;

namespace {

constexpr int kWorkers = 4;                  // slow pages do not hold up the others
constexpr std::uint64_t kLargest = 2 << 20;  // bytes: no page to be read is larger

// Lets one caller through every so often, in the order in which they came.
class Rate {
  public:
    explicit Rate(double per_second) : interval_(1 / per_second) {}

    asyncio::Coroutine<> turn() {
        const asyncio::TimePoint now = asyncio::get_running_loop().time();
        const asyncio::TimePoint mine = std::max(now, next_);
        next_ = mine + std::chrono::duration_cast<asyncio::Duration>(interval_);
        co_await asyncio::sleep(mine - now);
    }

  private:
    std::chrono::duration<double> interval_;
    asyncio::TimePoint next_{};
};

class Crawler {
  public:
    Crawler(std::size_t most, double per_second) : most_(most), rate_(per_second) {}

    asyncio::Coroutine<> crawl(std::string start) {
        add(start);
        std::vector<asyncio::Task<>> workers;
        for (int i = 0; i < kWorkers; ++i) workers.push_back(asyncio::create_task(work()));
        co_await pages_.join();
        for (auto& worker : workers) worker.cancel();
        say(seen_.size(), " pages seen\n");
        if (read_ == 0) throw asyncio::SystemExit(1);  // not even the first
    }

  private:
    void add(const std::string& url) {
        if (seen_.size() < most_ && seen_.insert(url).second) pages_.put_nowait(url);
    }

    asyncio::Coroutine<> work() {
        for (;;) {
            const std::string url = co_await pages_.get();
            co_await rate_.turn();
            try {
                co_await visit(url);
            } catch (const std::exception& e) {  // a cancellation is none, and passes
                say("             ", printable(e.what()), "\n");
            }
            pages_.task_done();
        }
    }

    asyncio::Coroutine<> visit(const std::string& url) {
        const auto page = co_await client_.get(url, {.timeout = 20s, .max_body = kLargest});
        say(page.status, " ", std::setw(8), page.body.size(), " ", printable(page.url), "\n");
        if (page.ok()) ++read_;
        if (!page.ok() || origin_of(page.url) != origin_of(url)) co_return;  // it led elsewhere
        for (const std::string& link : links_of(page.body)) {
            if (const auto next = joined(page.url, link)) add(*next);
        }
    }

    std::size_t most_;
    Rate rate_;
    http::Client client_;
    asyncio::Queue<std::string> pages_;
    std::set<std::string> seen_;
    int read_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
    const char* usage = "rate_limited_crawler URL [PAGES [PER_SECOND]]";
    std::optional<Crawler> crawler;
    return command::run(usage, argc, argv, [&](const command::Arguments& words) {
        words.expect(1, 3);
        const int pages = words.number(1, "PAGES", 1, 1'000'000, 100);
        crawler.emplace(static_cast<std::size_t>(pages), words.decimal(2, "PER_SECOND", 5));
        return crawler->crawl(words[0]);
    });
}
