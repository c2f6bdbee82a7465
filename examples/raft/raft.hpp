// A Raft node: Ongaro and Ousterhout, "In Search of an Understandable Consensus Algorithm", 2014.
// Nodes elect a leader, which replicates commands to the logs of all. What a majority has is
// committed, and applied by each node in the same order: sections 5.1 to 5.4 of the paper. There
// are no snapshots and no changes of membership.
//
// A node uses nothing but streams, so that tests run it on a network that is made up: tests.cpp.
#pragma once

#include <asyncio.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <variant>
#include <vector>

#include "messages.hpp"

namespace raft {

using asyncio::Coroutine, asyncio::Duration, asyncio::StreamReader, asyncio::StreamWriter;

// What a node must not forget when it crashes. Each change counts as written to a disk at once.
class Storage {
  public:
    Term term() const { return term_; }
    // Who has got the vote of this term; 0: nobody.
    NodeId vote() const { return vote_; }
    void begin_term(Term term) {
        term_ = term;
        vote_ = 0;
    }
    void set_vote(NodeId node) { vote_ = node; }

    Index last_index() const { return log_.size(); }
    Term last_term() const { return term_at(last_index()); }
    // 0 for an index that no entry has.
    Term term_at(Index index) const { return has(index) ? log_[index - 1].term : 0; }
    // `index` must be that of an entry.
    const Entry& at(Index index) const { return log_[index - 1]; }
    bool has(Index index) const { return index > 0 && index <= log_.size(); }
    void append(Entry entry) { log_.push_back(std::move(entry)); }
    // Drops the entries from `index` on.
    void truncate(Index index) { log_.resize(index - 1); }

  private:
    Term term_ = 0;
    NodeId vote_ = 0;
    std::vector<Entry> log_;
};

// Mistakes that others have made in their implementations, for tests that must find them.
enum class PlantedBug : std::uint8_t {
    NONE,
    VOTES_TWICE,        // gives its vote to whoever asks, more than once in a term
    FORGETS_VOTE,       // does not keep its vote over a restart
    ELECTS_OUTDATED,    // votes for a candidate that lacks entries: against section 5.4.1
    COMMITS_OLD_TERMS,  // commits entries of earlier terms by counting: against section 5.4.2
};

struct Address {
    std::string host;
    int port = 0;
};

struct Options {
    std::vector<Address> nodes;                                  // of node 1, node 2 and so on
    Duration election_timeout = std::chrono::milliseconds(150);  // at least; at most twice as long
    Duration heartbeat = std::chrono::milliseconds(75);
    Duration answer_timeout = std::chrono::milliseconds(200);  // then a connection is given up
    Duration retry = std::chrono::milliseconds(150);           // between two connections, at least
    Duration idle_timeout = std::chrono::minutes(1);           // of a connection to this node
    std::function<std::uint64_t()> random;                     // random numbers of 64 bits
    // Called as it happens; must not throw.
    std::function<void(Term)> on_elected = [](Term) {};
    std::function<void(Index, const Entry&)> on_applied = [](Index, const Entry&) {};
    PlantedBug planted_bug = PlantedBug::NONE;
};

enum class Role : std::uint8_t { FOLLOWER, CANDIDATE, LEADER };

class Node {
  public:
    // `storage` is to be kept for the next node of this number, and must outlive this one.
    Node(NodeId id, Storage& storage, Options options)
        : id_(id), storage_(storage), options_(std::move(options)) {
        for (NodeId other = 1; other <= options_.nodes.size(); ++other) {
            if (other != id_) peers_.emplace_back(options_.nodes[other - 1]);
        }
        if (options_.planted_bug == PlantedBug::FORGETS_VOTE) storage_.set_vote(0);
    }

    // Serves until it is cancelled, and leaves nothing behind then. Raises: OSError if its address
    // cannot be had.
    Coroutine<> run() {
        restart_timer();
        serving_ = true;
        auto body = [this](asyncio::TaskGroup& group) { return run_in(group); };
        co_await asyncio::with(asyncio::TaskGroup{}, body);
    }

