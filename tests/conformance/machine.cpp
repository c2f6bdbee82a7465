#include "machine.hpp"

#include <algorithm>
#include <stdexcept>
#include <string>
#include <unordered_map>
#include <utility>

#include "errors.hpp"

namespace conformance {
namespace {

using asyncio::Coroutine;
using Control = Machine::Control;
using Children = FutureRef::Children;

Completion raised(std::exception_ptr error) { return Completion{Outcome(), std::move(error)}; }

Completion left_by(Outcome::Kind kind, Value value = Value()) {
    return Completion{Outcome{kind, std::move(value)}, nullptr};
}

// Null if the op is none that decides what is next.
std::unique_ptr<Control> make_control(Machine& machine, const Op& op);

// Ops one after the other.
class Sequence : public Control {
  public:
    explicit Sequence(const Block& block) : block_(block) {}

    void step(Machine& m) override {
        if (!m.last().normal()) return m.finish(m.last());
        if (next_ == block_.size()) return m.finish();
        const Op& op = block_[next_++];
        if (!m.world().have_slots(m.frame(), op)) return;
        start(m, op);
    }

  private:
    void start(Machine& m, const Op& op) {
        if (std::unique_ptr<Control> control = make_control(m, op)) {
            return m.push(std::move(control));
        }
        if (const AwaitingOp awaiting = find_awaiting_op(op.op)) {
            return m.await(awaiting(m.world(), m.frame(), op));
        }
        const PlainOp plain = find_plain_op(op.op);
        if (plain == nullptr) throw std::runtime_error("unknown op " + op.op);
        try {
            plain(m.world(), m.frame(), op);
        } catch (...) {  // Nothing is lost: it leaves the block as any exception of an op.
            m.finish(raised(std::current_exception()));
        }
    }

    const Block& block_;
    std::size_t next_ = 0;
};

// `return`, `break`, `continue`, `raise`, `reraise`: end at once, in a way that ends the blocks
// around them.
class Leave : public Control {
  public:
    explicit Leave(const Op& op) : op_(op) {}

    void step(Machine& m) override { m.finish(completion(m)); }

  private:
    Completion completion(Machine& m) const {
        if (op_.op == "break") return left_by(Outcome::Kind::break_loop);
        if (op_.op == "continue") return left_by(Outcome::Kind::continue_loop);
        if (op_.op == "raise") return raised(make_error(*op_.exc));
        if (op_.op == "reraise") return raised(m.frame().handled.back());
        Value value = op_.value ? m.world().evaluate(m.frame(), *op_.value) : Value();
        return left_by(Outcome::Kind::return_value, std::move(value));
    }

    const Op& op_;
};

class If : public Control {
  public:
    explicit If(const Op& op) : op_(op) {}

    void step(Machine& m) override {
        if (decided_) return m.finish(m.last());
        decided_ = true;
        if (m.world().evaluate(m.frame(), *op_.cond)) return m.push_block(op_.body);
        if (op_.otherwise) return m.push_block(*op_.otherwise);
        m.finish();
    }

  private:
    const Op& op_;
    bool decided_ = false;
};

class Try : public Control {
  public:
    explicit Try(const Op& op) : op_(op) {}

    void step(Machine& m) override {
        switch (state_) {
            case State::start:
                state_ = State::body;
                return m.push_block(op_.body);
            case State::body:
                return after_body(m);
            case State::handler:
                m.frame().handled.pop_back();
                return clean_up(m);
            case State::otherwise:
                return clean_up(m);
            case State::cleanup:
                // What leaves the `finally` block replaces what left the rest.
                return m.finish(m.last().normal() ? pending_ : m.last());
        }
    }

  private:
    enum class State { start, body, handler, otherwise, cleanup };

    void after_body(Machine& m) {
        const Completion body = m.last();
        if (body.error) {
            const Handler* handler = find_handler(body.error);
            if (handler == nullptr) return clean_up(m);
            state_ = State::handler;
            m.frame().handled.push_back(body.error);
            m.world().log("except " + show_error(body.error));
            return m.push_block(handler->body);
        }
        if (body.normal() && op_.otherwise) {
            state_ = State::otherwise;
            return m.push_block(*op_.otherwise);
        }
        clean_up(m);
    }

