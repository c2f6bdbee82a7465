#include "asyncio/contextvars.hpp"

#include <algorithm>
#include <atomic>
#include <sstream>
#include <vector>

#include "asyncio/detail/thread_state.hpp"
#include "asyncio/exceptions.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

ContextValue::~ContextValue() = default;

// Programs have few variables: a sorted vector copied on `set` beats a tree at that size.
class ContextMap {
  public:
    struct Item {
        std::uint64_t id;
        Ref<ContextValue> value;
    };

    void retain() noexcept { count_.add(); }
    void release() noexcept {
        if (count_.drop()) delete this;
    }

    ContextValue* find(std::uint64_t id) const noexcept {
        const auto it = lower_bound(id);
        return it != items_.end() && it->id == id ? it->value.get() : nullptr;
    }
    std::size_t size() const noexcept { return items_.size(); }

    // A new map like `from`, with `value` for `id`; a null value removes it.
    static Ref<ContextMap> changed(const ContextMap* from, std::uint64_t id,
                                   Ref<ContextValue> value) {
        auto map = Ref<ContextMap>::adopt(new ContextMap);
        if (from) map->items_ = from->items_;
        const auto it = map->items_.begin() + (map->lower_bound(id) - map->items_.cbegin());
        const bool found = it != map->items_.end() && it->id == id;
        if (found && value) {
            it->value = std::move(value);
        } else if (found) {
            map->items_.erase(it);
        } else if (value) {
            map->items_.insert(it, Item{id, std::move(value)});
        }
        return map;
    }

  private:
    std::vector<Item>::const_iterator lower_bound(std::uint64_t id) const noexcept {
        return std::lower_bound(items_.begin(), items_.end(), id,
                                [](const Item& a, std::uint64_t b) { return a.id < b; });
    }

    RefCount count_{1};
    std::vector<Item> items_;
};

class ContextBox : public ContextBoxHead {
  public:
    explicit ContextBox(Ref<ContextMap> m) : ContextBoxHead{std::move(m)} {}
    void retain() noexcept { count_.add(); }
    void release() noexcept {
        if (count_.drop()) delete this;
    }

    bool entered = false;  // by Context::run

  private:
    RefCount count_{1};
};

namespace {

constexpr std::uintptr_t kBox = 1;

// Safe because boxes and maps are aligned to more than one byte: bit 0 of their addresses is clear.
std::uintptr_t bits_of(ContextBoxHead* box) { return reinterpret_cast<std::uintptr_t>(box) | kBox; }

// Safe because `bits` is only ever made by bits_of or from a ContextMap pointer (bit 0 clear).
ContextBox* box_in(std::uintptr_t bits) {
    return static_cast<ContextBox*>(reinterpret_cast<ContextBoxHead*>(bits & ~kBox));
}
ContextMap* map_in(std::uintptr_t bits) { return reinterpret_cast<ContextMap*>(bits); }

ContextSlot& thread_slot() noexcept {
    static thread_local ContextSlot slot;
    return slot;
}

}  // namespace

ContextSlot& current_context_slot() noexcept {
    ContextSlot* slot = thread_state.context;
    return slot ? *slot : thread_slot();
}

ContextMap* ContextSlot::map() const noexcept {
    return bits & kBox ? box_in(bits)->map.get() : map_in(bits);
}

ContextSlot ContextSlot::copy_current() {
    ContextSlot copy;
    if (ContextMap* map = current_context_slot().map()) {
        map->retain();
        // Safe because of the same alignment: without bit 0 it is read back as a map.
        copy.bits = reinterpret_cast<std::uintptr_t>(map);
    }
    return copy;
}

ContextSlot ContextSlot::use(const Context* context) {
    if (!context) return copy_current();
    ContextSlot slot;
    context->box_->retain();
    slot.bits = bits_of(context->box_);
    return slot;
}

void ContextSlot::clear() noexcept {
    const std::uintptr_t old = std::exchange(bits, 0);
    if (old & kBox) {
        box_in(old)->release();
    } else if (old) {
        map_in(old)->release();
    }
}

ContextBox* ContextSlot::shared_box() const noexcept {
    return bits & kBox ? box_in(bits) : nullptr;
}

ContextBox& ContextSlot::box() {
    if (!(bits & kBox)) {
        auto* made = new ContextBox(Ref<ContextMap>::adopt(map_in(bits)));
        bits = bits_of(made);
    }
    return *box_in(bits);
}

