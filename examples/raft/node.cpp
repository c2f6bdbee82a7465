// A node of a Raft cluster: node ID HOST:PORT HOST:PORT HOST:PORT. The addresses are those of all
// nodes, the same for each; ID says which of them is this one's, from 1 on. Three terminals:
//
//     node 1 127.0.0.1:7001 127.0.0.1:7002 127.0.0.1:7003
//     node 2 127.0.0.1:7001 127.0.0.1:7002 127.0.0.1:7003
//     node 3 127.0.0.1:7001 127.0.0.1:7002 127.0.0.1:7003
//
// One of them leads; a line that is typed there is applied by all. Ctrl-C ends a node.
//
// It keeps its state in memory only. A node that has ended must not come back, since it would have
// forgotten its vote and its log: for that, raft::Storage has to write them to a disk.
#include <asyncio.hpp>

#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "../command_line.hpp"
#include "raft.hpp"

using asyncio::Coroutine;

namespace {

using Lines = asyncio::Queue<std::string>;

raft::Address to_address(const std::string& text) {
    const std::size_t colon = text.rfind(':');
    if (colon == text.npos || colon == 0) {
        throw command::UsageError("an address is HOST:PORT, not '" + text + "'");
    }
    raft::Address address;
    address.host = text.substr(0, colon);
    if (address.host.starts_with('[') && address.host.ends_with(']')) {
        address.host = address.host.substr(1, address.host.size() - 2);
    }
    address.port = command::Arguments::to_number("PORT", text.substr(colon + 1), 1, 65535);
    return address;
}

// What the node tells goes through a queue: it must not fail because nobody reads it.
raft::Options make_options(std::vector<raft::Address> nodes, Lines& lines) {
    raft::Options options;
    options.nodes = std::move(nodes);
    const auto numbers = std::make_shared<std::mt19937_64>(std::random_device{}());
    options.random = [numbers] { return (*numbers)(); };
    options.on_elected = [&lines](raft::Term term) {
        lines.put_nowait("leads term " + std::to_string(term) + "\n");
    };
    options.on_applied = [&lines](raft::Index index, const raft::Entry& entry) {
        lines.put_nowait("applied " + std::to_string(index) + ": " +
                         command::printable(entry.command) + "\n");
    };
    return options;
}

Coroutine<> print(Lines& lines) {
    for (;;) {
        const std::string line = co_await lines.get();
        command::say(line);
    }
}

std::string refusal(const raft::Node& node) {
    if (node.leader() == 0) return "nobody leads: try again\n";
    return "node " + std::to_string(node.leader()) + " leads: say it there\n";
}

// Until the end of standard input; the node goes on then.
Coroutine<> propose_input(raft::Node& node, Lines& lines) {
    const auto stdio = co_await asyncio::stdio_streams();
    while (auto line = co_await stdio.stdin_.next()) {
        if (line->ends_with('\n')) line->pop_back();
        if (line->size() > raft::kLongestCommand) {
            lines.put_nowait("the line is too long\n");
        } else if (!node.propose(*line)) {
            lines.put_nowait(refusal(node));
        }
    }
}

Coroutine<> serve(raft::NodeId id, std::vector<raft::Address> nodes) {
    Lines lines;
    raft::Storage storage;
    raft::Node node(id, storage, make_options(std::move(nodes), lines));
    lines.put_nowait("node " + std::to_string(id) + "\n");
    auto body = [&](asyncio::TaskGroup& group) -> Coroutine<> {
        group.create_task(print(lines));
        group.create_task(propose_input(node, lines));
        co_await node.run();
    };
    co_await asyncio::with(asyncio::TaskGroup{}, body);
}

}  // namespace

int main(int argc, char** argv) {
    constexpr const char* kUsage = "node ID HOST:PORT HOST:PORT HOST:PORT...";
    return command::run(kUsage, argc, argv, [](const command::Arguments& words) {
        words.expect(2, 100);
        std::vector<raft::Address> nodes;
        for (std::size_t i = 1; i < words.size(); ++i) nodes.push_back(to_address(words[i]));
        const int id = words.number(0, "ID", 1, static_cast<int>(nodes.size()), 1);
        return serve(static_cast<raft::NodeId>(id), std::move(nodes));
    });
}