    void clean_up(Machine& m) {
        if (!op_.cleanup) return m.finish(m.last());
        state_ = State::cleanup;
        pending_ = m.last();
        m.world().log("finally");
        m.push_block(*op_.cleanup);
    }

    const Handler* find_handler(const std::exception_ptr& error) const {
        for (const Handler& handler : op_.handlers) {
            for (const std::string& type : handler.types) {
                if (matches(error, type)) return &handler;
            }
        }
        return nullptr;
    }

    const Op& op_;
    State state_ = State::start;
    Completion pending_;
};

// What the loops have in common: get something, run the block, again.
class Loop : public Control {
  public:
    void step(Machine& m) override {
        if (!in_block_) return next(m);
        in_block_ = false;
        const Completion& block = m.last();
        if (block.normal()) return next(m);
        if (!block.error && block.outcome.kind == Outcome::Kind::continue_loop) return next(m);
        if (!block.error && block.outcome.kind == Outcome::Kind::break_loop) return end(m);
        m.finish(block);
    }

  protected:
    // Called before the first round, after each, and when an await has ended.
    virtual void next(Machine& m) = 0;
    virtual void end(Machine& m) { m.finish(); }

    void run_round(Machine& m, const Block& block) {
        in_block_ = true;
        m.push_block(block);
    }

  private:
    bool in_block_ = false;
};

class Repeat : public Loop {
  public:
    explicit Repeat(const Op& op) : op_(op) {}

  private:
    void next(Machine& m) override {
        if (!left_) left_ = m.world().evaluate(m.frame(), *op_.n).integer();
        if (*left_ <= 0) return end(m);
        --*left_;
        run_round(m, op_.body);
    }

    const Op& op_;
    std::optional<std::int64_t> left_;
};

class ForEach : public Loop {
  public:
    explicit ForEach(const Op& op) : op_(op) {}

  private:
    void next(Machine& m) override {
        World& world = m.world();
        if (!asked_) {
            asked_ = true;
            if (!generator_) generator_ = world.get<Generator>(op_.target());
            return m.await(ask(generator_, item_));
        }
        asked_ = false;
        if (m.last().error) return m.finish(m.last());
        if (!item_) return end(m);
        world.log("item " + op_.target() + " -> " + item_->show());
        if (!op_.as.empty()) m.frame().locals[op_.as] = *item_;
        run_round(m, op_.body);
    }

    void end(Machine& m) override {
        m.world().log("for_each exit " + op_.target());
        m.finish();
    }

    static Coroutine<> ask(Generator& generator, std::optional<Value>& item) {
        item = co_await generator.next();
    }

    const Op& op_;
    bool asked_ = false;
    Generator generator_;
    std::optional<Value> item_;
};

std::size_t index_of(const Children& children, const asyncio::AnyFuture& future) {
    for (std::size_t i = 0; i < children.size(); ++i) {
        if (children[i].any() == future) return i;
    }
    throw std::logic_error("as_completed gave what it was not given");
}

// `async for` over as_completed: the finished futures themselves.
template <class F>
class AsCompletedItems : public Loop {
  public:
    AsCompletedItems(const Op& op, Children given, const std::vector<F>& handles)
        : op_(op),
          given_(std::move(given)),
          iterator_(asyncio::as_completed(handles, {.timeout = delay_of(op.timeout)})) {}

  private:
    void next(Machine& m) override {
        if (!asked_) {
            asked_ = true;
            return m.await(ask());
        }
        asked_ = false;
        if (m.last().error) return m.finish(m.last());
        if (!item_) return end(m);
        show(m.world());
        run_round(m, op_.body);
    }

    Coroutine<> ask() { item_ = co_await iterator_.next(); }

    void show(World& world) const {
        const std::size_t i = index_of(given_, *item_);
        world.log("completed " + (op_.on[i].is_future() ? op_.on[i].label : "~"));
        if (!op_.as.empty()) world.keep(op_.as, given_[i]);
    }

    using Iterator = decltype(asyncio::as_completed(std::declval<const std::vector<F>&>()));

