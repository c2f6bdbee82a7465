#include "process.hpp"

#include <arpa/inet.h>
#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>
#include <unordered_map>
#include <utility>

namespace asyncio {
inline namespace v1 {
namespace detail {
namespace reading {

namespace {

std::string target_of(const std::string& link) {
    char target[PATH_MAX];
    const ssize_t size = ::readlink(link.c_str(), target, sizeof target);
    return size < 0 ? "" : std::string(target, static_cast<std::size_t>(size));
}

// The numbers in a folder of proc(5).
std::vector<int> numbers_in(const std::string& folder) {
    constexpr std::size_t kMost = 1'000'000;
    std::vector<int> numbers;
    DIR* const entries = ::opendir(folder.c_str());
    if (!entries) return numbers;
    while (const dirent* const entry = ::readdir(entries)) {
        if (entry->d_name[0] == '.' || numbers.size() == kMost) continue;
        numbers.push_back(std::atoi(entry->d_name));
    }
    ::closedir(entries);
    std::sort(numbers.begin(), numbers.end());
    return numbers;
}

std::uint64_t hex(std::string_view text) {
    std::uint64_t n = 0;
    std::from_chars(text.data(), text.data() + text.size(), n, 16);
    return n;
}

// 0100007F:1F90 -> 127.0.0.1:8080. The address is in words of this machine's byte order.
std::string address(const std::string& text) {
    const std::size_t colon = text.find(':');
    if (colon != 8 && colon != 32) return "";
    std::uint32_t words[4] = {};
    for (std::size_t i = 0; i < colon / 8; ++i) {
        words[i] = static_cast<std::uint32_t>(hex(std::string_view(text).substr(i * 8, 8)));
    }
    char shown[INET6_ADDRSTRLEN] = "";
    ::inet_ntop(colon == 8 ? AF_INET : AF_INET6, words, shown, sizeof shown);
    const std::uint64_t port = hex(std::string_view(text).substr(colon + 1));
    const std::string host = colon == 8 ? shown : '[' + std::string(shown) + ']';
    return host + ':' + (port ? std::to_string(port) : "*");
}

const char* tcp_state(std::uint64_t state) {
    static constexpr const char* kStates[] = {"",           "ESTABLISHED", "SYN_SENT",  "SYN_RECV",
                                              "FIN_WAIT1",  "FIN_WAIT2",   "TIME_WAIT", "CLOSE",
                                              "CLOSE_WAIT", "LAST_ACK",    "LISTEN",    "CLOSING"};
    return state < std::size(kStates) ? kStates[state] : "";
}

using ByInode = std::unordered_map<std::string, std::vector<Descriptor*>>;

// tcp, tcp6, udp, udp6:
//  sl  local_address rem_address st tx_queue:rx_queue tr:when retrnsmt uid timeout inode
void add_inet(const std::string& folder, const char* name, const ByInode& wanted) {
    std::ifstream table(folder + "/net/" + name);
    std::string line;
    std::getline(table, line);
    while (std::getline(table, line)) {
        std::istringstream in(line);
        std::string number, local, peer, state, queues, timer, again, user, timeout, inode;
        in >> number >> local >> peer >> state >> queues >> timer >> again >> user >> timeout >>
            inode;
        const auto found = wanted.find(inode);
        if (found == wanted.end()) continue;
        for (Descriptor* const d : found->second) {
            d->kind = name;
            d->local = address(local);
            const bool has_peer = peer.find_first_not_of("0:") != std::string::npos;
            d->peer = has_peer ? address(peer) : "";
            if (name[0] == 't') d->state = tcp_state(hex(state));
            d->out = hex(queues);
            if (const std::size_t colon = queues.find(':'); colon != std::string::npos) {
                d->in = hex(std::string_view(queues).substr(colon + 1));
            }
        }
    }
}

// Num RefCount Protocol Flags Type St Inode Path
void add_unix(const std::string& folder, const ByInode& wanted) {
    std::ifstream table(folder + "/net/unix");
    std::string line;
    std::getline(table, line);
    while (std::getline(table, line)) {
        std::istringstream in(line);
        std::string number, count, protocol, flags, type, state, inode, path;
        in >> number >> count >> protocol >> flags >> type >> state >> inode;
        const auto found = wanted.find(inode);
        if (found == wanted.end()) continue;
        std::getline(in >> std::ws, path);
        constexpr std::uint64_t kAccepts = 1 << 16;
        for (Descriptor* const d : found->second) {
            d->kind = "unix";
            d->local = path;
            d->state = hex(flags) & kAccepts ? "LISTEN" : hex(state) == 3 ? "ESTABLISHED" : "";
        }
    }
}

// "anon_inode:[eventfd]" -> eventfd
Descriptor described(int fd, const std::string& target) {
    Descriptor d;
    d.fd = fd;
    if (target.starts_with("socket:[")) {
        d.kind = "socket";
    } else if (target.starts_with("pipe:[")) {
        d.kind = "pipe";
        d.local = target;
    } else if (target.starts_with("anon_inode:")) {
        d.kind = target.substr(std::strlen("anon_inode:"));
        std::erase_if(d.kind, [](char c) { return c == '[' || c == ']'; });
    } else {
        d.kind = "file";
        d.local = target;
    }
    return d;
}

}  // namespace

Process::Process(int pid) : pid_(pid), folder_("/proc/" + std::to_string(pid)), first_(stat()) {}

// 1234 (any (text)) S ppid pgrp session tty tpgid flags minflt cminflt majflt cmajflt utime stime
// cutime cstime priority nice threads itrealvalue starttime vsize rss rsslim startcode endcode
// startstack
Process::Stat Process::stat() const {
    std::ifstream file(folder_ + "/stat");
    std::string text;
    std::getline(file, text, '\0');
    const std::size_t name_end = text.rfind(')');
    Stat s;
    if (name_end == std::string::npos) return s;
    std::istringstream in(text.substr(name_end + 1));
    in >> s.state;
    std::string fields[26];  // from the fourth on
    for (std::string& field : fields) in >> field;
    const auto number = [&](std::size_t which) {
        return static_cast<std::uint64_t>(std::strtoull(fields[which - 4].c_str(), nullptr, 10));
    };
    s.threads = number(20);
    s.started = number(22);
    s.pages = number(24);
    s.code = number(26);
    s.stack = number(28);
    return s;
}

Process::Life Process::life() const {
    const Stat now = stat();
    if (now.state == 'Z' || now.state == 'X' || now.started != first_.started) return Life::kEnded;
    // Who may not know them any more reads 0.
    const bool known = now.code != 0 && now.stack != 0 && first_.code != 0 && first_.stack != 0;
    if (known && (now.code != first_.code || now.stack != first_.stack)) return Life::kReplaced;
    return now.state == 'T' || now.state == 't' ? Life::kStopped : Life::kRuns;
}

ProcessFacts Process::facts() const {
    const Stat now = stat();
    ProcessFacts facts;
    facts.exe = target_of(folder_ + "/exe");
    facts.threads = now.threads;
    facts.rss = now.pages * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
    struct stat folder{};
    // Linux 6.2 and later tell the number without a list.
    const std::string fds = folder_ + "/fd";
    if (::stat(fds.c_str(), &folder) == 0 && folder.st_size > 0) {
        facts.fds = static_cast<std::uint64_t>(folder.st_size);
    } else {
        facts.fds = numbers_in(fds).size();
    }
    return facts;
}

std::vector<Descriptor> Process::descriptors(std::size_t most) const {
    std::vector<Descriptor> all;
    std::vector<std::string> targets;
    for (const int fd : numbers_in(folder_ + "/fd")) {
        targets.push_back(target_of(folder_ + "/fd/" + std::to_string(fd)));
        all.push_back(described(fd, targets.back()));
    }
    ByInode wanted;
    for (std::size_t i = 0; i < all.size(); ++i) {
        if (all[i].kind != "socket") continue;
        const std::size_t begin = std::strlen("socket:[");
        wanted[targets[i].substr(begin, targets[i].size() - begin - 1)].push_back(&all[i]);
    }
    if (!wanted.empty()) {
        for (const char* name : {"tcp", "tcp6", "udp", "udp6"}) add_inet(folder_, name, wanted);
        add_unix(folder_, wanted);
    }
    const auto is_socket = [](const Descriptor& d) {
        return d.kind == "socket" || d.kind == "unix" || d.kind.starts_with("tcp") ||
               d.kind.starts_with("udp");
    };
    std::sort(all.begin(), all.end(), [&](const Descriptor& a, const Descriptor& b) {
        return std::pair(!is_socket(a), a.fd) < std::pair(!is_socket(b), b.fd);
    });
    if (all.size() > most) all.resize(most);
    return all;
}

void name_connections(Snapshot& snapshot, const Process& process) {
    constexpr std::size_t kMost = 1'000'000;
    std::unordered_map<int, std::string> peers;
    bool known = false;
    for (Loop& loop : snapshot.loops) {
        for (Task& task : loop.tasks) {
            if (!task.fd) continue;
            if (!std::exchange(known, true)) {
                for (Descriptor& d : process.descriptors(kMost)) peers[d.fd] = std::move(d.peer);
            }
            const auto peer = peers.find(*task.fd);
            if (peer != peers.end() && !peer->second.empty()) {
                task.waits_for += ", to " + peer->second;
            }
        }
    }
}

}  // namespace reading
}  // namespace detail
}  // namespace v1
}  // namespace asyncio
