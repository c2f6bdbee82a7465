// What Raft nodes say to each other, as structs and as text. A request is a line, and a line more
// for each entry that it brings; its answer is a line:
//
//     vote TERM FROM LAST_INDEX LAST_TERM                              RequestVote
//     append TERM FROM PREVIOUS_INDEX PREVIOUS_TERM COMMIT COUNT       AppendEntries, with COUNT of
//     TERM COMMAND
//
//     TERM YES INDEX
#pragma once

#include <asyncio.hpp>

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <variant>
#include <vector>

namespace raft {

using Term = std::uint64_t;    // the first one is 1
using Index = std::uint64_t;   // of an entry in the log: the first one is 1, 0 is before it
using NodeId = std::uint64_t;  // the first one is 1, 0 is nobody

// Of a command, in bytes: a line of a stream is 64 KiB at most.
inline constexpr std::size_t kLongestCommand = 60'000;
// Of a request, so that one that lags far behind gets its entries in pieces.
inline constexpr std::size_t kMostEntries = 100;

struct Entry {
    Term term = 0;
    std::string command;
    friend bool operator==(const Entry&, const Entry&) = default;
};

struct VoteRequest {
    Term term = 0;
    NodeId from = 0;
    Index last_index = 0;
    Term last_term = 0;
};

struct AppendRequest {
    Term term = 0;
    NodeId from = 0;
    Index previous_index = 0;
    Term previous_term = 0;
    Index commit = 0;
    std::vector<Entry> entries;
};

using Request = std::variant<VoteRequest, AppendRequest>;

struct Answer {
    Term term = 0;
    bool yes = false;
    Index index = 0;  // of AppendEntries: up to here the logs may be the same
};

// The words of a line, one after the other.
class Words {
  public:
    explicit Words(std::string_view line) : line_(line) {
        if (line_.ends_with('\n')) line_.remove_suffix(1);
    }

    // Empty: there is none.
    std::string_view word() {
        const std::string_view found = line_.substr(0, line_.find(' '));
        line_.remove_prefix(std::min(found.size() + 1, line_.size()));
        return found;
    }
    // Raises: ValueError if the next word is no number.
    std::uint64_t number() {
        const std::string_view text = word();
        std::uint64_t value = 0;
        const auto parsed = std::from_chars(text.data(), text.data() + text.size(), value);
        const bool whole = parsed.ec == std::errc() && parsed.ptr == text.data() + text.size();
        if (whole) return value;
        throw asyncio::ValueError("'" + std::string(text) + "' is no number");
    }
    std::string_view rest() const { return line_; }

  private:
    std::string_view line_;
};

inline std::string text_of(std::initializer_list<std::uint64_t> numbers) {
    std::string text;
    for (const std::uint64_t number : numbers) text += ' ' + std::to_string(number);
    return text;
}

inline std::string text_of(const Request& request) {
    if (const auto* vote = std::get_if<VoteRequest>(&request)) {
        return "vote" + text_of({vote->term, vote->from, vote->last_index, vote->last_term}) + '\n';
    }
    const auto& append = std::get<AppendRequest>(request);
    std::string text =
        "append" + text_of({append.term, append.from, append.previous_index, append.previous_term,
                            append.commit, append.entries.size()});
    for (const Entry& entry : append.entries) {
        text += '\n' + std::to_string(entry.term) + ' ' + entry.command;
    }
    return text + '\n';
}

inline std::string text_of(const Answer& answer) {
    return std::to_string(answer.term) + text_of({answer.yes, answer.index}) + '\n';
}

// Raises: ValueError if that is no answer.
inline Answer to_answer(std::string_view line) {
    Words words(line);
    Answer answer;
    answer.term = words.number();
    answer.yes = words.number() != 0;
    answer.index = words.number();
    return answer;
}

// Raises: ValueError if that is no entry.
inline Entry to_entry(std::string_view line) {
    Words words(line);
    Entry entry;
    entry.term = words.number();
    if (entry.term == 0) throw asyncio::ValueError("an entry without a term");
    entry.command = words.rest();
    return entry;
}

// The next line. Raises: ConnectionError at the end of the stream.
inline asyncio::Coroutine<std::string> read_line(asyncio::StreamReader reader) {
    std::string line = co_await reader.readline();
    if (!line.ends_with('\n')) throw asyncio::ConnectionError("the connection has ended");
    co_return line;
}

// The rest of an AppendEntries request, whose first line stands in `words`.
inline asyncio::Coroutine<Request> read_append(Words words, asyncio::StreamReader reader) {
    AppendRequest append;
    append.term = words.number();
    append.from = words.number();
    append.previous_index = words.number();
    append.previous_term = words.number();
    append.commit = words.number();
    const std::uint64_t count = words.number();
    if (count > kMostEntries) throw asyncio::ValueError("too many entries");
    for (std::uint64_t i = 0; i < count; ++i) {
        const std::string line = co_await read_line(reader);
        append.entries.push_back(to_entry(line));
    }
    co_return Request(std::move(append));
}

// Raises: ValueError if it is no request; ConnectionError at the end; as the stream.
inline asyncio::Coroutine<Request> read_request(asyncio::StreamReader reader) {
    const std::string line = co_await read_line(reader);
    Words words(line);
    const std::string_view kind = words.word();
    if (kind == "append") {
        Request append = co_await read_append(words, reader);
        co_return append;
    }
    if (kind != "vote") throw asyncio::ValueError("no request: " + line);
    VoteRequest vote;
    vote.term = words.number();
    vote.from = words.number();
    vote.last_index = words.number();
    vote.last_term = words.number();
    co_return Request(vote);
}

}  // namespace raft
