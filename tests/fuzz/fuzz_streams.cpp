// StreamReader against a model that is too simple to be wrong: a string. The input is a program of
// feeds, reads, cancels and turns of the loop; what each read gives, or raises, must be what the
// model says, and no byte may be lost or come twice.
//
// With clang's libFuzzer (-DASYNCIO_FUZZ=ON) this is a fuzzer; with driver.cpp it runs random
// programs for a while, as a test.
#include <asyncio.hpp>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "fuzz_support.hpp"

namespace {

using namespace asyncio;
using namespace std::chrono_literals;

using fuzz::Input;

[[noreturn]] void wrong(const char* what, const std::string& got, const std::string& expected) {
    std::fprintf(stderr, "%s:\n got      %s\n expected %s\n", what, detail::quoted(got).c_str(),
                 detail::quoted(expected).c_str());
    std::abort();
}

enum class Kind { kRead, kAll, kLine, kNext, kExactly, kUntil, kSeveral, kInto, kWith, kCount };

struct Request {
    Kind kind;
    std::size_t n;
    std::vector<std::string> separators;
};

// How a read ends.
struct Outcome {
    std::string text;       // of the error, "" if there is none
    std::string data;       // what it gives; of an IncompleteReadError: partial
    std::size_t taken = 0;  // bytes that are no longer there
};

// The reader as a string.
class Model {
  public:
    explicit Model(std::size_t limit) : limit_(limit) {}

    void feed(std::string_view data) { bytes_ += data; }
    void end() { ended_ = true; }
    bool ended() const { return ended_; }
    void take(std::size_t n) { bytes_.erase(0, n); }
    const std::string& bytes() const { return bytes_; }

    // What a read gives now; nothing if it waits.
    std::optional<Outcome> outcome(const Request& r) const {
        switch (r.kind) {
            case Kind::kRead:
            case Kind::kInto:
                if (r.n == 0) return Outcome{};
                if (bytes_.empty()) return at_end({});
                return given(std::min(r.n, bytes_.size()));
            case Kind::kAll:
                if (!ended_) return std::nullopt;
                return given(bytes_.size());
            case Kind::kExactly:
                if (bytes_.size() >= r.n) return given(r.n);
                return at_end(incomplete());
            case Kind::kWith: {
                const std::size_t used = bytes_.find(';') + 1;
                if (used > 0) return given(used);
                if (bytes_.size() > limit_) {
                    return Outcome{"Nothing was used of a chunk that exceeds the limit", "", 0};
                }
                return at_end({});
            }
            default:
                return until(r);
        }
    }

  private:
    Outcome given(std::size_t n) const { return {"", bytes_.substr(0, n), n}; }
    Outcome incomplete() const { return {"incomplete", bytes_, bytes_.size()}; }
    std::optional<Outcome> at_end(Outcome o) const {
        if (ended_) return o;
        return std::nullopt;
    }

    std::optional<Outcome> until(const Request& r) const {
        const bool line = r.kind == Kind::kLine || r.kind == Kind::kNext;
        std::size_t longest = 0;
        for (const std::string& s : r.separators) longest = std::max(longest, s.size());
        // The end that comes first; of two separators that end there the shorter one.
        for (std::size_t end = 1; end <= bytes_.size(); ++end) {
            std::optional<std::size_t> begin;
            for (const std::string& s : r.separators) {
                if (s.size() > end || bytes_.compare(end - s.size(), s.size(), s) != 0) continue;
                begin = std::max(begin.value_or(0), end - s.size());
            }
            if (!begin) continue;
            if (*begin <= limit_) return given(end);
            return Outcome{"Separator is found, but chunk is longer than limit", "",
                           line ? end : 0};
        }
        if (bytes_.size() + 1 > limit_ + longest) {
            return Outcome{"Separator is not found, and chunk exceed the limit", "",
                           line ? bytes_.size() : 0};
        }
        return at_end(line ? given(bytes_.size()) : incomplete());
    }

    std::string bytes_;
    std::size_t limit_;
    bool ended_ = false;
};

// `used_by_function`: what the function of read_with() has used; that stays used if the task is
// cancelled.
Coroutine<std::string> read(StreamReader reader, Request r, std::size_t* used_by_function) {
    switch (r.kind) {
        case Kind::kRead:
            co_return co_await reader.read(static_cast<std::ptrdiff_t>(r.n));
        case Kind::kAll:
            co_return co_await reader.read();
        case Kind::kLine:
            co_return co_await reader.readline();
        case Kind::kNext: {
            auto line = co_await reader.next();
            if (!line) co_return std::string();
            co_return std::move(*line);
        }
        case Kind::kExactly:
            co_return co_await reader.readexactly(static_cast<std::ptrdiff_t>(r.n));
        case Kind::kUntil:
            co_return co_await reader.readuntil(r.separators.front());
        case Kind::kSeveral:
            co_return co_await reader.readuntil(r.separators);
        case Kind::kInto: {
            std::string memory(r.n, '?');
            const std::size_t n = co_await reader.read_into(std::span<char>(memory));
            co_return memory.substr(0, n);
        }
        default: {
            std::string seen;
            auto through = [&](std::string_view bytes) -> std::size_t {
                const std::size_t used = bytes.find(';') + 1;
                seen = bytes.substr(0, used);
                *used_by_function = used;
                return used;
            };
            co_await reader.read_with(through);
            co_return seen;
        }
    }
}

// Plays the program.
class Player {
  public:
    explicit Player(Input in)
        : in_(in),
          limit_(1 + in_.byte() % 40),
          model_(limit_),
          stream_(detail::Stream::make(get_running_loop().core(), limit_)),
          reader_(stream_) {}

