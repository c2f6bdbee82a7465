// File system changes. All that a loop watches it watches by one inotify(7) instance, of which the
// system allows a user few.
//
// The system's queue is the first one: nothing is read from it while nobody asks, so that a slow
// reader costs no memory here and is told when it is too slow. While somebody does ask, what
// belongs to others is kept for them, up to a limit, beyond which they are told the same.
//
// The system tells what happens to what is watched, and not to the path that led there: of a
// directory above that is renamed it says nothing, and of a directory that is removed nothing while
// somebody has a file open that was in it. So the paths are looked at: of whom something is told at
// once, of the others now and then while somebody waits.
#include "asyncio/watch.hpp"

#include <algorithm>
#include <cerrno>
#include <deque>
#include <memory>
#include <new>
#include <optional>
#include <unordered_map>
#include <utility>
#include <vector>

#include "asyncio/events.hpp"
#include "asyncio/exceptions.hpp"
#include "asyncio/futures.hpp"
#include "files/file_requests.hpp"
#include "loop/loop.hpp"
#include "os/file_notices.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {
namespace {

class Watcher;

}  // namespace

// The inotify instance of a loop, and who watches what by it.
class WatchHub final : public LoopMember, public std::enable_shared_from_this<WatchHub> {
  public:
    // The running loop's; without one a new one, which belongs to the loop that first waits.
    // Raises: OSError, with the path that is to be watched.
    static std::shared_ptr<WatchHub> get(const std::string& path);
    explicit WatchHub(int fd) noexcept : fd_(fd), process_(::getpid()) {}
    WatchHub(const WatchHub&) = delete;
    WatchHub& operator=(const WatchHub&) = delete;
    ~WatchHub();

    // Raises: OSError, with the path.
    void add(Watcher& watcher);
    void remove(Watcher& watcher) noexcept;
    // Whether its path leads to what it was added for.
    bool still_watches(const Watcher& watcher) noexcept;
    // Takes what the system has, and gives it to those whom it concerns. What there is no memory
    // for is lost to all, who are told so. Raises: OSError, likewise.
    void take_all();
    void loop_closed() noexcept override;

    // While somebody waits, the loop looks.
    class Waiting {
      public:
        // Raises: RuntimeError, NotImplementedError.
        explicit Waiting(WatchHub& hub) : hub_(hub) { hub_.begin_wait(); }
        Waiting(const Waiting&) = delete;
        Waiting& operator=(const Waiting&) = delete;
        ~Waiting() { hub_.end_wait(); }

      private:
        WatchHub& hub_;
    };

  private:
    // Raises: std::bad_alloc; RuntimeError.
    void bind(Loop& loop);
    void leave_loop() noexcept;
    void begin_wait();
    void end_wait() noexcept;
    void tell(std::vector<FileNotice>& events);
    void miss_all();
    void arm_look();
    void look();
    void wake_all(std::exception_ptr error) noexcept;

    const int fd_;
    const pid_t process_;
    Loop* loop_ = nullptr;
    EventLoop* waited_in_ = nullptr;  // while somebody waits
    std::size_t waiting_ = 0;
    TimerHandle timer_;
    std::unordered_map<int, std::vector<Watcher*>> by_watch_;
    std::vector<Watcher*> all_;
    std::size_t next_look_ = 0;
};

namespace {

// What one call of watch() sees.
class Watcher {
  public:
    // Raises: OSError.
    explicit Watcher(std::string path) : path_(std::move(path)), hub_(WatchHub::get(path_)) {
        hub_->add(*this);
    }
    Watcher(const Watcher&) = delete;
    Watcher& operator=(const Watcher&) = delete;
    ~Watcher() { hub_->remove(*this); }

    const std::string& path() const noexcept { return path_; }
    WatchHub& hub() const noexcept { return *hub_; }
    bool over() const noexcept { return over_ && kept_.empty() && !lost_due_ && !gone_due_; }

    // The next event that it was told of. Raises: std::bad_alloc, then it is the next one still.
    std::optional<FileEvent> next() {
        FileEvent event;
        if (!kept_.empty()) {
            const Kept& kept = kept_.front();
            event.path = path_of(kept.name);
            event.kind = kept.kind;
            if (kept.kind == FileChange::MOVED) event.from = path_of(kept.from);
            kept_.pop_front();
            if (kept_.empty()) std::deque<Kept>().swap(kept_);  // no memory while nothing happens
            return event;
        }
        if (!lost_due_ && !gone_due_) return std::nullopt;
        event.path = path_;
        event.kind = lost_due_ ? FileChange::LOST : FileChange::GONE;
        (lost_due_ ? lost_due_ : gone_due_) = false;
        return event;
    }
    // What the next change ends.
    void set_waiter(Future<void> waiter) { waiter_ = std::move(waiter); }
    void wake() {
        if (waiter_ && !waiter_.done()) waiter_.set_result();
    }
    void fail(std::exception_ptr error) {
        if (waiter_ && !waiter_.done()) waiter_.set_exception(std::move(error));
    }

