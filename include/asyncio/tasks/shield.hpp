// shield: a cancel of the waiter does not reach what it waits for. T-17, B-18, B-19.
#pragma once

#include <type_traits>
#include <utility>

#include "asyncio/tasks/task.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

// The outer future: it mirrors the inner one.
class ASYNCIO_API ShieldBase : public FutureBase {
  public:
    void watch();

  protected:
    ShieldBase(Ref<FutureBase> inner)
        : FutureBase(inner->core(), kOther, 1, {}),
          inner_(std::move(inner)),
          on_inner_(*this),
          on_outer_(*this) {}
    ~ShieldBase() override;

    // Sets the value as the inner future's. May throw what a copy of it throws.
    virtual void copy_value(FutureBase& inner) = 0;

  private:
    class InnerNode final : public Serving<Node> {
      public:
        explicit InnerNode(ShieldBase& s)
            : Serving(Serves::kThoseOf, static_cast<const FutureBase*>(&s)), shield_(s) {}
        void hold() noexcept;
        const char* label() const noexcept override { return "shield()"; }
        void scheduled(FutureBase&) noexcept override;
        void run() override;
        void drop() noexcept override;

      private:
        ShieldBase& shield_;
        bool held_ = false;
    };
    class OuterNode final : public DoneNode {
      public:
        explicit OuterNode(ShieldBase& s) : shield_(s) {}
        const char* label() const noexcept override { return "shield()"; }
        void scheduled(FutureBase&) noexcept override;
        void run() override;
        void drop() noexcept override;

      private:
        ShieldBase& shield_;
        bool held_ = false;
    };

    void mirror() noexcept;

    Ref<FutureBase> inner_;
    InnerNode on_inner_;
    OuterNode on_outer_;
};

template <class T>
class ShieldOf final : public ValueState<ShieldBase, T> {
  public:
    explicit ShieldOf(Ref<FutureBase> inner) : ValueState<ShieldBase, T>(std::move(inner)) {}

  private:
    void copy_value(FutureBase& inner) override {
        if constexpr (std::is_void_v<T>) {
            this->emplace();  // of an AnyFuture too, whatever its value is
        } else if constexpr (detail::kCopyable<Stored<T>>) {
            this->emplace(value_of<T>(inner));
        } else {
            this->emplace(std::move(value_of<T>(inner)));
        }
    }
};

}  // namespace detail

// A future that ends as `awaitable` does, which runs as a task if it is no future. Cancelling it,
// or a task that awaits it, leaves `awaitable` running. If that is done already, itself is
// returned. If `awaitable` fails after the outer one was cancelled, the exception handler is told
// (3.14). If cancelled: CancelledError is raised at once; what is shielded goes on.
template <Awaitable A>
[[nodiscard("co_await it")]] auto shield(A&& awaitable) {
    using T = typename detail::AwaitResultOf<A>::type;
    auto inner = detail::future_for(detail::current_core(), std::forward<A>(awaitable));
    if (!inner) detail::throw_empty_handle();
    if (inner.done()) return Future<T>::from_state(inner.state());
    detail::ShieldOf<T>* state = nullptr;
    try {
        state = new detail::ShieldOf<T>(inner.state());
    } catch (...) {
        // No memory: what was to be made a task here does not begin.
        if constexpr (!FutureLike<A>) inner.cancel();
        throw;
    }
    inner = nullptr;
    auto outer = Future<T>::from_state(detail::Ref<detail::FutureBase>::adopt(state));
    state->watch();
    return outer;
}
template <class... A>
    requires(!detail::kAwaits<1, A...>)
detail::Refused shield(A&&...) {
    static_assert(detail::kRight<A...>, "shield() takes what may be awaited: shield(task)");
    return {};
}

}  // namespace v1
}  // namespace asyncio
