#include "scenario.hpp"

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string_view>

namespace conformance {
namespace {

// Ordered, since declared objects are made in the order of the file.
using Json = nlohmann::ordered_json;

const Json* find(const Json& object, const char* key) {
    const auto it = object.find(key);
    return it == object.end() ? nullptr : &*it;
}

std::string text(const Json& object, const char* key) {
    const Json* found = find(object, key);
    return found == nullptr ? std::string() : found->get<std::string>();
}

bool flag(const Json& object, const char* key) {
    const Json* found = find(object, key);
    return found != nullptr && found->get<bool>();
}

Ticks parse_ticks(const Json& json) {
    return json.is_null() ? Ticks() : Ticks(json.get<std::int64_t>());
}

Ticks ticks(const Json& object, const char* key) {
    const Json* found = find(object, key);
    return found == nullptr ? Ticks() : parse_ticks(*found);
}

std::vector<std::string> texts(const Json& object, const char* key) {
    const Json* found = find(object, key);
    return found == nullptr ? std::vector<std::string>() : found->get<std::vector<std::string>>();
}

Value parse_constant(const Json& json) {
    if (json.is_null()) return Value();
    if (json.is_boolean()) return Value(json.get<bool>());
    if (json.is_number_integer()) return Value(json.get<std::int64_t>());
    if (json.is_string()) return Value(json.get<std::string>());
    throw std::runtime_error("not a value: " + json.dump());
}

std::vector<Expression> parse_expressions(const Json& json);

Expression parse_expression(const Json& json) {
    Expression e;
    if (!json.is_object()) {
        e.constant = parse_constant(json);
    } else if (json.contains("var")) {
        e.kind = Expression::Kind::variable;
        e.name = text(json, "var");
    } else if (json.contains("counter")) {
        e.kind = Expression::Kind::counter;
        e.name = text(json, "counter");
    } else {
        e.kind = Expression::Kind::list;
        e.items = parse_expressions(json.at("list"));
    }
    return e;
}

std::vector<Expression> parse_expressions(const Json& json) {
    std::vector<Expression> expressions;
    for (const Json& item : json) expressions.push_back(parse_expression(item));
    return expressions;
}

std::vector<Expression> expressions(const Json& object, const char* key) {
    const Json* found = find(object, key);
    return found == nullptr ? std::vector<Expression>() : parse_expressions(*found);
}

std::optional<Expression> expression(const Json& object, const char* key) {
    const Json* found = find(object, key);
    if (found == nullptr) return std::nullopt;
    return parse_expression(*found);
}

Condition parse_condition(const Json& json) {
    Condition c;
    // The left side is `{"counter": NAME}` or `{"var": NAME}`, written beside the comparison.
    c.left = parse_expression(json);
    c.comparison = text(json, "cmp");
    c.right = parse_expression(json.at("value"));
    return c;
}

ExceptionSpec parse_exception(const Json& json) {
    ExceptionSpec spec;
    spec.type = text(json, "type");
    if (json.contains("msg")) spec.message = text(json, "msg");
    if (const Json* members = find(json, "of")) {
        for (const Json& member : *members) spec.members.push_back(parse_exception(member));
    }
    return spec;
}

struct AwaitableName {
    const char* key;
    Awaitable::Kind kind;
};

constexpr AwaitableName kAwaitables[] = {
    {"gather", Awaitable::Kind::gather},     {"shield", Awaitable::Kind::shield},
    {"body", Awaitable::Kind::body},         {"sleep", Awaitable::Kind::sleep},
    {"wait_for", Awaitable::Kind::wait_for}, {"acquire", Awaitable::Kind::acquire},
    {"ev_wait", Awaitable::Kind::ev_wait},   {"cond_wait", Awaitable::Kind::cond_wait},
    {"bar_wait", Awaitable::Kind::bar_wait}, {"get", Awaitable::Kind::get},
    {"put", Awaitable::Kind::put},           {"join", Awaitable::Kind::join},
};

Awaitable parse_awaitable(const Json& json);

void parse_operand(Awaitable& a, const Json& operand) {
    switch (a.kind) {
        case Awaitable::Kind::gather:
            for (const Json& item : operand) a.inner.push_back(parse_awaitable(item));
            return;
        case Awaitable::Kind::shield:
        case Awaitable::Kind::wait_for:
            a.inner.push_back(parse_awaitable(operand));
            return;
        case Awaitable::Kind::sleep:
            a.time = parse_ticks(operand);
            return;
        default:
            a.name = operand.get<std::string>();
    }
}

Awaitable parse_awaitable(const Json& json) {
    Awaitable a;
    if (json.is_string()) {
        a.name = a.label = json.get<std::string>();
        return a;
    }
    for (const AwaitableName& known : kAwaitables) {
        const Json* operand = find(json, known.key);
        if (operand == nullptr) continue;
        a.kind = known.kind;
        parse_operand(a, *operand);
        a.label = known.kind == Awaitable::Kind::body ? a.name : known.key;
        a.arguments = expressions(json, "args");
        if (const Json* value = find(json, "value")) a.value = parse_expression(*value);
        if (const Json* result = find(json, "result")) a.value = parse_expression(*result);
        if (a.kind == Awaitable::Kind::wait_for) a.time = ticks(json, "timeout");
        a.return_exceptions = flag(json, "return_exceptions");
        return a;
    }
    throw std::runtime_error("not an awaitable: " + json.dump());
}

std::vector<Awaitable> parse_on(const Json& op) {
    std::vector<Awaitable> awaitables;
    const Json* on = find(op, "on");
    if (on == nullptr) return awaitables;
    if (!on->is_array()) {
        awaitables.push_back(parse_awaitable(*on));
        return awaitables;
    }
    for (const Json& item : *on) awaitables.push_back(parse_awaitable(item));
    return awaitables;
}

void add_slots(const Awaitable& a, std::vector<std::string>& slots) {
    if (a.kind == Awaitable::Kind::body || a.kind == Awaitable::Kind::sleep) return;
    for (const Awaitable& inner : a.inner) add_slots(inner, slots);
    if (a.inner.empty() && a.kind != Awaitable::Kind::gather) slots.push_back(a.name);
}

// The slots that `op` reads, in the order in which they are checked.
std::vector<std::string> slots_of(const Op& op) {
    std::vector<std::string> slots;
    for (const std::string* field : {&op.group, &op.context, &op.token}) {
        if (!field->empty()) slots.push_back(*field);
    }
    for (const Awaitable& a : op.on) add_slots(a, slots);
    return slots;
}

Block parse_block(const Json& json);

std::optional<Block> optional_block(const Json& op, const char* key) {
    const Json* found = find(op, key);
    if (found == nullptr) return std::nullopt;
    return parse_block(*found);
}

void parse_blocks(Op& op, const Json& json) {
    if (const Json* body = find(json, "body")) {
        if (body->is_string()) {
            op.body_name = body->get<std::string>();
        } else {
            op.body = parse_block(*body);
        }
    }
    if (const Json* then = find(json, "then")) op.body = parse_block(*then);
    if (const Json* handlers = find(json, "except")) {
        for (const Json& h : *handlers) {
            Handler handler;
            handler.types = texts(h, "types");
            if (const Json* body = find(h, "body")) handler.body = parse_block(*body);
            op.handlers.push_back(std::move(handler));
        }
    }
    op.otherwise = optional_block(json, "else");
    op.cleanup = optional_block(json, "finally");
}

void parse_values(Op& op, const Json& json) {
    op.values = expressions(json, "values");
    op.arguments = expressions(json, "args");
    op.value = expression(json, "value");
    op.result = expression(json, "result");
    op.by = expression(json, "by");
    op.n = expression(json, "n");
    op.fallback = expression(json, "default");
    if (const Json* exc = find(json, "exc")) op.exc = parse_exception(*exc);
    if (const Json* cond = find(json, "cond")) op.cond = parse_condition(*cond);
}

bool yields(const Block& block) {
    return std::any_of(block.begin(), block.end(), [](const Op& op) { return op.yields; });
}

bool yields(const Op& op) {
    return op.op == "yield_value" || yields(op.body) || (op.otherwise && yields(*op.otherwise)) ||
           (op.cleanup && yields(*op.cleanup)) ||
           std::any_of(op.handlers.begin(), op.handlers.end(),
                       [](const Handler& h) { return yields(h.body); });
}

Op parse_op(const Json& json) {
    Op op;
    op.op = text(json, "op");
    op.on = parse_on(json);
    op.as = text(json, "as");
    op.context = text(json, "context");
    op.group = text(json, "group");
    op.token = text(json, "token");
    op.slots = slots_of(op);
    op.callback = text(json, "callback");
    op.var = text(json, "var");
    op.counter = text(json, "counter");
    op.name = text(json, "name");
    if (json.contains("msg")) op.msg = text(json, "msg");
    op.t = ticks(json, "t");
    op.timeout = ticks(json, "timeout");
    op.in = ticks(json, "in");
    if (json.contains("at")) op.at = ticks(json, "at");
    if (json.contains("return_when")) op.return_when = text(json, "return_when");
    op.async_mode = text(json, "mode") == "async";
    op.catches = flag(json, "catch");
    op.eager = flag(json, "eager");
    op.immediate = flag(json, "immediate");
    parse_values(op, json);
    parse_blocks(op, json);
    op.yields = yields(op);
    return op;
}

Block parse_block(const Json& json) {
    Block block;
    for (const Json& op : json) block.push_back(parse_op(op));
    return block;
}

Declaration parse_declaration(const std::string& name, const Json& json) {
    Declaration d;
    d.name = name;
    d.type = text(json, "type");
    for (const char* key : {"value", "parties", "maxsize"}) {
        if (json.contains(key)) d.number = json.at(key).get<std::int64_t>();
    }
    d.lock = text(json, "lock");
    if (const Json* fallback = find(json, "default")) d.fallback = parse_constant(*fallback);
    return d;
}

Scenario parse_scenario(const Json& json) {
    Scenario s;
    s.name = text(json, "name");
    s.eager = flag(json, "eager");
    if (const Json* objects = find(json, "objects")) {
        for (const auto& [name, spec] : objects->items()) {
            s.objects.push_back(parse_declaration(name, spec));
        }
    }
    if (const Json* counters = find(json, "counters")) {
        for (const auto& [name, start] : counters->items()) {
            s.counters[name] = start.get<std::int64_t>();
        }
    }
    for (const auto& [name, spec] : json.at("bodies").items()) {
        Body& body = s.bodies[name];
        body.name = name;
        body.params = texts(spec, "params");
        body.generator = flag(spec, "generator");
        body.ops = parse_block(spec.at("ops"));
    }
    if (const Json* callbacks = find(json, "callbacks")) {
        for (const auto& [name, spec] : callbacks->items()) {
            Callback& callback = s.callbacks[name];
            callback.name = name;
            if (const Json* ops = find(spec, "ops")) callback.ops = parse_block(*ops);
        }
    }
    return s;
}

}  // namespace

Scenario load_scenario(const std::string& path) {
    std::ifstream file(path);
    if (!file) throw std::runtime_error(path + ": cannot be opened");
    try {
        return parse_scenario(Json::parse(file));
    } catch (const std::exception& e) {
        throw std::runtime_error(path + ": " + e.what());
    }
}

}  // namespace conformance