    const Op& op_;
    Children given_;
    Iterator iterator_;
    bool asked_ = false;
    std::optional<F> item_;
};

// `for x in as_completed(...)`: awaitables of the results, each awaited at once.
template <class F>
class AsCompletedValues : public Loop {
  public:
    AsCompletedValues(const Op& op, Children given, const std::vector<F>& handles)
        : op_(op),
          given_(std::move(given)),
          iteration_(asyncio::as_completed(handles, {.timeout = delay_of(op.timeout)})),
          place_(iteration_.begin()) {}

  private:
    void next(Machine& m) override {
        if (!asked_) {
            if (place_ == iteration_.end()) return end(m);
            asked_ = true;
            return m.await(ask());
        }
        asked_ = false;
        ++place_;
        World& world = m.world();
        if (const std::exception_ptr error = m.last().error) {
            if (!op_.catches || !matches(error, "Exception")) return m.finish(m.last());
            world.log("completed !! " + show_error(error));
            return next(m);
        }
        world.log("completed -> " + value_.show());
        if (!op_.as.empty()) m.frame().locals[op_.as] = value_;
        run_round(m, op_.body);
    }

    Coroutine<> ask() {
        if constexpr (std::is_same_v<F, asyncio::AnyFuture>) {
            // Its awaitables do not say whose result they stand for; the futures themselves do.
            const std::optional<F> item = co_await iteration_.next();
            Coroutine<Value> finished = FutureRef::wait(given_[index_of(given_, *item)]);
            value_ = co_await std::move(finished);
        } else {
            value_ = co_await *place_;
        }
    }

    using Iteration = decltype(asyncio::as_completed(std::declval<const std::vector<F>&>()));
    using Place = decltype(std::declval<Iteration&>().begin());

    const Op& op_;
    Children given_;
    Iteration iteration_;
    Place place_;
    bool asked_ = false;
    Value value_;
};

template <template <class> class C>
std::unique_ptr<Control> make_over(const Op& op, Children children) {
    if (all_plain(children)) {
        const std::vector<asyncio::Future<Value>> handles = plain_handles(children);
        return std::make_unique<C<asyncio::Future<Value>>>(op, std::move(children), handles);
    }
    const std::vector<asyncio::AnyFuture> handles = any_handles(children);
    return std::make_unique<C<asyncio::AnyFuture>>(op, std::move(children), handles);
}

std::unique_ptr<Control> make_as_completed(Machine& m, const Op& op) {
    std::vector<Prepared> prepared;
    for (const Awaitable& a : op.on) prepared.push_back(prepare(m.world(), m.frame(), a));
    Children children;
    for (Prepared& p : prepared) children.push_back(ensure_future(std::move(p)));
    m.frame().lists[&op] = children;
    if (op.async_mode) return make_over<AsCompletedItems>(op, std::move(children));
    return make_over<AsCompletedValues>(op, std::move(children));
}

// ---- async with --------------------------------------------------------------------------------

class With : public Control {
  public:
    With(const Op& op, std::unique_ptr<Scope> scope) : op_(op), scope_(std::move(scope)) {}

    void step(Machine& m) override {
        if (!started_) {
            started_ = true;
            return m.await(store(scope_->run(m.world(), m.frame(), op_.body), outcome_));
        }
        if (m.last().error) return m.finish(m.last());
        if (outcome_.normal()) scope_->left();
        m.finish(Completion{outcome_, nullptr});
    }

  private:
    static Coroutine<> store(Coroutine<Outcome> scope, Outcome& outcome) {
        outcome = co_await std::move(scope);
    }

    const Op& op_;
    std::unique_ptr<Scope> scope_;
    bool started_ = false;
    Outcome outcome_;
};

// The same around a block that yields.
class YieldingWith : public Control {
  public:
    YieldingWith(const Op& op, std::unique_ptr<Scope> scope) : op_(op), scope_(std::move(scope)) {}

