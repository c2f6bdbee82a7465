// AsyncGenerator<T, S>: what calling an `async def` with a `yield` returns. AG-03, LC-06.
//
// A generator's frame runs in the task that drives it: next() is a call, as awaiting a coroutine is
// (detail/promise.hpp), and co_yield returns to the caller. Nothing goes through the loop and
// nothing is allocated for an item. What the handles share outlives the frame, so that a loop that
// closes can destroy the frame while handles of it remain.
#pragma once

#include <concepts>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <source_location>
#include <string>
#include <type_traits>
#include <utility>

#include "asyncio/coroutines.hpp"
#include "asyncio/detail/braced.hpp"
#include "asyncio/detail/identity.hpp"
#include "asyncio/detail/promise.hpp"
#include "asyncio/detail/refcount.hpp"

namespace asyncio {
inline namespace v1 {

// Where an asynchronous generator is, named as by Python's inspect.getasyncgenstate().
enum class AsyncGenState : std::uint8_t {
    AGEN_CREATED,    // nothing of its body has run
    AGEN_SUSPENDED,  // at a co_yield
    AGEN_RUNNING,    // being driven, even if what drives it is suspended now
    AGEN_CLOSED,     // its body has ended
};

// What next() of a generator of references gives: as std::optional, which cannot hold one. Made by
// the library.
template <class T>
class OptionalReference {
  public:
    constexpr OptionalReference() noexcept = default;
    constexpr OptionalReference(std::nullopt_t) noexcept {}
    constexpr explicit OptionalReference(T& target) noexcept : target_(std::addressof(target)) {}

    // False at the generator's end.
    constexpr bool has_value() const noexcept { return target_ != nullptr; }
    constexpr explicit operator bool() const noexcept { return target_ != nullptr; }
    // Must not be empty.
    constexpr T& operator*() const noexcept { return *target_; }
    constexpr T* operator->() const noexcept { return target_; }
    // What it refers to. Raises: std::bad_optional_access if empty.
    constexpr T& value() const {
        if (!target_) throw std::bad_optional_access();
        return *target_;
    }

  private:
    T* target_ = nullptr;
};

namespace detail {

class GeneratorList;
class GeneratorPromise;

// What the handles of one generator share. But for the counts and drop_handle() it belongs to the
// thread of the loop. (The name is the one by which the loop knows it.)
class ASYNCIO_API AsyncGenStateBase final : public Node, public Pooled {
  public:
    AsyncGenStateBase(GeneratorPromise& frame, std::source_location definition) noexcept
        : frame_(&frame), definition_(definition) {}

    AsyncGenState phase() const noexcept { return phase_; }
    std::string repr() const;

    // Handles, on any thread.
    void retain() noexcept { handles_.add(); }
    void release() noexcept {
        if (handles_.drop()) drop_last_handle();
    }

    // An awaiter that is moved or stays suspended keeps the state, and the frame, alive.
    void pin() noexcept;
    void unpin() noexcept;
    // Nobody may hold it any more: decides what becomes of it.
    void settle() noexcept;

    // From here on the loop knows it. Called when it is first driven.
    void begin();
    // aclose(): GeneratorExit is to be raised at the co_yield, or, if not null, `instead`.
    void arm_close(std::exception_ptr instead);
    // Ends it, wherever it is suspended.
    void destroy_frame() noexcept;
    // The frame was destroyed from outside (destroy_chain).
    void frame_destroyed() noexcept;

    // Node: an entry of the ready queue once the last handle is gone.
    void run() override;
    void drop() noexcept override;

    GeneratorPromise* frame_;      // null once destroyed
    const void* value_ = nullptr;  // what co_yield gave; in the frame
    void* sent_ = nullptr;         // what asend() gives to the co_yield; in its awaiter
    std::exception_ptr thrown_;    // to be raised at the co_yield
    std::exception_ptr error_;     // what left the body
    AsyncGenState phase_ = AsyncGenState::AGEN_CREATED;
    bool is_lvalue_ = false;  // value_ is an lvalue of the body's: copied, not moved
    bool closed_ = false;     // aclose() has thrown into it
    bool orphan_ = false;     // the last handle is gone

  private:
    friend class GeneratorList;
    ~AsyncGenStateBase();
    void drop_last_handle() noexcept;
    void bind(LoopCore& core) noexcept;
    void unlist() noexcept;
    void release_memory() noexcept {
        if (references_.drop()) delete this;
    }
    void start_closing();

    bool claimed_ = false;    // shutdown_asyncgens() has closed it, or tried to
    bool finalized_ = false;  // its closing was started when the last handle went
    std::uint32_t pins_ = 0;
    RefCount handles_{1};
    RefCount references_{1};  // of the memory: the handles together, the loop's list, each pin
    LoopCore* core_ = nullptr;
    GeneratorList* listed_in_ = nullptr;
    ContextSlot context_;  // of whoever dropped the last handle
    std::source_location definition_;
    AsyncGenStateBase* previous_ = nullptr;  // in the loop's list
    AsyncGenStateBase* following_ = nullptr;
};

class GeneratorPromise : public PromiseBase {
  public:
    GeneratorPromise() noexcept : PromiseBase(std::source_location()) { set_outcome(kGenerator); }
    GeneratorPromise(const GeneratorPromise&) = delete;
    GeneratorPromise& operator=(const GeneratorPromise&) = delete;
    ~GeneratorPromise() {
        if (state_) state_->frame_destroyed();
    }

    std::suspend_always initial_suspend() const noexcept { return {}; }

    struct FinalAwaiter {
        bool await_ready() const noexcept { return false; }
        template <class P>
        void await_suspend(std::coroutine_handle<P> h) const noexcept {
            GeneratorPromise& p = h.promise();
            p.state_->phase_ = AsyncGenState::AGEN_CLOSED;
            return_to_parent(p);
        }
        void await_resume() const noexcept {}
    };
    FinalAwaiter final_suspend() const noexcept { return {}; }

    void return_void() const noexcept {}
    // An exception ends the generator and goes on in whoever drives it.
    void unhandled_exception() noexcept { state_->error_ = leave_frame(*this); }

    template <class A, bool kDirect = kAwaitersByReference>
    decltype(auto) await_transform(A&& awaitable,
                                   std::source_location where = std::source_location::current()) {
        return awaiter_in<kDirect>(*this, std::forward<A>(awaitable), where);
    }

    AsyncGenStateBase* state_ = nullptr;
};

// At a co_yield.
template <class S>
class YieldAwaiter {
  public:
    explicit YieldAwaiter(AsyncGenStateBase& state) noexcept : state_(state) {}

    bool await_ready() const noexcept { return false; }
    template <std::derived_from<GeneratorPromise> P>
    void await_suspend(std::coroutine_handle<P> h) const noexcept {
        state_.phase_ = AsyncGenState::AGEN_SUSPENDED;
        return_to_parent(h.promise());
    }
    S await_resume() const {
        if (state_.thrown_) [[unlikely]] {
            std::rethrow_exception(std::exchange(state_.thrown_, nullptr));
        }
        if constexpr (std::is_void_v<S>) {
            return;
        } else if constexpr (std::is_reference_v<S>) {
            return *static_cast<std::remove_reference_t<S>*>(state_.sent_);
        } else {
            return sent();
        }
    }

  private:
    S sent() const {
        // Safe because `sent_` points to the S in the awaiter of the asend() that drives this.
        if (state_.sent_) return std::move(*static_cast<S*>(state_.sent_));
        if constexpr (std::is_default_constructible_v<S>) return S();
        std::terminate();  // next() refuses such an S
    }

    AsyncGenStateBase& state_;
};

// One call into a generator: next(), asend(), athrow() or aclose(). Awaited once. It borrows the
// generator; a call that was moved (into a task) or is suspended keeps it alive.
class ASYNCIO_API GeneratorCall {
  public:
    using asyncio_native = void;

    GeneratorCall(GeneratorCall&& o) noexcept : state_(o.state_), stage_(o.stage_) { pin(); }
    GeneratorCall& operator=(GeneratorCall&&) = delete;
    ~GeneratorCall() {
        if (pinned_) leave();
    }

  protected:
    enum class Kind : std::uint8_t { kNext, kSend, kThrow, kClose };

    explicit GeneratorCall(AsyncGenStateBase* state) : state_(state) {
        if (!state) throw_empty_handle();
    }

    // To be called first. Returns false if the call is to be refused, or to be answered without
    // running the body.
    bool enter(bool allowed) noexcept {
        if (stage_ == Stage::kFresh && allowed) [[likely]] {
            return true;
        }
        stage_ = stage_ == Stage::kFresh ? Stage::kRefused : Stage::kReused;
        return false;
    }

    // Runs the body until its next co_yield or its end. Returns true if that takes longer than
    // this step, so that the caller stays suspended. As detail::call, but for what ends it.
    bool drive(PromiseBase& caller, void* sent) {
        AsyncGenStateBase& s = *state_;
        if (s.phase_ == AsyncGenState::AGEN_CREATED) [[unlikely]] {
            s.begin();
        }
        stage_ = Stage::kDriven;
        s.phase_ = AsyncGenState::AGEN_RUNNING;
        s.sent_ = sent;
        GeneratorPromise& frame = *s.frame_;
        frame.set_parent(caller);
        ThreadState& t = thread_state;
        if (t.depth < kMaxDepth) {
            ++t.depth;
            frame.handle().resume();
            --t.depth;
            if (s.phase_ != AsyncGenState::AGEN_RUNNING) return false;
        } else {
            t.next = &frame;
        }
        frame.link &= ~PromiseBase::kNested;
        pin();
        return true;
    }

    // After drive(): a value is there.
    bool yielded() noexcept {
        const bool driven = stage_ == Stage::kDriven;
        if (!driven || state_->phase_ != AsyncGenState::AGEN_SUSPENDED) [[unlikely]] {
            return false;
        }
        stage_ = Stage::kOver;
        return true;
    }

    // How the call ended if not with a value: null means the end of the generator, or that there
    // was nothing to do.
    std::exception_ptr end(Kind kind, std::exception_ptr thrown = nullptr);

    AsyncGenStateBase* state_;

  private:
    enum class Stage : std::uint8_t { kFresh, kRefused, kReused, kDriven, kOver };

    void pin() noexcept {
        if (pinned_) return;
        pinned_ = true;
        state_->pin();
    }
    void leave() noexcept;
    std::exception_ptr refusal(Kind kind, std::exception_ptr thrown);

    Stage stage_ = Stage::kFresh;
    bool pinned_ = false;
};

// A call that gives an item.
template <class T>
class GeneratorItemCall : public GeneratorCall {
  public:
    using Item =
        std::conditional_t<std::is_reference_v<T>, OptionalReference<std::remove_reference_t<T>>,
                           std::optional<std::remove_cvref_t<T>>>;

  protected:
    using GeneratorCall::GeneratorCall;

    Item item(Kind kind, std::exception_ptr thrown = nullptr) {
        if (yielded()) return take();
        if (std::exception_ptr e = end(kind, std::move(thrown))) {
            std::rethrow_exception(std::move(e));
        }
        return Item();
    }
    Result<Item> item_result(Kind kind, std::exception_ptr thrown = nullptr) {
        if (yielded()) return Result<Item>::success(take());
        if (std::exception_ptr e = end(kind, std::move(thrown))) {
            return Result<Item>::failure(std::move(e));
        }
        return Result<Item>::success();
    }

  private:
    Item take() {
        struct Settle {
            AsyncGenStateBase& state;
            ~Settle() {
                if (state.orphan_) [[unlikely]]
                    state.settle();
            }
        } const settle{*state_};
        using V = std::remove_reference_t<T>;
        // Safe because yield_value() stored the address of a V, which lives until the body goes on.
        auto* value = static_cast<V*>(const_cast<void*>(state_->value_));
        if constexpr (std::is_reference_v<T>) {
            return Item(*value);
        } else {
            if constexpr (kCopyable<V>) {
                if (state_->is_lvalue_) {
                    return Item(std::in_place, static_cast<const V&>(*value));
                }
            }
            return Item(std::in_place, std::move(*value));
        }
    }
};

// kNeedsValue: the co_yield gives something that has no default, so next() can only begin the body.
template <class T, bool kNeedsValue>
class [[nodiscard("co_await it")]] GeneratorNext : public GeneratorItemCall<T> {
    using Base = GeneratorItemCall<T>;
    static constexpr AsyncGenState kAllowed =
        kNeedsValue ? AsyncGenState::AGEN_CREATED : AsyncGenState::AGEN_SUSPENDED;

  public:
    explicit GeneratorNext(AsyncGenStateBase* state) : Base(state) {}

    bool await_ready() noexcept { return !this->enter(this->state_->phase_ <= kAllowed); }
    template <std::derived_from<PromiseBase> P>
    bool await_suspend(std::coroutine_handle<P> h) {
        return this->drive(h.promise(), nullptr);
    }
    typename Base::Item await_resume() { return this->item(Base::Kind::kNext); }
    Result<typename Base::Item> await_result() { return this->item_result(Base::Kind::kNext); }
};

// Python's None, which may be sent to a generator that has not begun.
template <class S>
bool is_none(const S& value) noexcept {
    if constexpr (IsOptional<S>::value) return !value.has_value();
    return false;
}

template <class T, class S>
class [[nodiscard("co_await it")]] GeneratorSend : public GeneratorItemCall<T> {
    using Base = GeneratorItemCall<T>;

  public:
    explicit GeneratorSend(AsyncGenStateBase* state, Stored<S> value)
        : Base(state), value_(std::move(value)) {}

    bool await_ready() noexcept {
        const AsyncGenState phase = this->state_->phase_;
        return !this->enter(phase == AsyncGenState::AGEN_SUSPENDED ||
                            (phase == AsyncGenState::AGEN_CREATED && is_none(value_.get())));
    }
    template <std::derived_from<PromiseBase> P>
    bool await_suspend(std::coroutine_handle<P> h) {
        if constexpr (std::is_reference_v<S>) {
            return this->drive(h.promise(), const_cast<std::remove_cvref_t<S>*>(value_.get()));
        } else {
            return this->drive(h.promise(), std::addressof(value_.get()));
        }
    }
    typename Base::Item await_resume() { return this->item(Base::Kind::kSend); }
    Result<typename Base::Item> await_result() { return this->item_result(Base::Kind::kSend); }

  private:
    Held<Stored<S>> value_;
};

template <class T>
class [[nodiscard("co_await it")]] GeneratorThrow : public GeneratorItemCall<T> {
    using Base = GeneratorItemCall<T>;

  public:
    explicit GeneratorThrow(AsyncGenStateBase* state, std::exception_ptr error)
        : Base(state), error_(std::move(error)) {}

    bool await_ready() noexcept {
        AsyncGenStateBase& s = *this->state_;
        return !this->enter(s.phase_ == AsyncGenState::AGEN_SUSPENDED && !s.closed_ && error_);
    }
    template <std::derived_from<PromiseBase> P>
    bool await_suspend(std::coroutine_handle<P> h) {
        this->state_->thrown_ = std::move(error_);
        return this->drive(h.promise(), nullptr);
    }
    typename Base::Item await_resume() { return this->item(Base::Kind::kThrow, error_); }
    Result<typename Base::Item> await_result() {
        return this->item_result(Base::Kind::kThrow, error_);
    }

  private:
    std::exception_ptr error_;
};

class [[nodiscard("co_await it")]] GeneratorClose : public GeneratorCall {
  public:
    explicit GeneratorClose(AsyncGenStateBase* state) : GeneratorCall(state) {}

    // The task that was to await this is cancelled: that goes into the generator.
    void cancel(std::exception_ptr error) noexcept { instead_ = std::move(error); }

    bool await_ready() noexcept {
        return !enter(state_->phase_ == AsyncGenState::AGEN_SUSPENDED && !state_->closed_);
    }
    template <std::derived_from<PromiseBase> P>
    bool await_suspend(std::coroutine_handle<P> h) {
        state_->arm_close(instead_);
        return drive(h.promise(), nullptr);
    }
    void await_resume() {
        if (std::exception_ptr e = end(Kind::kClose, instead_)) {
            std::rethrow_exception(std::move(e));
        }
    }
    Result<void> await_result() {
        if (std::exception_ptr e = end(Kind::kClose, instead_)) {
            return Result<void>::failure(std::move(e));
        }
        return Result<void>::success();
    }

  private:
    std::exception_ptr instead_;
};

// The promise without what depends on the generator's handle.
template <class T, class S>
class GeneratorPromiseOf : public GeneratorPromise {
    using V = std::remove_reference_t<T>;

  public:
    // co_yield of a value: moved to the caller, or copied if it is an lvalue.
    YieldAwaiter<S> yield_value(V&& value,
                                std::source_location where = std::source_location::current())
        requires(!std::is_reference_v<T> && !kMadeWrong<T>)
    {
        return yield(value, false, where);
    }
    YieldAwaiter<S> yield_value(const V& value,
                                std::source_location where = std::source_location::current())
        requires(!std::is_reference_v<T> && detail::kCopyable<V>)
    {
        return yield(value, true, where);
    }
    // The first where the compiler makes braces wrong (detail/braced.hpp).
    YieldAwaiter<S> yield_value(Braced<V>&& item,
                                std::source_location where = std::source_location::current())
        requires(kMadeWrong<T>)
    {
        return yield(item.value, false, where);
    }
    template <std::same_as<V> U>
        requires(kMadeWrong<T>)
    YieldAwaiter<S> yield_value(U&& value,
                                std::source_location where = std::source_location::current()) {
        return yield(value, false, where);
    }
    template <class Refused = void>
        requires(kMadeWrong<T>)
    YieldAwaiter<S> yield_value(const V&& value,
                                std::source_location where = std::source_location::current()) {
        static_assert(kBracesAreSafe<Refused>, ASYNCIO_BRACES_ARE_REFUSED);
        return yield(value, true, where);
    }
    YieldAwaiter<S> yield_value(T value,
                                std::source_location where = std::source_location::current())
        requires(std::is_reference_v<T>)
    {
        return yield(value, true, where);
    }
    template <class U>
        requires(kNoItem<U, T>)
    Refused yield_value(U&&) {
        static_assert(kRight<U>, "co_yield of another type than the generator's");
        return {};
    }

  private:
    YieldAwaiter<S> yield(const V& value, bool is_lvalue, std::source_location where) noexcept {
        place = where;
        state_->value_ = std::addressof(value);
        state_->is_lvalue_ = is_lvalue;
        return YieldAwaiter<S>(*state_);
    }
};

}  // namespace detail

// An asynchronous generator: a coroutine that yields values of type T with co_yield, and may await.
// `while (auto x = co_await gen.next())` is Python's `async for`. A cheap shared handle. The body
// runs in the task that drives it, only while it is driven. T may be a reference; it need be
// neither copyable nor default-constructible.
//
// With a second type S, `S s = co_yield value` gives what asend() sent, and S() for next().
//
// A generator that has begun belongs to the running loop: if the last handle goes while it is
// suspended at a co_yield, the loop makes a task that closes it (AG-03); without a running loop its
// frame is destroyed. Not thread-safe but for copying and dropping handles (TH-03).
template <class T, class S = void>
class [[nodiscard("drive it: while (auto x = co_await generator.next())")]] AsyncGenerator {
    static_assert(!std::is_void_v<T> && !std::is_rvalue_reference_v<T>,
                  "a generator yields values or lvalue references");

  public:
    // std::hash goes by id().
    using asyncio_identified = void;

    using value_type = T;
    struct promise_type : detail::GeneratorPromiseOf<T, S> {
        AsyncGenerator get_return_object(
            std::source_location where = std::source_location::current()) {
            this->place = where;
            this->state_ = new detail::AsyncGenStateBase(*this, where);
            return AsyncGenerator(this->state_);
        }
    };

    // An empty handle.
    AsyncGenerator() noexcept = default;
    explicit operator bool() const noexcept { return static_cast<bool>(state_); }

    // Runs the body to its next co_yield and gives that value; empty once the body has ended.
    // Raises: what leaves the body, which then has ended; RuntimeError "anext(): asynchronous
    // generator is already running", or "async generator raised StopAsyncIteration" in place of
    // that; TypeError if the body waits for an S that has no default: only asend() can go on then.
    // If cancelled: CancelledError is raised inside, at the await that is suspended.
    auto next() const {
        constexpr bool kNeedsValue = !std::is_void_v<S> && !std::is_default_constructible_v<S>;
        return detail::GeneratorNext<T, kNeedsValue>(state_.get());
    }
    // The same, and the co_yield at which the body is suspended gives `value`.
    // Raises: as next(); TypeError "can't send non-None value to a just-started async generator"
    // (an empty std::optional is None).
    template <class V = std::conditional_t<detail::kMadeWrong<S>, void, S>>
        requires(!std::is_void_v<S> && std::is_constructible_v<S, V &&>)
    auto asend(V&& value) const {
        if constexpr (std::is_reference_v<S>) {
            S target = value;
            return detail::GeneratorSend<T, S>(state_.get(), std::addressof(target));
        } else {
            return detail::GeneratorSend<T, S>(state_.get(), S(std::forward<V>(value)));
        }
    }
    // The same where the compiler makes braces wrong (detail/braced.hpp).
    auto asend(detail::Braced<S>&& value) const
        requires(detail::kMadeWrong<S>)
    {
        return detail::GeneratorSend<T, S>(state_.get(), std::move(value.value));
    }
    template <class Refused = void>
        requires(detail::kMadeWrong<S>)
    auto asend(const std::conditional_t<std::is_void_v<S>, int, S>&& value) const {
        static_assert(detail::kBracesAreSafe<Refused>, ASYNCIO_BRACES_ARE_REFUSED);
        return detail::GeneratorSend<T, S>(state_.get(), S(value));
    }
    template <class V>
        requires(!std::is_constructible_v<S, V>)
    detail::Refused asend(V&&) const {
        static_assert(detail::kRight<V>,
                      "asend() takes a value of the second type of AsyncGenerator<T, S>");
        return {};
    }
    // Raises `error` (an exception object or an exception_ptr) at the co_yield at which the body is
    // suspended; gives what the body yields next, or empty if it ends. In a body that has not begun
    // it ends the generator; to one that has ended it does nothing.
    // Raises: as next(); TypeError for a null pointer.
    auto athrow(std::exception_ptr error) const {
        return detail::GeneratorThrow<T>(state_.get(), std::move(error));
    }
    template <class E>
        requires(!std::is_convertible_v<E, std::exception_ptr>)
    auto athrow(E error) const {
        return detail::GeneratorThrow<T>(state_.get(), std::make_exception_ptr(std::move(error)));
    }
    // Ends the generator: GeneratorExit is raised at the co_yield, so that the body can clean up
    // (it may await there), and is expected to leave it or to be followed by the body's end. A body
    // that has not begun does not run.
    // Raises: what else leaves the body; RuntimeError "async generator ignored GeneratorExit" if it
    // yields again, and from then on StopAsyncIteration; RuntimeError "aclose(): asynchronous
    // generator is already running".
    auto aclose() const { return detail::GeneratorClose(state_.get()); }

    // A plain `for` is refused.
    template <class Never = T>
    detail::Refused* begin() const {
        static_assert(detail::kRight<Never>,
                      "drive it: while (auto x = co_await generator.next())");
        return nullptr;
    }
    detail::Refused* end() const noexcept { return nullptr; }

    // `<async_generator object f at 0x...>`.
    std::string repr() const { return state_ ? state_->repr() : "<async_generator empty>"; }

    friend bool operator==(const AsyncGenerator& a, const AsyncGenerator& b) noexcept {
        return a.state_ == b.state_;
    }
    // Identity, for hashing.
    const void* id() const noexcept { return state_.get(); }

    // As inspect.getasyncgenstate(). The generator must not be an empty handle.
    friend AsyncGenState getasyncgenstate(const AsyncGenerator& generator) noexcept {
        return generator.state_->phase();
    }

  private:
    explicit AsyncGenerator(detail::AsyncGenStateBase* state) noexcept
        : state_(detail::Ref<detail::AsyncGenStateBase>::adopt(state)) {}

    detail::Ref<detail::AsyncGenStateBase> state_;
};

}  // namespace v1
}  // namespace asyncio

// Its frame is aligned as its items and its parameters need.
template <class T, class S, class... Args>
struct std::coroutine_traits<asyncio::AsyncGenerator<T, S>, Args...> {
    using promise_type = asyncio::detail::PromiseFor<
        typename asyncio::AsyncGenerator<T, S>::promise_type,
        asyncio::detail::strictest<asyncio::detail::Stored<T>, asyncio::detail::Stored<S>,
                                   Args...>()>;
};
