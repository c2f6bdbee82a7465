// A scenario file as C++ values: what `README.md` here calls ops, expressions and declarations.
// Nothing in this part knows about asyncio.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "values.hpp"

namespace conformance {

// A time or a delay in whole ticks; absent where the file says null.
using Ticks = std::optional<std::int64_t>;

// Computes a value when an op runs.
struct Expression {
    enum class Kind { constant, variable, counter, list };

    Kind kind = Kind::constant;
    Value constant;
    std::string name;               // of the variable or counter
    std::vector<Expression> items;  // of the list
};

struct Condition {
    Expression left;
    std::string comparison;  // < <= == != >= >
    Expression right;
};

struct ExceptionSpec {
    std::string type;
    std::optional<std::string> message;
    std::vector<ExceptionSpec> members;  // of a group
};

// Something to await. Future-like ones (`slot`, `gather`, `shield`) are evaluated to a future at
// once, all others to a coroutine that has not begun.
struct Awaitable {
    enum class Kind {
        slot,
        gather,
        shield,
        body,
        sleep,
        wait_for,
        acquire,
        ev_wait,
        cond_wait,
        bar_wait,
        get,
        put,
        join
    };

    Kind kind = Kind::slot;
    std::string name;                   // of the slot, of the object, or of the body
    std::string label;                  // what a trace calls it
    std::vector<Awaitable> inner;       // gather, shield, wait_for
    std::vector<Expression> arguments;  // body
    Expression value;                   // sleep: the result; put: the item
    Ticks time;                         // sleep, wait_for
    bool return_exceptions = false;     // gather

    bool is_future() const {
        return kind == Kind::slot || kind == Kind::gather || kind == Kind::shield;
    }
};

struct Op;
using Block = std::vector<Op>;

struct Handler {
    std::vector<std::string> types;
    Block body;
};

// One op with whatever fields it has; those it has not are empty.
struct Op {
    std::string op;
    std::vector<std::string> slots;  // what must be set before it runs, in the order of checking

    std::vector<Awaitable> on;
    std::string as, context, group, token;  // names of slots or variables
    std::string callback, body_name, var, counter, name;
    std::optional<std::string> msg;
    std::vector<Expression> values, arguments;
    std::optional<Expression> value, result, by, n, fallback;
    std::optional<ExceptionSpec> exc;
    std::optional<Condition> cond;
    Ticks t, timeout, in;
    std::optional<Ticks> at;
    std::string return_when = "ALL_COMPLETED";
    bool async_mode = false, catches = false, eager = false, immediate = false;

    Block body;  // also `then` of an `if`
    std::vector<Handler> handlers;
    std::optional<Block> otherwise;  // `else`
    std::optional<Block> cleanup;    // `finally`
    bool yields = false;             // it is a yield_value, or has one in its blocks

    // The slot of an op that works on one.
    const std::string& target() const { return on.front().name; }
};

struct Body {
    std::string name;
    std::vector<std::string> params;
    bool generator = false;
    Block ops;
};

struct Callback {
    std::string name;
    Block ops;
};

// A declared object; `number` is its value, parties or maxsize.
struct Declaration {
    std::string name;
    std::string type;
    std::optional<std::int64_t> number;
    std::string lock;               // of a condition: a declared lock, or empty
    std::optional<Value> fallback;  // of a contextvar: its default
};

struct Scenario {
    std::string name;
    bool eager = false;
    std::vector<Declaration> objects;
    std::map<std::string, std::int64_t> counters;
    std::map<std::string, Body> bodies;
    std::map<std::string, Callback> callbacks;
};

// Reads the file at `path`. Raises: std::runtime_error that names the file if it cannot be read or
// is not a scenario.
Scenario load_scenario(const std::string& path);

}  // namespace conformance