    // ---- by the hub ----
    // Raises: OSError.
    void identify() {
        struct stat s{};
        if (::stat(path_.c_str(), &s) != 0) throw_file_error(errno, path_);
        directory_ = S_ISDIR(s.st_mode);
        device_ = s.st_dev;
        inode_ = s.st_ino;
    }
    // Whether the path leads to what is watched.
    bool there() const noexcept {
        struct stat s{};
        return ::stat(path_.c_str(), &s) == 0 && s.st_dev == device_ && s.st_ino == inode_;
    }
    // An event of the batch that is being told. `to`: of a rename within the directory, its second
    // half.
    void hear(const FileNotice& raw, const FileNotice* to) {
        if (over_) return;
        if (raw.mask & FileNotice::kOver) {
            ended_ = true;
        } else if (raw.mask & FileNotice::kSelf) {
            // Whether it is still there is seen at the end.
            self_ = true;
        } else if (to) {
            batch_.push_back(Kept{FileChange::MOVED, to->name, raw.name});
        } else if (const std::optional<FileChange> kind = kind_of(raw.mask)) {
            batch_.push_back(Kept{*kind, raw.name, {}});
        }
    }
    void hear_lost() {
        if (over_) return;
        lost_ = true;
        batch_.push_back(Kept{FileChange::LOST, {}, {}});
    }
    // The batch is told. Where it is no longer at its path, what happened elsewhere is left out.
    void conclude() {
        if (over_) return;
        // The number of a file may be another's by now, of which a gap hides the first one's end.
        const bool gone = ended_ || !there() || (lost_ && !hub_->still_watches(*this));
        if (gone && !ended_ && !self_) drop_what_is_elsewhere();
        for (Kept& kept : batch_) keep(std::move(kept));
        batch_.clear();
        self_ = false;
        lost_ = false;
        if (gone) end();
    }
    // Something was told, perhaps of this one, that there was no memory for.
    void miss() {
        concerned = false;
        batch_.clear();
        self_ = false;
        lost_ = false;
        if (over_) return;
        lost_due_ = true;
        if (ended_ || !there() || !hub_->still_watches(*this)) return end();
        wake();
    }
    // Nothing is told of it, and its path may lead elsewhere by now.
    void look() {
        if (!over_ && !there()) end();
    }

    int watch = -1;          // the hub's number for it
    bool concerned = false;  // by the batch that is being told

  private:
    struct Kept {
        FileChange kind;
        std::string name;
        std::string from;
    };
    // As many as the system keeps by default.
    static constexpr std::size_t kMostKept = 16384;

    static std::optional<FileChange> kind_of(std::uint32_t mask) noexcept {
        if (mask & (FileNotice::kCreated | FileNotice::kMovedTo)) return FileChange::CREATED;
        if (mask & (FileNotice::kDeleted | FileNotice::kMovedFrom)) return FileChange::DELETED;
        if (mask & FileNotice::kClosed) return FileChange::CLOSED;
        if (mask & FileNotice::kModified) return FileChange::MODIFIED;
        if (mask & FileNotice::kAttributes) return FileChange::ATTRIBUTES;
        return std::nullopt;
    }
    std::string path_of(const std::string& name) const {
        if (name.empty()) return path_;
        return path_.ends_with('/') ? path_ + name : path_ + '/' + name;
    }
    // Of a directory what was removed is not there in any case. Of a file that somebody has open
    // the system tells no more, when it is removed, than that it has a link less: what was told
    // before that was true.
    void drop_what_is_elsewhere() {
        if (directory_) {
            std::erase_if(batch_, [](const Kept& k) { return k.kind != FileChange::DELETED; });
            return;
        }
        while (!batch_.empty() && batch_.back().kind != FileChange::ATTRIBUTES) batch_.pop_back();
        if (!batch_.empty()) batch_.pop_back();
    }
    void keep(Kept kept) {
        if (lost_due_) {
            kept_.push_back(Kept{FileChange::LOST, {}, {}});
            lost_due_ = false;
        }
        if (kept_.size() >= kMostKept) {
            if (kept_.back().kind == FileChange::LOST) return;
            kept = Kept{FileChange::LOST, {}, {}};
        }
        kept_.push_back(std::move(kept));
        wake();
    }
    void end() {
        over_ = true;
        gone_due_ = true;
        wake();
    }

