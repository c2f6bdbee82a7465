// Small files that are read whole by several tasks at once: the loop's thread shares that work with
// one for files.
#pragma once

#include <atomic>
#include <concepts>
#include <coroutine>
#include <cstddef>
#include <exception>
#include <memory>
#include <string>
#include <vector>

#include "asyncio/detail/refcount.hpp"
#include "asyncio/detail/waiter.hpp"
#include "asyncio/threads/executors.hpp"
#include "files/file_requests.hpp"
#include "loop/loop.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

// Reads all of a small file that is in memory. Returns false if a thread must do it, with what was
// opened. Any thread.
bool read_small_file(const std::string& path, std::string& data, FileOpening& opened);

// One file.
class SharedRead final : public Pooled {
  public:
    explicit SharedRead(std::string name) noexcept : path(std::move(name)) {}
    void retain() noexcept { refs_.add(); }
    void release() noexcept {
        if (refs_.drop()) delete this;
    }
    // By the thread that has taken it.
    void perform() noexcept {
        try {
            found = read_small_file(path, data, opened);
        } catch (const std::exception&) {
            failure = std::current_exception();
        }
    }
    // On the loop's thread, once.
    void end() noexcept {
        if (ended) return;
        ended = true;
        if (waiter && !waiter->done()) waiter->set();
    }

    std::string path;
    std::string data;
    FileOpening opened;  // if it was not found
    bool found = false;
    std::exception_ptr failure;  // no memory for what was read
    bool ended = false;
    Waiter* waiter = nullptr;

  private:
    ~SharedRead() = default;
    RefCount refs_{1};
};

// Some files, which two threads take one by one.
class SharedBatch final : public Node, public JobBase, public Pooled {
  public:
    SharedBatch(Loop& loop, std::vector<Ref<SharedRead>> reads) noexcept
        : core_(loop),
          awaited_(!loop.own_jobs),
          loop_sleeps_(loop.backend->is_virtual()),
          reads_(std::move(reads)) {
        loop.attach();
        if (awaited_) loop.begin_external();
    }
    void release() noexcept {
        if (refs_.drop()) delete this;
    }
    // On the loop's thread: reads some and ends them. Returns whether none is left to take; then
    // this is not used any more.
    bool read_here() noexcept;

    // On the other one.
    void execute() noexcept override;
    void discard() noexcept override;
    // Back on the loop's.
    void run() override;
    void drop() noexcept override { discard(); }

  private:
    ~SharedBatch() { core_.detach(); }
    // The next one to read; null if all are taken.
    SharedRead* take() noexcept {
        const std::size_t i = next_.fetch_add(1, std::memory_order_relaxed);
        return i < reads_.size() ? reads_[i].get() : nullptr;
    }

    LoopCore& core_;
    const bool awaited_;      // virtual time stands still for it
    const bool loop_sleeps_;  // while it waits for what is external: on virtual time
    const std::vector<Ref<SharedRead>> reads_;
    std::atomic<std::size_t> next_{0};
    RefCount refs_{2};  // the loop's and the job's
};

// Those of one loop.
class SharedReads final : private Node {
  public:
    SharedReads(Loop& loop, Executor& threads) noexcept : loop_(loop), threads_(threads) {}
    SharedReads(const SharedReads&) = delete;
    SharedReads& operator=(const SharedReads&) = delete;
    ~SharedReads() { drop(); }
    // To be asked before each read: true if the current task is one of a few that read in this
    // iteration. It then reads at once.
    bool alone() noexcept;
    // The read begins in the next iteration.
    void add(Ref<SharedRead> read) { waiting_.push_back(std::move(read)); }

  private:
    static constexpr int kFew = 4;            // tasks
    static constexpr std::size_t kShare = 8;  // files: less are not worth waking a thread

    void run() override;
    void drop() noexcept override;
    void schedule() noexcept;
    void begin_batch_or_fail() noexcept;
    void begin_batch();

    Loop& loop_;
    Executor& threads_;
    std::vector<Ref<SharedRead>> waiting_;
    SharedBatch* batch_ = nullptr;  // that is being read
    TaskBase* last_ = nullptr;      // only compared
    int tasks_ = 0;                 // that have read in this iteration
    bool crowded_ = false;          // more than a few: whoever reads waits
    bool scheduled_ = false;
};

// Suspends the task until the read has ended.
class SharedReadWait {
  public:
    using asyncio_native = void;

    SharedReadWait(SharedReads& reads, SharedRead& read) : read_(Ref<SharedRead>::share(&read)) {
        reads.add(read_);
    }
    SharedReadWait(const SharedReadWait&) = delete;
    SharedReadWait& operator=(const SharedReadWait&) = delete;
    ~SharedReadWait() { read_->waiter = nullptr; }

    bool await_ready() const noexcept { return false; }
    template <std::derived_from<PromiseBase> P>
    void await_suspend(std::coroutine_handle<P> h) noexcept {
        read_->waiter = &waiter_;
        waiter_.suspend(h.promise());
    }
    void await_resume() {
        if (std::exception_ptr error = waiter_.resume()) std::rethrow_exception(error);
    }

  private:
    Ref<SharedRead> read_;
    Waiter waiter_{WaitKind::kFile};
};

}  // namespace detail
}  // namespace v1
}  // namespace asyncio
