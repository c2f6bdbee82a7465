// raw_files WORKLOAD N: files read by hand.
//   file_read    N blocks of 64 KiB of a cached file of at most 1 GiB, by pread(2) in a loop
//   small_files  N files of 2 KiB (5,000 different ones) by a pool of 16 threads, 64 under way
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <deque>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

using clk = std::chrono::steady_clock;
static std::string W;
static double since(clk::time_point t) { return std::chrono::duration<double, std::nano>(clk::now() - t).count(); }
static double cpu() { timespec t; clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t); return double(t.tv_sec) * 1e9 + double(t.tv_nsec); }
static void report(uint64_t n, double ns, double cpu_ns) { printf("{\"workload\":\"%s\",\"n\":%lu,\"ns_per_op\":%.2f,\"cpu_ns_per_op\":%.2f}\n", W.c_str(), (unsigned long)n, ns / double(n), cpu_ns / double(n)); }
static void need(bool ok) { if (!ok) { fprintf(stderr, "wrong result\n"); exit(1); } }
static std::string tmp() { const char* t = getenv("TMPDIR"); return t && *t ? t : "/tmp"; }

constexpr size_t block = 65536;

static void file_read(uint64_t n) {
    std::string name = tmp() + "/raw-files-XXXXXX", buffer(block, 'x');
    const int fd = mkostemp(name.data(), O_CLOEXEC);
    need(fd >= 0);
    unlink(name.c_str());
    const uint64_t blocks = std::min<uint64_t>(n, 16384);
    for (uint64_t i = 0; i < blocks; i++) need(write(fd, buffer.data(), block) == (ssize_t)block);
    for (uint64_t i = 0; i < blocks; i++) need(pread(fd, buffer.data(), block, off_t(i * block)) == (ssize_t)block);
    const double c = cpu();
    const auto t = clk::now();
    for (uint64_t i = 0; i < n; i++) need(pread(fd, buffer.data(), block, off_t(i % blocks * block)) == (ssize_t)block);
    report(n, since(t), cpu() - c);
    close(fd);
}

struct pool {                                     // jobs are numbers of files
    std::mutex m;
    std::condition_variable work, done;
    std::deque<uint64_t> jobs;
    uint64_t finished = 0, bytes = 0;
    bool stop = false;
    const std::vector<std::string>& names;
    std::vector<std::thread> threads;
    explicit pool(const std::vector<std::string>& v) : names(v) { for (int i = 0; i < 16; i++) threads.emplace_back([this] { run(); }); }
    ~pool() {
        { std::lock_guard l(m); stop = true; }
        work.notify_all();
        for (auto& t : threads) t.join();
    }
    static std::string slurp(const std::string& name) {
        const int fd = open(name.c_str(), O_RDONLY | O_CLOEXEC);
        struct stat s;
        need(fd >= 0 && fstat(fd, &s) == 0);
        std::string data(size_t(s.st_size), '\0');
        need(read(fd, data.data(), data.size()) == s.st_size);
        close(fd);
        return data;
    }
    void run() {
        std::unique_lock l(m);
        for (;;) {
            work.wait(l, [this] { return stop || !jobs.empty(); });
            if (jobs.empty()) return;
            const uint64_t i = jobs.front();
            jobs.pop_front();
            l.unlock();
            const std::string data = slurp(names[i % names.size()]);
            l.lock();
            bytes += data.size();
            finished++;
            done.notify_one();
        }
    }
};

static void small_files(uint64_t n) {
    std::string dir = tmp() + "/raw-files-XXXXXX";
    need(mkdtemp(dir.data()));
    std::vector<std::string> names;
    const std::string data(2048, 'x');
    for (uint64_t i = 0; i < std::min<uint64_t>(n, 5000); i++) {
        names.push_back(dir + "/" + std::to_string(i));
        const int fd = open(names.back().c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        need(write(fd, data.data(), data.size()) == (ssize_t)data.size());
        close(fd);
    }
    {
        pool p(names);
        const double c = cpu();
        const auto t = clk::now();
        std::unique_lock l(p.m);
        for (uint64_t i = 0; i < n; i++) {
            p.done.wait(l, [&] { return i - p.finished < 64; });
            p.jobs.push_back(i);
            p.work.notify_one();
        }
        p.done.wait(l, [&] { return p.finished == n; });
        l.unlock();
        report(n, since(t), cpu() - c);
        need(p.bytes == n * data.size());
    }
    for (const auto& name : names) unlink(name.c_str());
    rmdir(dir.c_str());
}

int main(int argc, char** argv) {
    if (argc < 3) return 2;
    W = argv[1];
    const uint64_t n = strtoull(argv[2], nullptr, 10);
    if (W == "file_read") file_read(n);
    else if (W == "small_files") small_files(n);
    else printf("{\"workload\":\"%s\",\"skip\":true}\n", W.c_str());
}
