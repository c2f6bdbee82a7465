// What download_pictures shows while it works.
#pragma once

#include <unistd.h>
#include <asyncio.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <string>

#include "command_line.hpp"

namespace download {

using namespace std::chrono_literals;

inline double seconds_since(asyncio::TimePoint start) {
    return std::chrono::duration<double>(asyncio::get_running_loop().time() - start).count();
}

inline std::string size_text(double bytes) {
    char text[32];
    const bool mega = bytes >= 1e6;
    std::snprintf(text, sizeof text, "%.1f %s", bytes / (mega ? 1e6 : 1e3), mega ? "MB" : "kB");
    return text;
}

// Counts what comes, and shows it: a bar that is drawn again and again on a terminal, else a line a
// picture.
class Progress {
  public:
    explicit Progress(std::size_t pictures) : pictures_(pictures) {}

    void expect(double bytes, int pictures) { expected_ += bytes, sized_ += pictures; }
    void received(double bytes) { received_ += bytes; }
    void saved(const std::string& what, double seconds) {
        sum_of_times_ += seconds;
        ++done_;
        if (!terminal_) say(count() + " " + what);
    }
    void failed(const std::string& why) {
        ++done_;
        say(why);
    }
    void say(const std::string& line) const {
        command::say(terminal_ ? "\r\033[K" : "", line, "\n");
    }

    asyncio::Coroutine<> draw() const {
        while (terminal_) {
            // The last column stays free: some terminals begin a new line with it.
            const std::size_t columns = command::Terminal::now().columns;
            command::say("\r\033[K", command::fitted(line(), columns > 1 ? columns - 1 : 1));
            co_await asyncio::sleep(100ms);  // often enough for the eye
        }
    }
    std::string line() const {
        const double elapsed = seconds_since(start_);
        const double rate = elapsed > 0 ? received_ / elapsed : 0;
        // Pictures whose size is not known yet are taken for average ones.
        const double all = sized_ > 0 ? expected_ / sized_ * static_cast<double>(pictures_) : 0;
        const double share = all > 0 ? std::min(received_ / all, 1.0) : 0;
        constexpr int kWidth = 24;
        const auto full = static_cast<std::size_t>(share * kWidth);
        std::string text = "[" + std::string(full, '#') + std::string(kWidth - full, '-') + "] ";
        text += count() + "  " + size_text(received_) + "  " + size_text(rate) + "/s";
        if (share > 0 && share < 1 && done_ < pictures_) {
            text +=
                "  " + std::to_string(static_cast<int>(elapsed / share - elapsed) + 1) + " s left";
        }
        return text;
    }
    double sum_of_times() const { return sum_of_times_; }
    double elapsed() const { return seconds_since(start_); }

  private:
    std::string count() const { return std::to_string(done_) + "/" + std::to_string(pictures_); }

    std::size_t pictures_;
    std::size_t done_ = 0;
    int sized_ = 0;
    double expected_ = 0;
    double received_ = 0;
    double sum_of_times_ = 0;
    bool terminal_ = ::isatty(1) == 1;
    asyncio::TimePoint start_ = asyncio::get_running_loop().time();
};

}  // namespace download
