// Where one task reads files, or a few do, each reads its own at once: nothing is cheaper. Where
// many do, the calls of the system are what takes the time, and one thread makes them one after
// another. So from the fifth task on that reads in an iteration the reads are gathered; in the next
// iteration the loop's thread takes one after another, and so does a thread for files, until none
// is left. The loop goes on as soon as it has nothing to take, and hears of the other's in the end.
#include "files/shared_reads.hpp"

#include <exception>
#include <new>
#include <utility>

#include "asyncio/exceptions.hpp"
#include "files/file_requests.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

bool SharedReads::alone() noexcept {
    if (thread_state.task == last_ && !crowded_) return true;
    schedule();
    if (crowded_) return false;
    last_ = thread_state.task;
    crowded_ = ++tasks_ > kFew;
    return !crowded_;
}

void SharedReads::schedule() noexcept {
    if (std::exchange(scheduled_, true)) return;
    loop_.push_ready(this);
}

// A new iteration: those that were gathered in the last one are read.
void SharedReads::run() {
    scheduled_ = false;
    last_ = nullptr;
    tasks_ = 0;
    // Where many read, those whose reads end here come back for more: they too are to be gathered,
    // and not to read at once one after the other, while the other thread has nothing to do.
    crowded_ = batch_ || waiting_.size() >= kShare;
    if (!batch_ && !waiting_.empty()) begin_batch_or_fail();
    if (batch_ && batch_->read_here()) batch_ = nullptr;
    if (batch_ || !waiting_.empty()) schedule();
}

void SharedReads::begin_batch_or_fail() noexcept {
    try {
        begin_batch();
    } catch (const std::bad_alloc&) {
        for (const Ref<SharedRead>& read : std::exchange(waiting_, {})) {
            read->failure = std::current_exception();
            read->end();
        }
    }
}

void SharedReads::begin_batch() {
    const bool shares = waiting_.size() >= kShare;
    batch_ = new SharedBatch(loop_, std::exchange(waiting_, {}));
    Executor::Job job(batch_);
    if (!shares) return;
    try {
        threads_.add(std::move(job));
    } catch (const RuntimeError&) {
        // No thread can be started: this one reads all of them.
    } catch (const std::bad_alloc&) {
        // As well.
    }
}

void SharedReads::drop() noexcept {
    scheduled_ = false;
    crowded_ = false;
    last_ = nullptr;
    tasks_ = 0;
    waiting_.clear();
    if (batch_) std::exchange(batch_, nullptr)->release();
}

bool SharedBatch::read_here() noexcept {
    std::size_t moved = 0;
    while (moved <= kMostInline) {
        SharedRead* const read = take();
        if (!read) {
            release();
            return true;
        }
        // Else nobody waits any more.
        if (read->waiter) read->perform();
        moved += read->data.size() + 4096;  // opening takes its time too
        read->end();
    }
    return false;
}

void SharedBatch::execute() noexcept {
    bool any = false;
    while (SharedRead* read = take()) {
        read->perform();
        any = true;
    }
    // On virtual time the loop may sleep until this comes back, whoever has read the files.
    if ((any || loop_sleeps_) && push_threadsafe(core_, this)) return;
    discard();
}

void SharedBatch::discard() noexcept {
    if (awaited_) static_cast<Loop&>(core_).end_external();
    release();
}

void SharedBatch::run() {
    for (const Ref<SharedRead>& read : reads_) read->end();
    discard();
}

}  // namespace detail
}  // namespace v1
}  // namespace asyncio
