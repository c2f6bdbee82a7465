// Downloads many pictures at once: what asynchronous programs are for. While one server thinks, the
// others are listened to; one thread does it all.
//
//   download_pictures [options] URL...
//     --list FILE      URLs from a file, one a line
//     --folder DIR     where the pictures go (default: pictures)
//     --at-once N      downloads at the same time (default: 16)
//     --timeout S      for one attempt, seconds (default: 30)
//     --retries N      further attempts after a failure that may pass (default: 2)
//     --compare        afterwards the same again, one after the other, to compare the times
#include <asyncio.hpp>
#include <asyncio/http.hpp>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "download_names.hpp"
#include "download_progress.hpp"

using namespace std::chrono_literals;
namespace http = asyncio::http;
using download::Progress;

namespace {

struct Settings {
    std::vector<std::string> urls;
    std::filesystem::path folder = "pictures";
    int at_once = 16;
    int timeout = 30;
    int retries = 2;
    bool compare = false;
};

// One attempt at a picture. The file gets its name when it is whole; until then it has a hidden
// one, which no picture can have. An attempt that ends otherwise, cancelled or not, leaves nothing.
class Attempt {
  public:
    Attempt(std::filesystem::path path, std::uint64_t expected, Progress& progress)
        : path_(std::move(path)),
          unfinished_(path_.parent_path() / ("." + path_.filename().string())),
          expected_(expected),
          progress_(progress) {
        progress_.expect(static_cast<double>(expected_), expected_ > 0 ? 1 : 0);
        std::filesystem::remove(unfinished_);
        // "x": never through a link that somebody has laid there.
        file_ = std::fopen(unfinished_.c_str(), "wbx");
        if (!file_) fail();
    }
    ~Attempt() {
        if (whole_) return;
        if (file_) std::fclose(file_);
        std::error_code ignored;
        std::filesystem::remove(unfinished_, ignored);
        progress_.received(-received_);
        progress_.expect(-static_cast<double>(expected_), expected_ > 0 ? -1 : 0);
    }
    // Goes to the system's cache, which is not worth a thread.
    void write(const std::string& bytes) {
        if (std::fwrite(bytes.data(), 1, bytes.size(), file_) != bytes.size()) fail();
        received_ += static_cast<double>(bytes.size());
        progress_.received(static_cast<double>(bytes.size()));
    }
    void finish() {
        if (std::fclose(std::exchange(file_, nullptr)) != 0) fail();
        std::filesystem::rename(unfinished_, path_);
        whole_ = true;
    }

  private:
    [[noreturn]] void fail() const {
        throw asyncio::OSError(errno, "cannot write", path_.string());
    }