    const std::string path_;
    const std::shared_ptr<WatchHub> hub_;
    bool directory_ = false;
    dev_t device_ = 0;
    ino_t inode_ = 0;
    std::vector<Kept> batch_;
    bool self_ = false;   // the batch says that it was renamed or removed
    bool lost_ = false;   // the batch has a gap
    bool ended_ = false;  // the system says no more of it
    bool over_ = false;   // GONE is due, or was given out
    std::deque<Kept> kept_;
    bool lost_due_ = false;  // after those that are kept; costs no memory
    bool gone_due_ = false;  // after all
    Future<void> waiter_{nullptr};
};

}  // namespace

// ---- the hub -----------------------------------------------------------------------------------

namespace {

// The hub of a loop, while something is watched: it belongs to those who watch.
struct LoopWatches final : LoopService {
    static const ServiceKey key;
    explicit LoopWatches(LoopCore&) noexcept : LoopService(ServiceRank::kSystem) {}
    void loop_closed() noexcept override {}
    WatchHub* hub = nullptr;
};

const ServiceKey LoopWatches::key;

}  // namespace

std::shared_ptr<WatchHub> WatchHub::get(const std::string& path) {
    const bool running = static_cast<bool>(thread_state.loop);
    Loop* const loop = running ? static_cast<Loop*>(&running_core()) : nullptr;
    if (loop) {
        if (WatchHub* const hub = service<LoopWatches>(*loop).hub) return hub->shared_from_this();
    }
    auto hub = std::make_shared<WatchHub>(open_notices(path));
    if (loop) hub->bind(*loop);
    return hub;
}

WatchHub::~WatchHub() {
    if (loop_) {
        leave_loop();
        leave();
    }
    ::close(fd_);
}

void WatchHub::bind(Loop& loop) {
    auto& of_loop = service<LoopWatches>(loop);
    if (!of_loop.hub) of_loop.hub = this;
    loop_ = &loop;
    join(loop);
}

// Others that wait on the loop get a hub of their own from now on.
void WatchHub::leave_loop() noexcept {
    auto* const of_loop = find_service<LoopWatches>(*loop_);
    if (of_loop->hub == this) of_loop->hub = nullptr;
}

void WatchHub::loop_closed() noexcept {
    leave_loop();
    loop_ = nullptr;
}

void WatchHub::add(Watcher& watcher) {
    // What was told up to now is not for this one.
    if (!all_.empty()) take_all();
    const int watch = watch_file(fd_, watcher.path());
    if (watch < 0) throw_watch_error(errno, watcher.path());
    watcher.watch = watch;
    try {
        by_watch_[watch].push_back(&watcher);
        all_.push_back(&watcher);
        watcher.identify();
    } catch (...) {
        remove(watcher);
        throw;
    }
}

void WatchHub::remove(Watcher& watcher) noexcept {
    std::erase(all_, &watcher);
    const auto found = by_watch_.find(watcher.watch);
    if (found != by_watch_.end()) {
        std::erase(found->second, &watcher);
        if (!found->second.empty()) return;
        by_watch_.erase(found);
    }
    // In a child of fork(2) the instance is the parent's.
    if (::getpid() == process_) unwatch_file(fd_, watcher.watch);
}

bool WatchHub::still_watches(const Watcher& watcher) noexcept {
    const int watch = watch_file(fd_, watcher.path());
    if (watch == watcher.watch) return true;
    if (watch >= 0 && !by_watch_.contains(watch)) unwatch_file(fd_, watch);
    return false;
}

void WatchHub::begin_wait() {
    EventLoop& loop = get_running_loop();
    Loop& running = static_cast<Loop&>(running_core());
    if (!loop_) bind(running);
    if (loop_ != &running) throw RuntimeError("this watch is bound to a different event loop");
    if (waiting_ == 0) {
        loop.add_reader(fd_, [this] {
            try {
                take_all();
            } catch (const OSError&) {
                wake_all(std::current_exception());
            }
        });
        waited_in_ = &loop;
        try {
            arm_look();
        } catch (...) {
            std::exchange(waited_in_, nullptr)->remove_reader(fd_);
            throw;
        }
    }
    ++waiting_;
}

