// Downloads many pictures at once: what asynchronous programs are for. While one server thinks, the
// others are listened to; one thread does it all.
//
//   download_pictures [options] URL...
//     --list FILE      URLs from a file, one a line
//     --folder DIR     where the pictures go (default: pictures)
//     --at-once N      downloads at the same time (default: 16)
//     --timeout S      for one attempt, seconds (default: 30)
//     --retries N      further attempts after a failure that may pass (default: 2)
//     --overwrite      replace pictures that are there already (else that is a failure)
//     --compare        afterwards the same again, one after the other, to compare the times
#include <asyncio.hpp>
#include <asyncio/http.hpp>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iomanip>
#include <string>
#include <vector>

#include "command_line.hpp"
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
    bool overwrite = false;
    bool compare = false;
};

// The disk is full, or the folder cannot be written: no other picture will do better.
class FolderError : public asyncio::RuntimeError {
  public:
    using RuntimeError::RuntimeError;
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
        std::error_code ignored;
        std::filesystem::remove(unfinished_, ignored);
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
        std::error_code error;
        std::filesystem::rename(unfinished_, path_, error);
        if (error) fail(error.value());
        whole_ = true;
    }

  private:
    [[noreturn]] void fail(int error = errno) const {
        throw FolderError("cannot write " + command::printable(path_.string()) + ": " +
                          std::generic_category().message(error));
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

// A cancellation is no std::exception, and goes on. Raises: FolderError.
Failure failure_of(asyncio::Result<> outcome) {
    try {
        std::move(outcome).value();
    } catch (const FolderError&) {
        throw;
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

// One attempt when its turn has come. A pause before the next one leaves the place to others.
// `seconds` grows by the time that it took.
asyncio::Coroutine<asyncio::Result<>> attempt(http::Client& client, const std::string& url,
                                              const std::filesystem::path& path,
                                              const Settings& settings, asyncio::Semaphore& places,
                                              Progress& progress, double& seconds) {
    const auto place = co_await places.scoped();
    const asyncio::TimePoint start = asyncio::get_running_loop().time();
    auto outcome = co_await asyncio::as_result(fetch(client, url, path, settings, progress));
    seconds += download::seconds_since(start);
    co_return outcome;
}

// Returns whether the picture is there.
asyncio::Coroutine<bool> download(http::Client& client, std::string url, std::filesystem::path path,
                                  const Settings& settings, asyncio::Semaphore& places,
                                  Progress& progress) {
    const std::string name = path.filename().string();
    if (!settings.overwrite && std::filesystem::exists(std::filesystem::symlink_status(path))) {
        progress.failed("FAILED " + name + ": it is there already (--overwrite replaces it)");
        co_return false;
    }
    double seconds = 0;
    auto pause = 200ms;  // doubled each time, so that a server in trouble is left alone
    for (int left = settings.retries;; --left, pause *= 2) {
        asyncio::Result<> outcome =
            co_await attempt(client, url, path, settings, places, progress, seconds);
        if (outcome.has_value()) break;
        const Failure failure = failure_of(std::move(outcome));
        if (left <= 0 || !failure.may_pass) {
            progress.failed("FAILED " + name + ": " + command::printable(failure.text));
            co_return false;
        }
        progress.say("again in " + std::to_string(pause.count()) +
                     " ms: " + command::printable(failure.text));
        co_await asyncio::sleep(pause);
    }
    const auto size = static_cast<double>(std::filesystem::file_size(path));
    progress.saved(name + ", " + download::size_text(size), seconds);
    co_return true;
}

struct Totals {
    int saved = 0;
    double seconds = 0;
    double sum_of_times = 0;
};

asyncio::Coroutine<Totals> download_all(const Settings& settings, std::filesystem::path folder,
                                        int at_once) {
    std::error_code error;
    std::filesystem::create_directories(folder, error);
    if (error) {
        throw FolderError("cannot make " + command::printable(folder.string()) + ": " +
                          error.message());
    }
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
    const auto ended = co_await asyncio::as_result(command::together(std::move(downloads)));
    drawing.cancel();
    const std::vector<bool>& outcomes = ended.value();
    progress.say(progress.line());
    Totals totals;
    totals.saved = static_cast<int>(std::count(outcomes.begin(), outcomes.end(), true));
    totals.seconds = progress.elapsed();
    totals.sum_of_times = progress.sum_of_times();
    co_return totals;
}

asyncio::Coroutine<> program(Settings settings) {
    const Totals together = co_await download_all(settings, settings.folder, settings.at_once);
    const bool whole = together.saved == static_cast<int>(settings.urls.size());
    command::say(together.saved, " of ", settings.urls.size(), " pictures in ", std::fixed,
                 std::setprecision(2), together.seconds, " s\n");
    if (!whole) throw asyncio::SystemExit(1);  // with pictures missing, times compare nothing
    double one_by_one = together.sum_of_times;
    if (settings.compare) {
        command::say("The same, one after the other:\n");
        auto again = [&](const std::string& folder) -> asyncio::Coroutine<Totals> {
            co_return co_await download_all(settings, folder, 1);
        };
        // Its name is new, so nothing of the user's is touched, and it goes however this ends.
        auto folder = co_await asyncio::temporary_directory();
        one_by_one = (co_await asyncio::with(std::move(folder), again)).seconds;
    }
    command::say("one after the other: ", std::fixed, std::setprecision(2), one_by_one, " s (",
                 settings.compare ? "measured" : "the sum of their times", "), ",
                 std::setprecision(1), one_by_one / together.seconds, " times as long\n");
}

std::string trimmed(const std::string& line) {
    const std::size_t begin = line.find_first_not_of(" \t\r");
    if (begin == std::string::npos) return "";
    return line.substr(begin, line.find_last_not_of(" \t\r") + 1 - begin);
}

void add_list(Settings& settings, const std::string& path) {
    std::ifstream list(path);
    if (!list) throw command::UsageError("cannot read " + command::printable(path));
    for (std::string line; std::getline(list, line);) {
        line = trimmed(line);
        if (!line.empty() && line[0] != '#') settings.urls.push_back(line);
    }
    if (list.bad()) throw command::UsageError("cannot read " + command::printable(path));
}

Settings parse(const command::Arguments& words) {
    constexpr int kMost = 1'000'000;
    Settings settings;
    for (std::size_t i = 0; i < words.size(); ++i) {
        const std::string& word = words[i];
        const auto value = [&]() -> const std::string& {
            if (i + 1 == words.size()) throw command::UsageError(word + " wants a value");
            return words[++i];
        };
        const auto number = [&](int least) {
            return command::Arguments::to_number(word.c_str(), value(), least, kMost);
        };
        if (word == "--compare") {
            settings.compare = true;
        } else if (word == "--overwrite") {
            settings.overwrite = true;
        } else if (word == "--folder") {
            settings.folder = value();
        } else if (word == "--at-once") {
            settings.at_once = number(1);
        } else if (word == "--timeout") {
            settings.timeout = number(1);
        } else if (word == "--retries") {
            settings.retries = number(0);
        } else if (word == "--list") {
            add_list(settings, value());
        } else if (word.starts_with("--")) {
            throw command::UsageError(word + " is unknown");
        } else {
            settings.urls.push_back(word);
        }
    }
    if (settings.urls.empty()) throw command::UsageError("no URLs");
    return settings;
}

}  // namespace

int main(int argc, char** argv) {
    const char* usage =
        "download_pictures [--list FILE] [--folder DIR] [--at-once N] [--timeout S] [--retries N]\n"
        "                         [--overwrite] [--compare] URL...";
    return command::run(usage, argc, argv,
                        [](const command::Arguments& words) { return program(parse(words)); });
}
