// Context variables, as Python's module `contextvars` (CV-01 to CV-06): values that follow a task
// and the callbacks it registers, without being passed along.
//
// A context is an immutable map that is replaced when a variable is set: copying one is sharing a
// pointer, and a task that sets nothing costs nothing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include "asyncio/detail/config.hpp"
#include "asyncio/detail/refcount.hpp"
#include "asyncio/detail/refused.hpp"

namespace asyncio {
inline namespace v1 {

class Context;
template <class T>
class ContextVar;

namespace detail {

// One value of one variable, shared by the maps that hold it.
class ASYNCIO_API ContextValue {
  public:
    ContextValue() = default;
    ContextValue(const ContextValue&) = delete;
    ContextValue& operator=(const ContextValue&) = delete;
    virtual ~ContextValue();
    void retain() noexcept { count_.add(); }
    void release() noexcept {
        if (count_.drop()) delete this;
    }

  private:
    RefCount count_{1};
};

template <class T>
struct ContextValueOf final : ContextValue {
    explicit ContextValueOf(T v) : value(std::move(v)) {}
    T value;
};

class ContextMap;  // immutable, sorted by variable
class ContextBox;  // a mutable place for a map: what a `Context` handle refers to

// How a ContextBox begins, so that it is seen without a call that there is nothing in it.
struct ContextBoxHead {
    Ref<ContextMap> map;
};

// Where a task or callback keeps its context: nothing, a map of its own, or a box that is shared
// with a `Context`.
struct ASYNCIO_API ContextSlot {
    ContextSlot() noexcept = default;
    ContextSlot(ContextSlot&& o) noexcept : bits(std::exchange(o.bits, 0)) {}
    ContextSlot& operator=(ContextSlot&& o) noexcept {
        std::swap(bits, o.bits);
        return *this;
    }
    ~ContextSlot() {
        if (bits) clear();
    }
    // A copy of the current context (CV-01, CV-02).
    static ContextSlot copy_current();
    // `context` itself, uncopied, or a copy of the current one if null.
    static ContextSlot use(const Context* context);

    void clear() noexcept;
    // There is no variable in it.
    bool empty() const noexcept {
        // Safe because bit 0 is set only for the address of a box's head.
        return bits == 0 ||
               ((bits & 1) && !reinterpret_cast<const ContextBoxHead*>(bits & ~1)->map);
    }
    ContextMap* map() const noexcept;
    // The box, if a `Context` shares this slot's; else null.
    ContextBox* shared_box() const noexcept;
    // Turns the slot into a shared box, once, and returns it.
    ContextBox& box();

    std::uintptr_t bits = 0;  // 0: empty; bit 0 clear: ContextMap*; bit 0 set: ContextBox*
};

// The slot of the current task or callback, or the thread's own.
ASYNCIO_API ContextSlot& current_context_slot() noexcept;

class ASYNCIO_API ContextVarBase {
  public:
    // The name it was made with.
    const std::string& name() const noexcept { return name_; }

  protected:
    explicit ContextVarBase(std::string_view name);
    ContextVarBase(const ContextVarBase&) = delete;
    ContextVarBase& operator=(const ContextVarBase&) = delete;
    ~ContextVarBase() = default;

    ContextValue* find(const ContextSlot& slot) const noexcept;
    ContextValue* find_current() const noexcept { return find(current_context_slot()); }
    // Raises: LookupError naming the variable.
    [[noreturn]] void throw_lookup_error() const;

  private:
    friend class TokenBase;
    friend class asyncio::Context;
    std::string name_;
    std::uint64_t id_;  // never used again, so a map that outlives the variable does no harm
};

// What ContextVar::set returns: how it was before. A shared handle.
class ASYNCIO_API TokenBase {
  public:
    TokenBase() noexcept;
    TokenBase(const TokenBase&) noexcept;
    TokenBase(TokenBase&&) noexcept;
    TokenBase& operator=(TokenBase) noexcept;
    ~TokenBase();

  protected:
    struct State;
    template <class T>
    friend class asyncio::ContextVar;
    static TokenBase set(const ContextVarBase& var, ContextValue* value);
    // Raises: RuntimeError, ValueError (see ContextVar::reset).
    void reset(const ContextVarBase& var) const;
    ContextValue* old_value() const noexcept;

  private:
    State* state_ = nullptr;
};

}  // namespace detail

// What `ContextVar<T>::set` gives, for `reset`.
template <class T>
class Token : public detail::TokenBase {
  public:
    Token() noexcept = default;
    // The value before the `set`, if there was one.
    std::optional<T> old_value() const {
        static_assert(std::is_copy_constructible_v<T>,
                      "a context variable's value is copied to whoever asks: let it be a "
                      "std::shared_ptr, or a pointer");
        auto* v = static_cast<detail::ContextValueOf<T>*>(detail::TokenBase::old_value());
        return v ? std::optional<T>(v->value) : std::nullopt;
    }

  private:
    friend class ContextVar<T>;
    explicit Token(detail::TokenBase base) noexcept : detail::TokenBase(std::move(base)) {}
};

// A mapping of context variables to their values: a shared handle to one context.
class ASYNCIO_API Context {
  public:
    // A new, empty context.
    Context();
    Context(const Context&) noexcept;
    Context(Context&&) noexcept;
    Context& operator=(Context) noexcept;
    ~Context();

    // The variable's value in this context, or nothing.
    template <class T>
    std::optional<T> get(const ContextVar<T>& var) const;
    // Whether it has one.
    template <class T>
    bool contains(const ContextVar<T>& var) const noexcept;
    // How many variables have a value here.
    std::size_t size() const noexcept;
    // A context of its own with the same values.
    Context copy() const;

    // Calls `fn(args...)` with this as the current context and returns its result.
    // Raises: RuntimeError "cannot enter context: ... is already entered"; what `fn` throws.
    template <class F, class... A>
    decltype(auto) run(F&& fn, A&&... args) const {
        Entered entered(*this);
        return std::forward<F>(fn)(std::forward<A>(args)...);
    }

    bool operator==(const Context& o) const noexcept { return box_ == o.box_; }

  private:
    friend struct detail::ContextSlot;
    friend Context copy_context();
    class ASYNCIO_API Entered {
      public:
        explicit Entered(const Context& c);
        ~Entered();

      private:
        detail::ContextBox* box_;
        detail::ContextBox* hidden_ =
            nullptr;  // that of the step or callback around this, if marked
        detail::ContextSlot* outer_;
        detail::ContextSlot slot_;
    };
    explicit Context(detail::ContextBox* box) noexcept : box_(box) {}
    detail::ContextValue* find(const detail::ContextVarBase& var) const noexcept;

    detail::ContextBox* box_;

  public:
    // The context that a slot holds, shared (Task::get_context, Handle::get_context).
    static Context of(detail::ContextSlot& slot);
};

// A copy of the current context (CV-06). Needs no loop.
ASYNCIO_API Context copy_context();

// A variable whose value belongs to the current context (CV-06). Give it static storage, as in
// Python; one that dies takes its values with it. Works without a loop.
template <class T>
class ContextVar : public detail::ContextVarBase {
    using Value = detail::ContextValueOf<T>;

  public:
    // `name`: for people to read; `default_value`: what get() gives where none was set.
    explicit ContextVar(std::string_view name) : ContextVarBase(name) {}
    ContextVar(std::string_view name, T default_value)
        : ContextVarBase(name), default_(std::move(default_value)) {}

    // The value in the current context, else the default.
    // Raises: LookupError if there is neither.
    T get() const {
        static_assert(std::is_copy_constructible_v<T>,
                      "a context variable's value is copied to whoever asks: let it be a "
                      "std::shared_ptr, or a pointer");
        if constexpr (std::is_copy_constructible_v<T>) {
            if (auto* v = find_current()) return static_cast<Value*>(v)->value;
            if (!default_) throw_lookup_error();
            return *default_;
        } else {
            return detail::Refused();
        }
    }
    // The value in the current context, else `default_value`.
    T get(T default_value) const {
        if (auto* v = find_current()) return static_cast<Value*>(v)->value;
        return default_value;
    }
    // Sets the value in the current context. Returns the token that undoes it.
    Token<T> set(T value) {
        return Token<T>(detail::TokenBase::set(*this, new Value(std::move(value))));
    }
    // Puts back what `set` replaced.
    // Raises: RuntimeError if the token was used before; ValueError if it is of another variable or
    // was made in another context.
    void reset(const Token<T>& token) { token.TokenBase::reset(*this); }

  private:
    friend class Context;
    std::optional<T> default_;
};

template <class T>
std::optional<T> Context::get(const ContextVar<T>& var) const {
    auto* v = static_cast<detail::ContextValueOf<T>*>(find(var));
    return v ? std::optional<T>(v->value) : std::nullopt;
}

template <class T>
bool Context::contains(const ContextVar<T>& var) const noexcept {
    return find(var) != nullptr;
}

}  // namespace v1
}  // namespace asyncio