    // Appends a command, if this node leads; it is committed once a majority has it. A leader that
    // was replaced may lose it. Returns its index, or nothing if this node does not lead.
    // Raises: ValueError if it is longer than kLongestCommand, or more than a line.
    std::optional<Index> propose(std::string command) {
        if (command.size() > kLongestCommand) throw asyncio::ValueError("the command is too long");
        if (command.find('\n') != command.npos) throw asyncio::ValueError("a command is one line");
        if (role_ != Role::LEADER) return std::nullopt;
        storage_.append(Entry{storage_.term(), std::move(command)});
        advance_commit();  // alone it is a majority
        wake_peers();
        return storage_.last_index();
    }

    Role role() const { return role_; }
    Term term() const { return storage_.term(); }
    // Who leads, as far as it knows; 0: it does not know.
    NodeId leader() const { return leader_; }
    // The state machine: the commands that were applied since the node began.
    const std::vector<std::string>& applied() const { return applied_; }

  private:
    // Another node.
    struct Peer {
        explicit Peer(Address at) : address(std::move(at)) {}
        Address address;
        asyncio::Event wake;             // there may be something to send
        bool has_voted = false;          // of a candidate's term: yes or no
        Index next = 1;                  // of the entry to send next
        Index match = 0;                 // its log is the same up to here
        asyncio::TimePoint heartbeat{};  // when the next one is due
    };

    static asyncio::TimePoint now() { return asyncio::get_running_loop().time(); }
    std::size_t majority() const { return options_.nodes.size() / 2 + 1; }

    // ---- tasks ---------------------------------------------------------------------------------

    Coroutine<> run_in(asyncio::TaskGroup& group) {
        // A group that ends takes no more tasks.
        auto handler = [this, &group](StreamReader reader, StreamWriter writer) {
            if (serving_) group.create_task(serve(std::move(reader), std::move(writer)));
        };
        const Address& own = options_.nodes[id_ - 1];
        const auto server = co_await asyncio::start_server(handler, own.host, own.port);
        for (Peer& peer : peers_) group.create_task(keep_talking(peer));
        const auto ended = co_await asyncio::as_result(watch_timer());
        serving_ = false;
        server.close();
        server.abort_clients();
        co_await server.wait_closed();
        ended.value();
    }

    // Begins an election when nothing was heard of a leader for too long.
    Coroutine<> watch_timer() {
        for (;;) {
            while (now() < election_at_) co_await asyncio::sleep(election_at_ - now());
            if (role_ == Role::LEADER) {
                restart_timer();
            } else {
                start_election();
            }
        }
    }

    // Answers another node's requests, until the connection ends.
    Coroutine<> serve(StreamReader reader, StreamWriter writer) {
        const auto ended = co_await asyncio::as_result(answer_requests(reader, writer));
        co_await end_connection(writer);
        if (!is_of_connection(ended.error())) ended.value();
    }
    Coroutine<> answer_requests(StreamReader reader, StreamWriter writer) {
        for (;;) {
            const Request request =
                co_await asyncio::wait_for(read_request(reader), options_.idle_timeout);
            const Answer given = std::visit([this](const auto& r) { return answer(r); }, request);
            writer.write(text_of(given));
            co_await writer.drain();
        }
    }

    // Tells another node what there is to tell, over a connection that is made anew when it ends.
    Coroutine<> keep_talking(Peer& peer) {
        for (;;) {
            const asyncio::TimePoint next = now() + options_.retry;
            const auto ended = co_await asyncio::as_result(talk(peer));
            if (!is_of_connection(ended.error())) ended.value();
            co_await asyncio::sleep(next - now());  // one that has lasted is made anew at once
        }
    }
    Coroutine<> talk(Peer& peer) {
        // Connects once there is something to tell. That may have changed when it is sent.
        static_cast<void>(co_await next_request(peer));
        const asyncio::StreamPair connection = co_await asyncio::wait_for(
            asyncio::open_connection(peer.address.host, peer.address.port),
            options_.answer_timeout);
        const auto ended = co_await asyncio::as_result(send_requests(peer, connection));
        co_await end_connection(connection.second);
        ended.value();
    }
    Coroutine<> send_requests(Peer& peer, asyncio::StreamPair connection) {
        for (;;) {
            const Request request = co_await next_request(peer);
            connection.second.write(text_of(request));
            peer.heartbeat = now() + options_.heartbeat;
            const std::string line =
                co_await asyncio::wait_for(read_line(connection.first), options_.answer_timeout);
            take_answer(peer, request, to_answer(line));
        }
    }