    std::filesystem::path path_;
    std::filesystem::path unfinished_;
    std::uint64_t expected_;
    Progress& progress_;
    std::FILE* file_ = nullptr;
    double received_ = 0;
    bool whole_ = false;
};

asyncio::Coroutine<> fetch(http::Client& client, const std::string& url,
                           const std::filesystem::path& path, const Settings& settings,
                           Progress& progress) {
    const http::Stream stream =
        co_await client.stream("GET", url, {.timeout = std::chrono::seconds(settings.timeout)});
    stream.raise_for_status();
    Attempt attempt(path, stream.content_length().value_or(0), progress);
    while (const auto chunk = co_await stream.next_chunk()) attempt.write(*chunk);
    attempt.finish();
}

struct Failure {
    std::string text;
    bool may_pass;  // another attempt may do better
};

// A cancellation is no std::exception, and goes on.
Failure failure_of(asyncio::Result<> outcome) {
    try {
        std::move(outcome).value();
    } catch (const http::StatusError& e) {
        return {e.what(), e.status() >= 500 || e.status() == 429};
    } catch (const http::TLSError& e) {
        return {e.what(), false};
    } catch (const http::ConnectError& e) {
        return {e.what(), true};
    } catch (const http::Timeout& e) {
        return {e.what(), true};
    } catch (const http::ProtocolError& e) {
        return {e.what(), true};
    } catch (const std::exception& e) {
        return {e.what(), false};
    }
    return {};
}

// Returns whether the picture is there.
asyncio::Coroutine<bool> download(http::Client& client, std::string url, std::filesystem::path path,
                                  const Settings& settings, asyncio::Semaphore& places,
                                  Progress& progress) {
    const auto place = co_await places.scoped();
    const asyncio::TimePoint start = asyncio::get_running_loop().time();
    const std::string name = path.filename().string();
    auto pause = 200ms;  // doubled each time, so that a server in trouble is left alone
    for (int left = settings.retries;; --left, pause *= 2) {
        auto outcome = co_await asyncio::as_result(fetch(client, url, path, settings, progress));
        if (outcome.has_value()) break;
        const Failure failure = failure_of(std::move(outcome));
        if (left <= 0 || !failure.may_pass) {
            progress.failed("FAILED " + name + ": " + failure.text);
            co_return false;
        }
        progress.say("again in " + std::to_string(pause.count()) + " ms: " + failure.text);
        co_await asyncio::sleep(pause);
    }
    const auto size = static_cast<double>(std::filesystem::file_size(path));
    progress.saved(name + ", " + download::size_text(size), download::seconds_since(start));
    co_return true;
}

struct Totals {
    int saved = 0;
    double seconds = 0;
    double sum_of_times = 0;
};

asyncio::Coroutine<Totals> download_all(const Settings& settings, std::filesystem::path folder,
                                        int at_once) {
    std::filesystem::create_directories(folder);
    http::Client client;
    asyncio::Semaphore places(at_once);
    Progress progress(settings.urls.size());
    const auto drawing = asyncio::create_task(progress.draw());
    download::Names names;
    std::vector<asyncio::Coroutine<bool>> downloads;
    for (const std::string& url : settings.urls) {
        downloads.push_back(
            download(client, url, folder / names.unique_name_of(url), settings, places, progress));
    }
    const std::vector<bool> outcomes = co_await asyncio::gather(std::move(downloads));
    drawing.cancel();
    progress.say(progress.line());
    Totals totals;
    totals.saved = static_cast<int>(std::count(outcomes.begin(), outcomes.end(), true));
    totals.seconds = progress.elapsed();
    totals.sum_of_times = progress.sum_of_times();
    co_return totals;
}

asyncio::Coroutine<> program(Settings settings) {
    const Totals together = co_await download_all(settings, settings.folder, settings.at_once);
    double one_by_one = together.sum_of_times;
    if (settings.compare) {
        std::printf("The same, one after the other:\n");
        const std::filesystem::path again = settings.folder / ".compare";
        one_by_one = (co_await download_all(settings, again, 1)).seconds;
        std::filesystem::remove_all(again);
    }
    std::printf(
        "%d of %zu pictures in %.2f s; one after the other: %.2f s (%s), %.1f times as long\n",
        together.saved, settings.urls.size(), together.seconds, one_by_one,
        settings.compare ? "measured" : "the sum of their times", one_by_one / together.seconds);
    if (together.saved < static_cast<int>(settings.urls.size())) throw asyncio::SystemExit(1);
}

int number(const char* option, std::string_view text, int least) {
    int value = 0;
    const auto parsed = std::from_chars(text.data(), text.data() + text.size(), value);
    if (parsed.ec != std::errc() || parsed.ptr != text.data() + text.size() || value < least) {
        throw asyncio::ValueError(std::string(option) + " wants a number, at least " +
                                  std::to_string(least));
    }
    return value;
}

Settings parse(int argc, char** argv) {
    Settings settings;
    for (int i = 1; i < argc; ++i) {
        const std::string word = argv[i];
        if (word == "--compare") {
            settings.compare = true;
        } else if (!word.starts_with("--")) {
            settings.urls.push_back(word);
        } else if (i + 1 == argc) {
            throw asyncio::ValueError(word + " is unknown, or wants a value");
        } else if (const char* value = argv[++i]; word == "--folder") {
            settings.folder = value;
        } else if (word == "--at-once") {
            settings.at_once = number("--at-once", value, 1);
        } else if (word == "--timeout") {
            settings.timeout = number("--timeout", value, 1);
        } else if (word == "--retries") {
            settings.retries = number("--retries", value, 0);
        } else if (word == "--list") {
            std::ifstream list(value);
            if (!list) throw asyncio::FileNotFoundError(std::string("cannot read ") + value);
            for (std::string line; std::getline(list, line);) {
                if (!line.empty() && line[0] != '#') settings.urls.push_back(line);
            }
        } else {
            throw asyncio::ValueError(word + " is unknown");
        }
    }
    if (settings.urls.empty()) throw asyncio::ValueError("no URLs: download_pictures URL...");
    return settings;
}

}  // namespace

int main(int argc, char** argv) {
    try {
        return asyncio::run_main(program(parse(argc, argv)));
    } catch (const std::exception& e) {
        std::fprintf(stderr, "download_pictures: %s\n", e.what());
        return 2;
    }
}
