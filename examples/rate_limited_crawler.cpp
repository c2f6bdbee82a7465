// Crawls the pages of one host: several workers share a queue of pages, and a limit on how many
// requests a second the host has to bear.
//
//   rate_limited_crawler URL [PAGES [PER_SECOND]]     default: 100 pages, 5 a second
#include <asyncio.hpp>
#include <asyncio/http.hpp>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <set>
#include <string>
#include <vector>

#include "html_links.hpp"

using namespace std::chrono_literals;
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
        std::printf("%zu pages seen\n", seen_.size());
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
                std::printf("             %s\n", e.what());
            }
            pages_.task_done();
        }
    }

    asyncio::Coroutine<> visit(const std::string& url) {
        const auto page = co_await client_.get(url, {.timeout = 20s, .max_body = kLargest});
        std::printf("%d %8zu %s\n", page.status, page.body.size(), page.url.c_str());
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
};

}  // namespace

int main(int argc, char** argv) {
    const int pages = argc > 2 ? std::atoi(argv[2]) : 100;
    const double per_second = argc > 3 ? std::atof(argv[3]) : 5;
    if (argc < 2 || pages < 1 || !(per_second > 0)) {
        std::fprintf(stderr, "usage: rate_limited_crawler URL [PAGES [PER_SECOND]]\n");
        return 2;
    }
    Crawler crawler(static_cast<std::size_t>(pages), per_second);
    return asyncio::run_main(crawler.crawl(argv[1]));
}