    Coroutine<> play() {
        while (!in_.empty()) {
            switch (in_.byte() % 8) {
                case 0:
                case 1:
                case 2:
                    feed();
                    break;
                case 3:
                case 4:
                    if (!task_) begin();
                    break;
                case 5:
                    if (task_ && in_.byte() % 2 == 0) task_.cancel();
                    break;
                case 6:
                    if (in_.byte() % 8 == 0) end();
                    break;
                default:
                    co_await settle();
            }
        }
        end();
        co_await settle();
        // All that is left comes out once.
        begin(Request{Kind::kAll, 0, {}});
        co_await settle();
        if (!model_.bytes().empty()) wrong("left", model_.bytes(), "");
        if (!reader_.at_eof()) wrong("at_eof", "false", "true");
    }

  private:
    void feed() {
        if (model_.ended()) return;
        std::string data;
        for (unsigned n = in_.byte() % 24; n > 0; --n) data += "ab;\nE"[in_.byte() % 5];
        model_.feed(data);
        // From a block of its own size, so that a sanitizer sees a read beyond its end.
        const std::vector<char> exact(data.begin(), data.end());
        const std::string_view view(exact.data(), exact.size());
        if (in_.byte() % 2 == 0) {
            stream_->data_received(view);
        } else {
            reader_.feed_data(view);
        }
    }
    void end() {
        if (model_.ended()) return;
        model_.end();
        reader_.feed_eof();
    }
    void begin() {
        static const std::vector<std::string> all{"\n", ";", "ab", "aab", "E;", "aa", ";\nE"};
        Request r{static_cast<Kind>(in_.byte() % static_cast<unsigned>(Kind::kCount)),
                  in_.byte() % 50,
                  {"\n"}};
        if (r.kind == Kind::kUntil || r.kind == Kind::kSeveral) {
            r.separators = {all[in_.byte() % all.size()]};
            if (r.kind == Kind::kSeveral) {
                for (unsigned n = in_.byte() % 3; n > 0; --n) {
                    r.separators.push_back(all[in_.byte() % all.size()]);
                }
            }
        }
        begin(std::move(r));
    }
    void begin(Request r) {
        request_ = std::move(r);
        used_ = 0;
        task_ = create_task(read(reader_, request_, &used_));
    }

    // Runs the loop until nothing moves, then compares.
    Coroutine<> settle() {
        for (int i = 0; i < 4; ++i) co_await sleep(0s);
        if (!task_) co_return;
        const auto expected = model_.outcome(request_);
        if (!task_.done()) {
            if (expected) wrong("waits", "", expected->text + expected->data);
            co_return;
        }
        const auto result = co_await as_result(task_);
        task_ = Task<std::string>();
        if (result.holds<CancelledError>()) {
            model_.take(used_);
            co_return;
        }
        Outcome got = outcome_of(result);
        if (!expected) wrong("does not wait", got.text + got.data, model_.bytes());
        // It may have failed before what would have done came, in the same turn.
        if (request_.kind == Kind::kWith && !got.text.empty()) {
            if (model_.bytes().size() <= limit_) wrong("limit", got.text, "");
            co_return;
        }
        if (got.text != expected->text) wrong("error", got.text, expected->text);
        if (got.data != expected->data) wrong("data", got.data, expected->data);
        model_.take(expected->taken);
    }
    static Outcome outcome_of(const Result<std::string>& r) {
        if (r.has_value()) return {"", r.value(), 0};
        if (const auto* e = detail::find<IncompleteReadError>(r.error())) {
            return {"incomplete", e->partial, 0};
        }
        if (const auto* e = detail::find<std::exception>(r.error())) return {e->what(), "", 0};
        return {"?", "", 0};
    }

    Input in_;
    std::size_t limit_;
    Model model_;
    std::shared_ptr<detail::Stream> stream_;
    StreamReader reader_;
    Request request_;
    std::size_t used_ = 0;
    Task<std::string> task_;
};

Coroutine<> play(Input in) {
    Player player(in);
    co_await player.play();
}

}  // namespace

// libFuzzer's entry.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    // Not with virtual time: there a woken task would not go on at once.
    static const auto loop = EpollEventLoop::create();
    loop->run_until_complete(play(Input(data, size)));
    return 0;
}
