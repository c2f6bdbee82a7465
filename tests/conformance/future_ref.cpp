#include "future_ref.hpp"

#include <type_traits>
#include <utility>

namespace conformance {
namespace {

using asyncio::AnyFuture;
using asyncio::Coroutine;

template <class F>
inline constexpr bool is_any = std::is_same_v<std::decay_t<F>, AnyFuture>;

}  // namespace

bool all_plain(const FutureRef::Children& children) {
    for (const FutureRef& child : children) {
        if (child.plain() == nullptr) return false;
    }
    return true;
}

std::vector<asyncio::Future<Value>> plain_handles(const FutureRef::Children& children) {
    std::vector<asyncio::Future<Value>> handles;
    for (const FutureRef& child : children) handles.push_back(*child.plain());
    return handles;
}

std::vector<AnyFuture> any_handles(const FutureRef::Children& children) {
    std::vector<AnyFuture> handles;
    for (const FutureRef& child : children) handles.push_back(child.any());
    return handles;
}

FutureRef FutureRef::gather(Children children, bool return_exceptions) {
    if (all_plain(children)) {
        const std::vector<asyncio::Future<Value>> handles = plain_handles(children);
        if (return_exceptions) return asyncio::gather(asyncio::return_exceptions, handles);
        return asyncio::gather(handles);
    }
    const std::vector<AnyFuture> handles = any_handles(children);
    auto kept = std::make_shared<const Children>(std::move(children));
    if (return_exceptions) {
        Kinds future = asyncio::gather(asyncio::return_exceptions, handles);
        return FutureRef(std::move(future), std::move(kept));
    }
    Kinds future = asyncio::gather(handles);
    return FutureRef(std::move(future), std::move(kept));
}

FutureRef FutureRef::gather(std::vector<Coroutine<Value>> coroutines, bool return_exceptions) {
    if (return_exceptions) {
        return asyncio::gather(asyncio::return_exceptions, std::move(coroutines));
    }
    return asyncio::gather(std::move(coroutines));
}

Value FutureRef::convert(const Results& results) const {
    Value::List values;
    for (const asyncio::Result<Value>& r : results) {
        values.push_back(r.has_value() ? r.value() : Value(r.error()));
    }
    return Value(std::move(values));
}

Value FutureRef::convert(const std::vector<std::monostate>&) const {
    Value::List values;
    for (const FutureRef& child : *children_) values.push_back(child.result());
    return Value(std::move(values));
}

Value FutureRef::convert(const std::vector<asyncio::Result<void>>& results) const {
    Value::List values;
    for (std::size_t i = 0; i < results.size(); ++i) {
        const bool good = results[i].has_value();
        values.push_back(good ? (*children_)[i].result() : Value(results[i].error()));
    }
    return Value(std::move(values));
}

Value FutureRef::untyped_result(const AnyFuture& future) const {
    return children_ ? children_->front().result() : future.result<Value>();
}

Coroutine<Value> FutureRef::wait(FutureRef self) {
    // The variant cannot be visited: a coroutine awaits in its own body only.
    if (auto* f = std::get_if<asyncio::Future<Value>>(&self.future_)) {
        co_return co_await *f;
    }
    if (auto* f = std::get_if<asyncio::Future<Value::List>>(&self.future_)) {
        co_return self.convert(co_await *f);
    }
    if (auto* f = std::get_if<asyncio::Future<Results>>(&self.future_)) {
        co_return self.convert(co_await *f);
    }
    if (auto* f = std::get_if<MixedFuture>(&self.future_)) {
        co_return self.convert(co_await *f);
    }
    if (auto* f = std::get_if<MixedResults>(&self.future_)) {
        co_return self.convert(co_await *f);
    }
    co_await std::get<AnyFuture>(self.future_);
    co_return self.result();
}

Coroutine<Value> FutureRef::wait_for(FutureRef self, asyncio::Delay timeout) {
    if (auto* f = std::get_if<asyncio::Future<Value>>(&self.future_)) {
        co_return co_await asyncio::wait_for(*f, timeout);
    }
    if (auto* f = std::get_if<asyncio::Future<Value::List>>(&self.future_)) {
        co_return self.convert(co_await asyncio::wait_for(*f, timeout));
    }
    if (auto* f = std::get_if<asyncio::Future<Results>>(&self.future_)) {
        co_return self.convert(co_await asyncio::wait_for(*f, timeout));
    }
    if (auto* f = std::get_if<MixedFuture>(&self.future_)) {
        co_return self.convert(co_await asyncio::wait_for(*f, timeout));
    }
    if (auto* f = std::get_if<MixedResults>(&self.future_)) {
        co_return self.convert(co_await asyncio::wait_for(*f, timeout));
    }
    co_await asyncio::wait_for(std::get<AnyFuture>(self.future_), timeout);
    co_return self.result();
}

FutureRef FutureRef::shield() const {
    return std::visit(
        [this](const auto& future) {
            auto children = children_;
            if constexpr (is_any<decltype(future)>) {
                if (!children) children = std::make_shared<const Children>(Children{*this});
            }
            Kinds shielded = asyncio::shield(future);
            return FutureRef(std::move(shielded), std::move(children));
        },
        future_);
}

bool FutureRef::cancel(const std::optional<std::string>& message) const {
    return std::visit(
        [&](auto future) { return message ? future.cancel(*message) : future.cancel(); }, future_);
}

bool FutureRef::done() const {
    return std::visit([](const auto& future) { return future.done(); }, future_);
}

bool FutureRef::cancelled() const {
    return std::visit([](const auto& future) { return future.cancelled(); }, future_);
}

Value FutureRef::result() const {
    return std::visit(
        [this](const auto& future) -> Value {
            if constexpr (is_any<decltype(future)>) {
                return untyped_result(future);
            } else {
                return convert(future.result());
            }
        },
        future_);
}

std::exception_ptr FutureRef::exception() const {
    return std::visit([](const auto& future) { return future.exception(); }, future_);
}

void FutureRef::set_result(Value value) const {
    // Only what a scenario made with `future` or `new_future`, or a task, which refuses.
    asyncio::Future<Value> future = std::get<asyncio::Future<Value>>(future_);
    future.set_result(std::move(value));
}

void FutureRef::set_exception(std::exception_ptr error) const {
    asyncio::Future<Value> future = std::get<asyncio::Future<Value>>(future_);
    future.set_exception(std::move(error));
}

asyncio::CallbackId FutureRef::add_done_callback(DoneCallback callback,
                                                 const asyncio::Context* context) const {
    return std::visit(
        [&](auto future) {
            using Future = decltype(future);
            // Holds no handle to the future itself, which would keep it alive for ever.
            auto call = [callback = std::move(callback), children = children_](Future finished) {
                callback(FutureRef(Kinds(std::move(finished)), children));
            };
            return future.add_done_callback(std::move(call), {.context = context});
        },
        future_);
}

std::size_t FutureRef::remove_done_callback(asyncio::CallbackId id) const {
    return std::visit(
        [&](auto future) { return static_cast<std::size_t>(future.remove_done_callback(id)); },
        future_);
}

AnyFuture FutureRef::any() const {
    return std::visit([](const auto& future) { return AnyFuture(future); }, future_);
}

FutureRef ensure_future(Prepared awaitable) {
    if (auto* future = std::get_if<FutureRef>(&awaitable)) return *future;
    return asyncio::ensure_future(std::get<Coroutine<Value>>(std::move(awaitable)));
}

FutureRef shield(Prepared awaitable) {
    if (auto* future = std::get_if<FutureRef>(&awaitable)) return future->shield();
    return asyncio::shield(std::get<Coroutine<Value>>(std::move(awaitable)));
}

FutureRef gather(std::vector<Prepared> awaitables, bool return_exceptions) {
    bool only_coroutines = !awaitables.empty();
    for (const Prepared& a : awaitables) {
        if (std::holds_alternative<FutureRef>(a)) only_coroutines = false;
    }
    if (only_coroutines) {
        std::vector<Coroutine<Value>> coroutines;
        for (Prepared& a : awaitables) {
            coroutines.push_back(std::get<Coroutine<Value>>(std::move(a)));
        }
        return FutureRef::gather(std::move(coroutines), return_exceptions);
    }
    // A range has one type: what is not a future yet becomes one here as it would in gather.
    FutureRef::Children children;
    for (Prepared& a : awaitables) children.push_back(ensure_future(std::move(a)));
    return FutureRef::gather(std::move(children), return_exceptions);
}

Coroutine<Value> wait(Prepared awaitable) {
    if (auto* future = std::get_if<FutureRef>(&awaitable)) return FutureRef::wait(*future);
    return std::get<Coroutine<Value>>(std::move(awaitable));
}

Coroutine<Value> wait_for(Prepared awaitable, asyncio::Delay timeout) {
    if (auto* future = std::get_if<FutureRef>(&awaitable)) {
        Coroutine<Value> waiting = FutureRef::wait_for(*future, timeout);
        co_return co_await std::move(waiting);
    }
    Coroutine<Value> inner = std::get<Coroutine<Value>>(std::move(awaitable));
    co_return co_await asyncio::wait_for(std::move(inner), timeout);
}

}  // namespace conformance