    void step(Machine& m) override {
        switch (state_) {
            case State::start:
                state_ = State::enter;
                return m.await(scope_->enter());
            case State::enter:
                if (m.last().error) return m.finish(m.last());
                state_ = State::block;
                return m.push_block(op_.body);
            case State::block:
                state_ = State::exit;
                block_ = m.last();
                return m.await(store(scope_->exit(block_.error), suppressed_));
            case State::exit:
                if (m.last().error) return m.finish(m.last());
                if (suppressed_) block_.error = nullptr;
                if (block_.normal()) scope_->left();
                m.finish(block_);
        }
    }

  private:
    enum class State { start, enter, block, exit };

    static Coroutine<> store(Coroutine<bool> exit, bool& suppressed) {
        suppressed = co_await std::move(exit);
    }

    const Op& op_;
    std::unique_ptr<Scope> scope_;
    State state_ = State::start;
    Completion block_;
    bool suppressed_ = false;
};

class YieldValue : public Control {
  public:
    explicit YieldValue(const Op& op) : op_(op) {}

    void step(Machine& m) override {
        if (!yielded_) {
            yielded_ = true;
            return m.yield(m.world().evaluate(m.frame(), *op_.value));
        }
        if (m.last().error) return m.finish(m.last());
        m.world().log("resumed " + m.sent().show());
        if (!op_.as.empty()) m.frame().locals[op_.as] = m.sent();
        m.finish();
    }

  private:
    const Op& op_;
    bool yielded_ = false;
};

// ---- Which is which ----------------------------------------------------------------------------

template <class C>
std::unique_ptr<Control> make(Machine&, const Op& op) {
    return std::make_unique<C>(op);
}

using ControlMaker = std::unique_ptr<Control> (*)(Machine&, const Op&);

const std::unordered_map<std::string, ControlMaker> kControls = {
    {"return", make<Leave>},
    {"raise", make<Leave>},
    {"reraise", make<Leave>},
    {"break", make<Leave>},
    {"continue", make<Leave>},
    {"if", make<If>},
    {"try", make<Try>},
    {"repeat", make<Repeat>},
    {"for_each", make<ForEach>},
    {"yield_value", make<YieldValue>},
    {"as_completed", make_as_completed},
};

std::unique_ptr<Control> make_control(Machine& m, const Op& op) {
    if (const auto found = kControls.find(op.op); found != kControls.end()) {
        return found->second(m, op);
    }
    const ScopeOp scope_op = find_scope_op(op.op);
    if (scope_op == nullptr) return nullptr;
    std::unique_ptr<Scope> scope = scope_op(m.world(), op);
    if (op.yields) return std::make_unique<YieldingWith>(op, std::move(scope));
    return std::make_unique<With>(op, std::move(scope));
}

}  // namespace

Machine::Machine(World& world, Frame& frame, const Block& block) : world_(world), frame_(frame) {
    push_block(block);
}

Machine::Need Machine::run() {
    while (!stack_.empty()) {
        if (world_.trace().closed()) throw Stopped();
        finished_ = false;
        stack_.back()->step(*this);
        if (finished_) stack_.pop_back();
        if (await_) return Need::await;
        if (yield_) return Need::yield;
    }
    return Need::nothing;
}

Coroutine<> Machine::take_await() {
    Coroutine<> awaitable = *std::move(await_);
    await_.reset();
    return awaitable;
}

void Machine::resume(std::exception_ptr error) { last_ = raised(std::move(error)); }

Value Machine::take_yield() {
    Value value = *std::move(yield_);
    yield_.reset();
    return value;
}

void Machine::resume_with(Value sent) {
    last_ = Completion();
    sent_ = std::move(sent);
}

Outcome Machine::outcome() const {
    if (last_.error) std::rethrow_exception(last_.error);
    return last_.outcome;
}

void Machine::push(std::unique_ptr<Control> control) {
    last_ = Completion();
    stack_.push_back(std::move(control));
}

void Machine::push_block(const Block& block) { push(std::make_unique<Sequence>(block)); }

void Machine::finish(Completion completion) {
    finished_ = true;
    last_ = std::move(completion);
}

void Machine::await(Coroutine<> awaitable) { await_.emplace(std::move(awaitable)); }

void Machine::yield(Value value) { yield_.emplace(std::move(value)); }

}  // namespace conformance