    // Waits until there is something to tell.
    Coroutine<Request> next_request(Peer& peer) {
        for (;;) {
            peer.wake.clear();
            if (role_ == Role::CANDIDATE && !peer.has_voted) co_return vote_request();
            if (role_ == Role::LEADER && is_due(peer)) co_return append_request(peer);
            asyncio::Delay limit = std::nullopt;
            if (role_ == Role::LEADER) limit = peer.heartbeat - now();
            const auto woken =
                co_await asyncio::as_result(asyncio::wait_for(peer.wake.wait(), limit));
            if (!woken.has_value() && !woken.holds<asyncio::TimeoutError>()) woken.value();
        }
    }

    // Ends it at once: who speaks this protocol has nothing to say at the end.
    static Coroutine<> end_connection(StreamWriter writer) {
        writer.transport().abort();
        // Why it ended is known already.
        static_cast<void>(co_await asyncio::as_result(writer.wait_closed()));
    }
    // Whether the connection or the other node is to blame, and another one may be better.
    static bool is_of_connection(const std::exception_ptr& error) {
        return asyncio::exception_ptr_cast<asyncio::OSError>(error) ||
               asyncio::exception_ptr_cast<asyncio::ValueError>(error);
    }

    // ---- requests to others --------------------------------------------------------------------

    Request vote_request() const {
        VoteRequest request;
        request.term = storage_.term();
        request.from = id_;
        request.last_index = storage_.last_index();
        request.last_term = storage_.last_term();
        return request;
    }

    bool is_due(const Peer& peer) const {
        return peer.next <= storage_.last_index() || peer.heartbeat <= now();
    }
    Request append_request(const Peer& peer) const {
        AppendRequest request;
        request.term = storage_.term();
        request.from = id_;
        request.previous_index = peer.next - 1;
        request.previous_term = storage_.term_at(peer.next - 1);
        request.commit = commit_;
        for (Index i = peer.next; storage_.has(i); ++i) {
            if (request.entries.size() == kMostEntries) break;
            request.entries.push_back(storage_.at(i));
        }
        return request;
    }

    void take_answer(Peer& peer, const Request& request, const Answer& answer) {
        if (answer.term > storage_.term()) return follow(answer.term);
        if (const auto* vote = std::get_if<VoteRequest>(&request)) {
            if (vote->term == storage_.term()) take_vote(peer, answer.yes);
        } else {
            const auto& append = std::get<AppendRequest>(request);
            if (append.term == storage_.term()) take_appended(peer, append, answer);
        }
    }
    void take_vote(Peer& peer, bool yes) {
        if (role_ != Role::CANDIDATE) return;
        peer.has_voted = true;
        votes_ += yes;
        if (votes_ >= majority()) lead();
    }
    void take_appended(Peer& peer, const AppendRequest& request, const Answer& answer) {
        if (role_ != Role::LEADER) return;
        if (answer.yes) {
            peer.match = std::max(peer.match, request.previous_index + request.entries.size());
            peer.next = peer.match + 1;
            advance_commit();
        } else {
            // Goes back until the logs are the same, at most to what is known to be.
            peer.next = std::max(peer.match + 1, std::min(peer.next - 1, answer.index + 1));
            peer.heartbeat = now();
        }
    }

    // ---- requests of others --------------------------------------------------------------------

    Answer answer(const VoteRequest& request) {
        if (request.term > storage_.term()) follow(request.term);
        const bool yes =
            request.term == storage_.term() && has_vote_for(request.from) && is_up_to_date(request);
        if (yes) {
            storage_.set_vote(request.from);
            restart_timer();
        }
        return make_answer(yes, 0);
    }
    bool has_vote_for(NodeId candidate) const {
        if (options_.planted_bug == PlantedBug::VOTES_TWICE) return true;
        return storage_.vote() == 0 || storage_.vote() == candidate;
    }
    bool is_up_to_date(const VoteRequest& request) const {
        if (options_.planted_bug == PlantedBug::ELECTS_OUTDATED) return true;
        return std::tuple(request.last_term, request.last_index) >=
               std::tuple(storage_.last_term(), storage_.last_index());
    }

