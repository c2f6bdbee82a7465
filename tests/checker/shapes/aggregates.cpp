// An aggregate that is made beside a co_await, or of one.
#include "shapes.hpp"

// Arguments of what is awaited.
Shape<> argument_braces() { co_return co_await take({1, 2}); }  // bad: aggregate-beside-await
Shape<> argument_named_type() { co_return co_await take(Pair{1, 2}); }  // bad: aggregate-beside-await
Shape<> argument_parentheses() { co_return co_await take(Pair(1, 2)); }  // bad: aggregate-beside-await
Shape<> argument_designated() { co_return co_await take({.first = 1}); }  // bad: aggregate-beside-await
Shape<> argument_empty_braces() { co_return co_await take(Pair{}); }  // bad: aggregate-beside-await
Shape<> argument_empty_parentheses() { co_return co_await take(Pair()); }
Shape<> argument_reference() { co_return co_await take_reference({1, 2}); }  // bad: aggregate-beside-await
Shape<> argument_rvalue() { co_return co_await take_rvalue({1, 2}); }  // bad: aggregate-beside-await
Shape<> argument_moved_temporary() { co_return co_await take(std::move(Pair{1, 2})); }  // bad: aggregate-beside-await
Shape<> argument_forwarded() { co_return co_await take_any(Pair{1, 2}); }  // bad: aggregate-beside-await
Shape<> argument_nested() { co_return co_await take_any(Nested{{1, 2}, 3}); }  // bad: aggregate-beside-await
Shape<> argument_derived() { co_return co_await take_any(Derived{1, 2}); }  // alarm: aggregate-beside-await
Shape<> argument_box() { co_return co_await take_any(Box<Tracked>{1, 2}); }  // bad: aggregate-beside-await
Shape<> argument_box_deduced() { co_return co_await take_any(Box{Tracked(1), 2}); }  // bad: aggregate-beside-await
Shape<> argument_array() { co_return co_await take_any(std::array<Tracked, 2>{1, 2}); }  // bad: aggregate-beside-await
Shape<> argument_of_named_member() {
    Tracked named(1);
    co_return co_await take_any(Pair{named, 2});  // bad: aggregate-beside-await
}
Shape<> argument_of_moved_member() {
    Tracked named(1);
    co_return co_await take_any(Pair{std::move(named), 2});  // bad: aggregate-beside-await
}
Shape<> argument_two() { co_return co_await take_any(1) + use(Pair{1, 2}, co_await number()); }  // bad: aggregate-beside-await
Shape<> argument_in_a_call_beside() { co_return use({1, 2}, co_await number()); }  // bad: aggregate-beside-await
Shape<> argument_after_a_comma() { co_return (co_await number(), use({1, 2})); }  // bad: aggregate-beside-await
Shape<> argument_of_a_method() {
    std::vector<Pair> list;
    list.push_back({co_await tracked(), 1});  // bad: aggregate-beside-await
    co_return 0;
}
Shape<> argument_of_a_method_parentheses() {
    std::vector<Pair> list;
    list.push_back(Pair(co_await tracked(), 1));  // bad: aggregate-beside-await
    co_return 0;
}
Shape<> argument_of_insert() {
    std::map<int, Pair> map;
    map.insert_or_assign(1, Pair{co_await tracked(), 1});  // bad: aggregate-beside-await
    co_return 0;
}
Shape<> argument_smart_pointer_made() {
    auto made = std::make_shared<Pair>(Pair{co_await tracked(), 1});  // bad: aggregate-beside-await
    co_return made->second;
}
Shape<> awaited_member() { co_return Pair{1, co_await number()}.second; }  // bad: aggregate-beside-await
Shape<> member_of_a_temporary() { co_return Pair{1, 2}.second + co_await number(); }  // bad: aggregate-beside-await

