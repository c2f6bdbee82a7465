// Queue, PriorityQueue, LifoQueue.
#pragma once

#include <concepts>
#include <coroutine>
#include <cstddef>
#include <exception>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "asyncio/coroutines.hpp"
#include "asyncio/detail/braced.hpp"
#include "asyncio/detail/queue_base.hpp"
#include "asyncio/detail/refused.hpp"
#include "asyncio/exceptions.hpp"
#include "asyncio/repr.hpp"
#include "asyncio/result.hpp"

namespace asyncio {
inline namespace v1 {

// The stores below hold a queue's items and say which comes next (Python's overridable `_put` and
// `_get`, Q-12). A store of your own needs `value_type`, `name` (for repr), `push(T&)`, which moves
// from its argument only on success, `T pop()`, which takes the next item of a store that is not
// empty, and `each(f)`.

// First in, first out: a ring that grows.
template <class T>
class FifoStore {
  public:
    using value_type = T;
    // For repr().
    static constexpr const char* name = "Queue";

    FifoStore() noexcept = default;
    FifoStore(const FifoStore&) = delete;
    FifoStore& operator=(const FifoStore&) = delete;
    ~FifoStore() {
        while (head_ != tail_) std::destroy_at(std::addressof(slot(head_++)));
        give_back();
    }

    // What a queue asks of its store. push() moves from `item` only on success, pop() takes the
    // next one of a store that is not empty, each() calls `f` with every one.
    void push(T& item) {
        if (tail_ - head_ == capacity_) grow();
        std::construct_at(std::addressof(slot(tail_)), std::move(item));
        ++tail_;
    }
    T pop() {
        T& first = slot(head_);
        T item(std::move(first));
        std::destroy_at(std::addressof(first));
        ++head_;
        if (head_ == tail_ && capacity_ > kKept) give_back();
        return item;
    }
    template <class F>
    void each(F f) const {
        for (std::size_t i = head_; i != tail_; ++i) f(slot(i));
    }

  private:
    static constexpr std::size_t kFirst = 4;
    static constexpr std::size_t kKept = 1024;  // a larger ring goes when the queue runs empty

    T& slot(std::size_t i) const noexcept { return items_[i & (capacity_ - 1)]; }
    void give_back() noexcept {
        if (items_) std::allocator<T>().deallocate(items_, capacity_);
        items_ = nullptr;
        capacity_ = 0;
    }
    void grow();

    T* items_ = nullptr;
    std::size_t capacity_ = 0;  // a power of two
    std::size_t head_ = 0;      // counts what was taken
    std::size_t tail_ = 0;      // counts what was put
};

template <class T>
void FifoStore<T>::grow() {
    const std::size_t size = tail_ - head_;
    const std::size_t capacity = capacity_ ? capacity_ * 2 : kFirst;
    std::allocator<T> allocator;
    T* items = allocator.allocate(capacity);
    std::size_t moved = 0;
    try {
        for (; moved < size; ++moved) {
            std::construct_at(items + moved, std::move_if_noexcept(slot(head_ + moved)));
        }
    } catch (...) {
        // A copy or move threw: the ring stays as it is, and the error goes on.
        std::destroy(items, items + moved);
        allocator.deallocate(items, capacity);
        throw;
    }
    for (std::size_t i = head_; i != tail_; ++i) std::destroy_at(std::addressof(slot(i)));
    give_back();
    items_ = items;
    capacity_ = capacity;
    head_ = 0;
    tail_ = size;
}

// Last in, first out.
template <class T>
class LifoStore {
  public:
    using value_type = T;
    // For repr().
    static constexpr const char* name = "LifoQueue";

    // What a queue asks of its store. push() moves from `item` only on success, pop() takes the
    // next one of a store that is not empty, each() calls `f` with every one.
    void push(T& item) { items_.push_back(std::move(item)); }
    T pop() {
        T item(std::move(items_.back()));
        items_.pop_back();
        return item;
    }
    template <class F>
    void each(F f) const {
        for (const T& item : items_) f(item);
    }

  private:
    std::vector<T> items_;
};

namespace detail {

// False where std::less has no operator<, so that a sentence can say so.
template <class T, class Compare>
inline constexpr bool kOrdered =
    !std::is_same_v<Compare, std::less<T>> || requires(const T& a) { static_cast<bool>(a < a); };

}  // namespace detail

// The least first. A binary heap that compares and orders as Python's heapq does, equal items
// included; all comparisons come before the first move, so that one that throws changes nothing.
template <class T, class Compare>
class HeapStore {
  public:
    using value_type = T;
    // For repr().
    static constexpr const char* name = "PriorityQueue";

    HeapStore() = default;
    // `less(a, b)`: whether `a` comes before `b`.
    explicit HeapStore(Compare less) : less_(std::move(less)) {}

    // What a queue asks of its store. push() moves from `item` only on success, pop() takes the
    // next one of a store that is not empty, each() calls `f` with every one.
    void push(T& item) {
        std::size_t place = items_.size();
        while (place > 0 && before(item, items_[parent(place)])) place = parent(place);
        std::size_t i = items_.size();
        items_.push_back(std::move(item));
        if (place == i) return;
        try {
            T added(std::move(items_[i]));
            for (; i != place; i = parent(i)) items_[i] = std::move(items_[parent(i)]);
            items_[place] = std::move(added);
        } catch (...) {
            // A move threw: the item is not there, and the error goes on.
            move_back(i);
            throw;
        }
    }
    T pop() {
        const std::size_t place = items_.size() > 1 ? place_of_last() : 0;
        T first(std::move(items_.front()));
        if (items_.size() > 1) move_last_to(place);
        items_.pop_back();
        return first;
    }
    template <class F>
    void each(F f) const {
        for (const T& item : items_) f(item);
    }

  private:
    static std::size_t parent(std::size_t i) noexcept { return (i - 1) / 2; }
    bool before(const T& a, const T& b) {
        if constexpr (detail::kOrdered<T, Compare>) {
            return less_(a, b);
        } else {
            return false;
        }
    }

    // Takes the place of the last item away again, of which the items above have moved down as far
    // as from place `hole` on. One that cannot be moved back is lost.
    void move_back(std::size_t hole) noexcept {
        const std::size_t last = items_.size() - 1;
        while (hole != last) {
            std::size_t from = last;  // the child of `hole` on the way there
            while (parent(from) != hole) from = parent(from);
            try {
                items_[hole] = std::move(items_[from]);
            } catch (...) {
                // The error that is on its way is told already.
            }
            hole = from;
        }
        items_.pop_back();
    }

    // Where the last item goes once the first is gone: down the path of the lesser children to its
    // end, then up again as long as it is less.
    std::size_t place_of_last() {
        const std::size_t end = items_.size() - 1;
        const T& last = items_.back();
        std::size_t place = 0;
        for (std::size_t child = 1; child < end; child = 2 * place + 1) {
            if (child + 1 < end && !before(items_[child], items_[child + 1])) ++child;
            place = child;
        }
        while (place > 0 && before(last, items_[place])) place = parent(place);
        return place;
    }
    // Everything on the way from `place` to the root moves up by one.
    void move_last_to(std::size_t place) {
        const std::size_t last = items_.size() - 1;
        if (place == 0) {
            items_[0] = std::move(items_[last]);
            return;
        }
        T displaced(std::move(items_[place]));
        items_[place] = std::move(items_[last]);
        for (std::size_t i = parent(place); i > 0; i = parent(i)) std::swap(displaced, items_[i]);
        items_[0] = std::move(displaced);
    }

    std::vector<T> items_;
    [[no_unique_address]] Compare less_;
};

namespace detail {

// Awaitable of Queue::put, put_from and emplace. `Item` is T, which the awaitable owns, or T*.
template <class Q, class Item>
class [[nodiscard("co_await it")]] QueuePut {
  public:
    using asyncio_native = void;

    template <class... Args>
    explicit QueuePut(Q& queue, Args&&... args)
        : queue_(&queue), item_(std::forward<Args>(args)...) {}

    bool await_ready() {
        slot_.begin();
        return !queue_->full() || queue_->shutdown_;
    }
    template <std::derived_from<PromiseBase> P>
    bool await_suspend(std::coroutine_handle<P> h) {
        return QueueWait::begin(slot_, *queue_, WaitKind::kQueuePut, h.promise(), thread_state);
    }
    void await_resume() {
        if (slot_.slow() && !granted()) std::rethrow_exception(error());
        put();
    }
    Result<void> await_result() {
        if (slot_.slow() && !granted()) return Result<void>::failure(error());
        try {
            put();
        } catch (...) {
            // Every exception is this function's result.
            return Result<void>::failure(std::current_exception());
        }
        return Result<void>::success();
    }

  private:
    void put() {
        try {
            queue_->check_thread();
            queue_->put_item(item());
        } catch (...) {
            // The room that it was woken for is another one's.
            if (slot_.slow()) queue_->pass_on_room();
            throw;
        }
    }
    auto& item() noexcept {
        if constexpr (std::is_same_v<Item, typename Q::value_type>) {
            return item_.get();
        } else {
            return *item_.get();
        }
    }
    bool granted() noexcept { return !slot_.refused() && slot_.get().granted(); }
    std::exception_ptr error() {
        return slot_.refused() ? bound_elsewhere(queue_->repr()) : slot_.get().error();
    }

    Q* queue_;
    Held<Item> item_;
    WaitSlot<QueueWait> slot_;
};

// Awaitable of Queue::get.
template <class Q>
class [[nodiscard("co_await it")]] QueueGet {
    using T = typename Q::value_type;

  public:
    using asyncio_native = void;

    explicit QueueGet(Q& queue) noexcept : queue_(&queue) {}

    bool await_ready() {
        slot_.begin();
        return !queue_->empty() || queue_->shutdown_;
    }
    template <std::derived_from<PromiseBase> P>
    bool await_suspend(std::coroutine_handle<P> h) {
        return QueueWait::begin(slot_, *queue_, WaitKind::kQueueGet, h.promise(), thread_state);
    }
    T await_resume() {
        if (slot_.slow() && !granted()) std::rethrow_exception(error());
        return take();
    }
    Result<T> await_result() {
        if (slot_.slow() && !granted()) return Result<T>::failure(error());
        try {
            return Result<T>::success(take());
        } catch (...) {
            // Every exception is this function's result.
            return Result<T>::failure(std::current_exception());
        }
    }

  private:
    T take() {
        try {
            queue_->check_thread();
            return queue_->take();
        } catch (...) {
            // The item that it was woken for is another one's.
            if (slot_.slow()) queue_->pass_on_item();
            throw;
        }
    }
    bool granted() noexcept { return !slot_.refused() && slot_.get().granted(); }
    std::exception_ptr error() {
        return slot_.refused() ? bound_elsewhere(queue_->repr()) : slot_.get().error();
    }

    Q* queue_;
    WaitSlot<QueueWait> slot_;
};

}  // namespace detail

// A queue between tasks of one loop; not for threads. Items come out as `Store` orders them: first
// in, first out. T may be move-only and need no default. It is bound to a loop when a task first
// has to wait for it. Destroying it leaves its waiters waiting; they end when they are cancelled.
template <class T, class Store = FifoStore<T>>
class Queue : public detail::QueueBase {
  public:
    using value_type = T;

    // Holds any number of items.
    Queue() : QueueBase(0) {}
    // Holds at most `maxsize` items; 0 or less: any number. Q-01.
    template <std::integral N>
    explicit Queue(N maxsize) : QueueBase(checked(maxsize)) {}

    // Waits for room, behind the others who do, and puts `item`. Room: no suspension. One that is
    // woken and finds no room any more waits again, at the end of the line. Q-02.
    // Raises: QueueShutDown; RuntimeError if it must wait in another loop than others did; what
    // moving or comparing a T raises.
    // If cancelled: nothing is put (the item goes with the awaitable), and the wake-up that may
    // have reached it goes to the next.
    auto put(T&& item)
        requires(!detail::kMadeWrong<T>)
    {
        return detail::QueuePut<Queue, T>(*this, std::move(item));
    }
    auto put(const T& item)
        requires(!detail::kMadeWrong<T> && std::copy_constructible<T>)
    {
        return detail::QueuePut<Queue, T>(*this, item);
    }
    // The same where the compiler makes braces wrong (detail/braced.hpp).
    auto put(detail::Braced<T>&& item)
        requires(detail::kMadeWrong<T>)
    {
        return detail::QueuePut<Queue, T>(*this, std::move(item.value));
    }
    template <std::convertible_to<T> U>
        requires(detail::kMadeWrong<T>)
    auto put(U&& item) {
        return detail::QueuePut<Queue, T>(*this, std::forward<U>(item));
    }
    template <class U>
        requires(detail::kNoItem<U, T>)
    detail::Refused put(U&&) {
        static_assert(
            detail::kRight<U>,
            "put() takes an item of the queue's type; one that cannot be copied is moved: "
            "put(std::move(item))");
        return {};
    }
    template <class Refused = void>
        requires(detail::kMadeWrong<T>)
    auto put(const T&& item) {
        static_assert(detail::kBracesAreSafe<Refused>, ASYNCIO_BRACES_ARE_REFUSED);
        return detail::QueuePut<Queue, T>(*this, item);
    }
    // As put(), but moves from `item` only when it is put; `item` must live until then. If
    // cancelled: `item` is untouched.
    auto put_from(T& item) noexcept {
        return detail::QueuePut<Queue, T*>(*this, std::addressof(item));
    }
    template <class U>
        requires(!std::is_convertible_v<U, T&>)
    detail::Refused put_from(U&&) {
        static_assert(detail::kRight<U>, "put_from() moves from a variable of the queue's type");
        return {};
    }
    // As put() of a T made from `args`.
    template <class... Args>
        requires(std::is_constructible_v<T, Args...>)
    auto emplace(Args&&... args) {
        return detail::QueuePut<Queue, T>(*this, std::forward<Args>(args)...);
    }
    template <class... Args>
        requires(!std::is_constructible_v<T, Args...>)
    detail::Refused emplace(Args&&...) {
        static_assert(detail::kRight<Args...>,
                      "emplace() takes what an item of the queue's type is constructed from");
        return {};
    }
    // Puts `item` at once; moves from it only on success. Q-03.
    // Raises: QueueShutDown, QueueFull; what moving or comparing a T raises.
    void put_nowait(T&& item) {
        check_thread();
        if (!shutdown_ && full()) detail::throw_queue_full();
        put_item(item);
    }
    void put_nowait(const T& item)
        requires std::copy_constructible<T>
    {
        put_nowait(T(item));
    }
    template <class U>
        requires(detail::kNoItem<U, T>)
    void put_nowait(U&&) {
        static_assert(
            detail::kRight<U>,
            "put_nowait() takes an item of the queue's type; one that cannot be copied is "
            "moved: put_nowait(std::move(item))");
    }

    // Waits for an item, behind the others who do, and takes it. An item there: no suspension, even
    // if a getter was woken for it, which then waits again, at the end of the line. Q-04.
    // Raises: QueueShutDown once it is shut down and empty; RuntimeError if it must wait in another
    // loop than others did.
    // If cancelled: no item is lost; the wake-up that may have reached it goes to the next.
    auto get() noexcept { return detail::QueueGet<Queue>(*this); }
    // Takes an item at once. Q-05.
    // Raises: QueueEmpty; QueueShutDown once it is shut down and empty.
    T get_nowait() {
        check_thread();
        return take();
    }

    // From now on put fails, and get too once the queue is empty. All who wait are woken. If
    // `immediate` the items are dropped and count as done (which may end join()). Q-08.
    // Raises: what moving or comparing a T raises; then it is shut down, and holds what is left.
    void shutdown(bool immediate = false) {
        check_thread();
        shutdown_ = true;
        // Whatever a pop raises, nobody waits on.
        struct Wake {
            Queue& queue;
            bool immediate;
            ~Wake() { queue.shut_down(immediate); }
        } const wake{*this, immediate};
        while (immediate && !empty()) {
            store_.pop();
            dropped();
        }
    }

    // `<Queue at 0x7f... maxsize=0 _queue=[1, 2] _getters[1] tasks=2>`
    std::string repr() const {
        std::string items;
        store_.each([&items](const T& item) {
            if (!items.empty()) items += ", ";
            items += asyncio::repr(item);
        });
        return repr_with(Store::name, items);
    }

  protected:
    // For subclasses: a store made from `args`.
    template <std::integral N, class... Args>
    Queue(N maxsize, std::in_place_t, Args&&... args)
        : QueueBase(checked(maxsize)), store_(std::forward<Args>(args)...) {}

  private:
    template <class Q, class Item>
    friend class detail::QueuePut;
    template <class Q>
    friend class detail::QueueGet;

    T take() {
        if (empty()) {
            if (shutdown_) detail::throw_queue_shut_down();
            detail::throw_queue_empty();
        }
        T item = store_.pop();
        taken();
        return item;
    }
    // There is room, or it is shut down.
    void put_item(T& item) {
        if (shutdown_) detail::throw_queue_shut_down();
        store_.push(item);
        added();
    }

    Store store_;
};

// There is none of these.
template <class T, class Store>
    requires(std::is_void_v<T> || std::is_reference_v<T>)
class Queue<T, Store> {
    static_assert(detail::kRight<Store>,
                  "a queue holds objects: an int or a std::monostate for signals, pointers for "
                  "what is shared");

  public:
    template <class... A>
    explicit Queue(const A&...);
    template <class... A>
    detail::Refused put(const A&...);
    template <class... A>
    void put_nowait(const A&...);
    detail::Refused get();
    detail::Refused get_nowait();
};

// A Queue that gives the least item first; which of equal ones comes first is not said. Q-09.
template <class T, class Compare = std::less<T>>
class PriorityQueue : public Queue<T, HeapStore<T, Compare>> {
    using Base = Queue<T, HeapStore<T, Compare>>;

  public:
    PriorityQueue() {
        static_assert(detail::kOrdered<T, Compare>,
                      "a PriorityQueue needs an order of its items: operator<, or a class that "
                      "compares them as its second template argument");
    }
    template <std::integral N>
    explicit PriorityQueue(N maxsize) : Base(maxsize) {
        static_assert(detail::kOrdered<T, Compare>,
                      "a PriorityQueue needs an order of its items: operator<, or a class that "
                      "compares them as its second template argument");
    }
    // `less(a, b)`: true if a comes before b.
    template <std::integral N>
    PriorityQueue(N maxsize, Compare less) : Base(maxsize, std::in_place, std::move(less)) {}
};

// A Queue that gives the item that was put last. Q-10.
template <class T>
class LifoQueue : public Queue<T, LifoStore<T>> {
  public:
    using Queue<T, LifoStore<T>>::Queue;
};

}  // namespace v1
}  // namespace asyncio