void WatchHub::end_wait() noexcept {
    if (--waiting_ > 0) return;
    timer_.cancel();
    std::exchange(waited_in_, nullptr)->remove_reader(fd_);
}

void WatchHub::take_all() {
    constexpr int kMostReads = 64;  // then others have their turn
    std::vector<FileNotice> events;
    try {
        for (int i = 0; i < kMostReads && read_notices(fd_, events); ++i) {
        }
        if (!events.empty()) tell(events);
    } catch (const std::bad_alloc&) {
        miss_all();
    } catch (const OSError&) {
        miss_all();
        throw;
    }
}

void WatchHub::miss_all() {
    for (Watcher* watcher : all_) watcher->miss();
}

void WatchHub::tell(std::vector<FileNotice>& events) {
    constexpr std::size_t kFar = 64;  // the two halves of a rename are told almost together
    std::vector<Watcher*> concerned;
    const auto concern = [&](Watcher* watcher) {
        if (!std::exchange(watcher->concerned, true)) concerned.push_back(watcher);
    };
    for (std::size_t i = 0; i < events.size(); ++i) {
        FileNotice& raw = events[i];
        if (raw.mask & FileNotice::kMissed) {
            for (Watcher* watcher : all_) {
                concern(watcher);
                watcher->hear_lost();
            }
            continue;
        }
        const auto found = by_watch_.find(raw.watch);
        if (found == by_watch_.end()) continue;
        FileNotice* to = nullptr;
        if (raw.mask & FileNotice::kMovedFrom) {
            for (std::size_t k = i + 1; k < std::min(events.size(), i + kFar) && !to; ++k) {
                FileNotice& other = events[k];
                const bool same = other.watch == raw.watch && other.cookie == raw.cookie;
                if (same && (other.mask & FileNotice::kMovedTo)) to = &other;
            }
        }
        for (Watcher* watcher : found->second) {
            concern(watcher);
            watcher->hear(raw, to);
        }
        if (to) to->mask = 0;
        // The number is not used any more.
        if (raw.mask & FileNotice::kForgotten) by_watch_.erase(found);
    }
    for (Watcher* watcher : concerned) {
        watcher->concerned = false;
        watcher->conclude();
    }
}

void WatchHub::arm_look() {
    timer_ = waited_in_->call_later(std::chrono::milliseconds(500), [this] { look(); });
}

// Some of them each time, so that thousands do not hold up the loop.
void WatchHub::look() {
    constexpr std::size_t kMost = 500;
    for (std::size_t i = 0; i < std::min(kMost, all_.size()); ++i) {
        if (next_look_ >= all_.size()) next_look_ = 0;
        all_[next_look_++]->look();
    }
    arm_look();
}

void WatchHub::wake_all(std::exception_ptr error) noexcept {
    for (Watcher* watcher : all_) watcher->fail(error);
}

namespace {

Coroutine<> wait_for_change(Watcher& watcher) {
    const Future<void> changed = get_running_loop().create_future();
    const WatchHub::Waiting waiting(watcher.hub());
    watcher.set_waiter(changed);
    co_await changed;
}

// `failed`: what watch() could not do, to be raised where it is awaited.
AsyncGenerator<FileEvent> changes_of(std::unique_ptr<Watcher> watcher, std::exception_ptr failed) {
    if (failed) std::rethrow_exception(failed);
    while (true) {
        std::optional<FileEvent> event = watcher->next();
        if (!event) {
            if (watcher->over()) break;
            watcher->hub().take_all();
            event = watcher->next();
        }
        if (event) {
            co_yield std::move(*event);
        } else {
            co_await wait_for_change(*watcher);
        }
    }
}

}  // namespace
}  // namespace detail

std::string FileEvent::repr() const {
    static constexpr const char* kNames[] = {"CREATED", "MODIFIED", "CLOSED", "ATTRIBUTES",
                                             "DELETED", "MOVED",    "LOST",   "GONE"};
    std::string text = kNames[static_cast<std::size_t>(kind)];
    if (kind == FileChange::MOVED) text += ' ' + detail::quoted(from) + " to";
    return text + ' ' + detail::quoted(path);
}

AsyncGenerator<FileEvent> watch(PathView path) {
    std::unique_ptr<detail::Watcher> watcher;
    std::exception_ptr failed;
    try {
        std::string kept(path.text());
        detail::check_path(kept);
        watcher = std::make_unique<detail::Watcher>(std::move(kept));
    } catch (const std::exception&) {
        failed = std::current_exception();
    }
    return detail::changes_of(std::move(watcher), std::move(failed));
}

}  // namespace v1
}  // namespace asyncio