    Answer answer(const AppendRequest& request) {
        if (request.term < storage_.term()) return make_answer(false, 0);
        follow(request.term);
        leader_ = request.from;
        restart_timer();
        const Index previous = request.previous_index;
        const bool same = previous == 0 || (storage_.has(previous) &&
                                            storage_.term_at(previous) == request.previous_term);
        if (!same) return make_answer(false, std::min(storage_.last_index(), previous - 1));
        append(previous, request.entries);
        const Index last = previous + request.entries.size();
        commit_to(std::min(request.commit, last));
        return make_answer(true, last);
    }
    // Only an entry that differs makes the log shorter: a request that was delayed must not.
    void append(Index previous, const std::vector<Entry>& entries) {
        Index index = previous;
        for (const Entry& entry : entries) {
            ++index;
            if (storage_.term_at(index) == entry.term) continue;
            if (storage_.has(index)) storage_.truncate(index);
            storage_.append(entry);
        }
    }

    Answer make_answer(bool yes, Index index) const {
        Answer answer;
        answer.term = storage_.term();
        answer.yes = yes;
        answer.index = index;
        return answer;
    }

    // ---- roles ---------------------------------------------------------------------------------

    // By chance, so that two rarely begin an election at the same time.
    void restart_timer() {
        const auto least = static_cast<std::uint64_t>(options_.election_timeout.count());
        election_at_ = now() + Duration(least + options_.random() % least);
    }

    void follow(Term term) {
        if (term > storage_.term()) {
            storage_.begin_term(term);
            leader_ = 0;
        }
        role_ = Role::FOLLOWER;
    }
    void start_election() {
        storage_.begin_term(storage_.term() + 1);
        storage_.set_vote(id_);
        role_ = Role::CANDIDATE;
        leader_ = 0;
        votes_ = 1;
        for (Peer& peer : peers_) peer.has_voted = false;
        restart_timer();
        if (votes_ >= majority()) lead();
        wake_peers();
    }
    void lead() {
        role_ = Role::LEADER;
        leader_ = id_;
        for (Peer& peer : peers_) {
            peer.next = storage_.last_index() + 1;
            peer.match = 0;
            peer.heartbeat = now();
        }
        options_.on_elected(storage_.term());
        wake_peers();
    }
    void wake_peers() {
        for (Peer& peer : peers_) peer.wake.set();
    }

    // ---- what is committed ---------------------------------------------------------------------

    // Up to what a majority has. Entries of earlier terms are committed only along with one of this
    // term: a majority that has them does not keep another leader from replacing them (figure 8).
    void advance_commit() {
        std::vector<Index> matches{storage_.last_index()};
        for (const Peer& peer : peers_) matches.push_back(peer.match);
        std::ranges::sort(matches, std::greater());
        const Index index = matches[majority() - 1];
        const bool counts = storage_.term_at(index) == storage_.term() ||
                            options_.planted_bug == PlantedBug::COMMITS_OLD_TERMS;
        if (counts) commit_to(index);
    }
    void commit_to(Index index) {
        commit_ = std::max(commit_, index);
        while (applied_.size() < commit_) {
            const Index next = applied_.size() + 1;
            applied_.push_back(storage_.at(next).command);
            options_.on_applied(next, storage_.at(next));
        }
    }

    const NodeId id_;
    Storage& storage_;
    const Options options_;
    std::deque<Peer> peers_;
    bool serving_ = false;
    Role role_ = Role::FOLLOWER;
    NodeId leader_ = 0;
    std::size_t votes_ = 0;             // of a candidate, its own included
    asyncio::TimePoint election_at_{};  // unless a leader is heard before
    Index commit_ = 0;
    std::vector<std::string> applied_;
};

}  // namespace raft