// Variables.
Shape<> variable_braces() {
    Pair value{1, co_await number()};  // bad: aggregate-beside-await
    co_return value.second;
}
Shape<> variable_of_await() {
    Pair value{co_await tracked(), 1};  // bad: aggregate-beside-await
    co_return value.second;
}
Shape<> variable_equals() {
    Pair value = {co_await tracked(), 1};  // bad: aggregate-beside-await
    co_return value.second;
}
Shape<> variable_equals_type() {
    auto value = Pair{co_await tracked(), 1};  // bad: aggregate-beside-await
    co_return value.second;
}
Shape<> variable_parentheses() {
    Pair value(co_await tracked(), 1);  // bad: aggregate-beside-await
    co_return value.second;
}
Shape<> variable_designated() {
    Pair value{.first = co_await tracked()};  // bad: aggregate-beside-await
    co_return value.second;
}
Shape<> variable_constant() {
    const Pair value{1, co_await number()};  // bad: aggregate-beside-await
    co_return value.second;
}
Shape<> variable_reference() {
    const Pair& value = Pair{co_await tracked(), 1};  // bad: aggregate-beside-await
    co_return value.second;
}
Shape<> variable_rvalue_reference() {
    Pair&& value = {co_await tracked(), 1};  // bad: aggregate-beside-await
    co_return value.second;
}
Shape<> variable_nested() {
    Nested value{{1, 2}, co_await number()};  // bad: aggregate-beside-await
    co_return value.third;
}
Shape<> variable_nested_of_a_call() {
    Nested value{make_pair_of(1, 2), co_await number()};  // bad: aggregate-beside-await
    co_return value.third;
}
Shape<> variable_derived() {
    Derived value{co_await tracked(), 1};  // bad: aggregate-beside-await
    co_return value.second;
}
Shape<> variable_array() {
    Pair values[2]{{1, co_await number()}, {2, 3}};  // bad: aggregate-beside-await
    co_return values[1].second;
}
Shape<> variable_array_of_class() {
    Tracked values[2]{co_await tracked(), 3};  // bad: aggregate-beside-await
    co_return values[1].value();
}
Shape<> variable_std_array() {
    std::array<Tracked, 2> values{co_await tracked(), 3};  // bad: aggregate-beside-await
    co_return values[1].value();
}
Shape<> variable_optional() {
    std::optional<Pair> value = Pair{co_await tracked(), 1};  // bad: aggregate-beside-await
    co_return value->second;
}
Shape<> variable_variant() {
    std::variant<int, Pair> value = Pair{co_await tracked(), 1};  // bad: aggregate-beside-await
    co_return static_cast<int>(value.index());
}
Shape<> variable_unique_pointer_member() {
    Pointer value{std::make_unique<int>(1), co_await number()};  // bad: aggregate-beside-await
    co_return value.second;
}
Shape<> variable_in_a_lambda() {
    auto inner = []() -> Shape<> {
        Pair value{co_await tracked(), 1};  // bad: aggregate-beside-await
        co_return value.second;
    };
    co_return co_await inner();
}
Shape<> variable_static_cast() {
    auto value = static_cast<Pair>(Pair{co_await tracked(), 1});  // bad: aggregate-beside-await
    co_return value.second;
}
Shape<> variable_of_tuple() {
    auto value = std::make_tuple(Pair{co_await tracked(), 1}, 2);  // bad: aggregate-beside-await
    co_return std::get<1>(value);
}

// Assignments.
Shape<> assigned_braces() {
    Pair value;
    value = {co_await tracked(), 1};  // bad: aggregate-beside-await
    co_return value.second;
}
Shape<> assigned_type() {
    Pair value;
    value = Pair{co_await tracked(), 1};  // bad: aggregate-beside-await
    co_return value.second;
}
Shape<> assigned_element() {
    std::map<int, Pair> map;
    map[1] = {co_await tracked(), 1};  // bad: aggregate-beside-await
    co_return map[1].second;
}
Shape<> assigned_at_an_awaited_place() {
    std::map<int, Pair> map;
    map[co_await number()] = {1, 2};  // bad: aggregate-beside-await
    co_return map[1].second;
}
Shape<> assigned_optional() {
    std::optional<Pair> value;
    value = Pair{co_await tracked(), 1};  // bad: aggregate-beside-await
    co_return value->second;
}

// new, throw, co_return, co_yield.
Shape<> new_braces() {
    const std::unique_ptr<Pair> value(new Pair{co_await tracked(), 1});  // bad: aggregate-beside-await
    co_return value->second;
}
Shape<> new_parentheses() {
    const std::unique_ptr<Pair> value(new Pair(co_await tracked(), 1));  // bad: aggregate-beside-await
    co_return value->second;
}
Shape<> new_beside() {
    co_return co_await take_any(std::unique_ptr<Pair>(new Pair{1, 2}));  // bad: aggregate-beside-await
}
Shape<> new_copy_beside() {
    Pair named{1, 2};
    co_return co_await take_any(std::unique_ptr<Pair>(new Pair{named}));  // missed
}
Shape<> thrown_braces() {
    try {
        throw Pair{co_await tracked(), 1};  // bad: throw-beside-await
    } catch (const Pair& error) {
        co_return error.second;
    }
}
Shape<> thrown_parentheses() {
    try {
        throw Pair(co_await tracked(), 1);  // bad: throw-beside-await
    } catch (const Pair& error) {
        co_return error.second;
    }
}
Shape<Pair> returned_type() { co_return Pair{co_await tracked(), 1}; }  // bad: aggregate-beside-await
Shape<Pair> returned_braces() { co_return {co_await tracked(), 1}; }  // bad: aggregate-beside-await
Shape<Pair> returned_parentheses() { co_return Pair(co_await tracked(), 1); }  // bad: aggregate-beside-await
Shape<Pair> returned_beside() { co_return Pair{1, co_await number()}; }  // bad: aggregate-beside-await
Shape<Pair> returned_variable() {
    Pair value{.first = co_await tracked()};  // bad: aggregate-beside-await
    co_return value;
}
Shape<Pair> yielded_type() {
    co_yield Pair{1, 2};  // bad: aggregate-beside-await
    co_return make_pair_of(1, 2);
}
Shape<Pair> yielded_braces() {
    co_yield {1, 2};  // bad: aggregate-beside-await
    co_return make_pair_of(1, 2);
}
Shape<Pair> yielded_of_await() {
    co_yield Pair{co_await tracked(), 2};  // bad: aggregate-beside-await
    co_return make_pair_of(1, 2);
}