ContextVarBase::ContextVarBase(std::string_view name) : name_(name) {
    static std::atomic<std::uint64_t> next{1};
    id_ = next.fetch_add(1, std::memory_order_relaxed);
}

ContextValue* ContextVarBase::find(const ContextSlot& slot) const noexcept {
    const ContextMap* map = slot.map();
    return map ? map->find(id_) : nullptr;
}

void ContextVarBase::throw_lookup_error() const {
    std::ostringstream text;
    text << "<ContextVar name='" << name_ << "' at " << static_cast<const void*>(this) << '>';
    throw LookupError(text.str());
}

struct TokenBase::State {
    RefCount count{1};
    std::uint64_t id = 0;
    Ref<ContextBox> box;
    Ref<ContextValue> old;
    bool used = false;
};

TokenBase::TokenBase() noexcept = default;
TokenBase::TokenBase(const TokenBase& o) noexcept : state_(o.state_) {
    if (state_) state_->count.add();
}
TokenBase::TokenBase(TokenBase&& o) noexcept : state_(std::exchange(o.state_, nullptr)) {}
TokenBase& TokenBase::operator=(TokenBase o) noexcept {
    std::swap(state_, o.state_);
    return *this;
}
TokenBase::~TokenBase() {
    if (state_ && state_->count.drop()) delete state_;
}

TokenBase TokenBase::set(const ContextVarBase& var, ContextValue* value) {
    auto owned = Ref<ContextValue>::adopt(value);
    ContextBox& box = current_context_slot().box();
    TokenBase token;
    token.state_ = new State;
    token.state_->id = var.id_;
    token.state_->box = Ref<ContextBox>::share(&box);
    if (box.map) token.state_->old = Ref<ContextValue>::share(box.map->find(var.id_));
    box.map = ContextMap::changed(box.map.get(), var.id_, std::move(owned));
    return token;
}

void TokenBase::reset(const ContextVarBase& var) const {
    if (!state_ || state_->used) throw RuntimeError("Token has already been used once");
    if (state_->id != var.id_) {
        throw ValueError("Token was created by a different ContextVar");
    }
    ContextBox& box = current_context_slot().box();
    if (state_->box.get() != &box) throw ValueError("Token was created in a different Context");
    box.map = ContextMap::changed(box.map.get(), var.id_, state_->old);
    state_->used = true;
}

ContextValue* TokenBase::old_value() const noexcept { return state_ ? state_->old.get() : nullptr; }

}  // namespace detail

Context::Context() : box_(new detail::ContextBox(nullptr)) {}
Context::Context(const Context& o) noexcept : box_(o.box_) { box_->retain(); }
Context::Context(Context&& o) noexcept : box_(o.box_) { box_->retain(); }
Context& Context::operator=(Context o) noexcept {
    std::swap(box_, o.box_);
    return *this;
}
Context::~Context() { box_->release(); }

std::size_t Context::size() const noexcept { return box_->map ? box_->map->size() : 0; }

Context Context::copy() const { return Context(new detail::ContextBox(box_->map)); }

detail::ContextValue* Context::find(const detail::ContextVarBase& var) const noexcept {
    return box_->map ? box_->map->find(var.id_) : nullptr;
}

Context Context::of(detail::ContextSlot& slot) {
    detail::ContextBox& box = slot.box();
    box.retain();
    return Context(&box);
}

Context::Entered::Entered(const Context& c)
    : box_(c.box_), outer_(detail::thread_state.context), slot_(detail::ContextSlot::use(&c)) {
    // The context of the step or callback that runs now is entered as well, without being marked
    // so: a step would pay for that. It is marked here, before another one hides it.
    detail::ContextBox* current = detail::current_context_slot().shared_box();
    if (box_->entered || box_ == current) {
        throw RuntimeError("cannot enter context: this Context is already entered");
    }
    if (current && !current->entered) {
        hidden_ = current;
        hidden_->entered = true;
    }
    box_->entered = true;
    detail::thread_state.context = &slot_;
}

Context::Entered::~Entered() {
    box_->entered = false;
    if (hidden_) hidden_->entered = false;
    detail::thread_state.context = outer_;
}

Context copy_context() {
    auto slot = detail::ContextSlot::copy_current();
    return Context::of(slot);
}

}  // namespace v1
}  // namespace asyncio
