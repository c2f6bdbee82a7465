// What is right everywhere, and must not be reported.
#include "shapes.hpp"

Shape<> named_and_moved() {
    Pair named{1, 2};
    co_return co_await take(std::move(named));
}
Shape<> named_and_copied() {
    Pair named{1, 2};
    co_return co_await take(named);
}
Shape<> copied_by_braces() {
    Pair named{1, 2};
    co_return co_await take(Pair{named});
}
Shape<> copied_by_parentheses() {
    Pair named{1, 2};
    co_return co_await take(Pair(named));
}
Shape<> made_by_a_function() { co_return co_await take(make_pair_of(1, 2)); }
Shape<> made_by_a_template() { co_return co_await take(make<Pair>(1, 2)); }
Shape<> made_of_await() { co_return co_await take(make<Pair>(co_await tracked(), 2)); }
Shape<> plain_braces() { co_return co_await take_plain({1, "text"}); }
Shape<> plain_of_await() { co_return co_await take_plain({co_await number(), "text"}); }
Shape<> plain_designated() { co_return co_await take_plain({.first = 1}); }
Shape<> class_with_constructor() { co_return co_await take_any(Classy{1, co_await number()}); }
Shape<> class_parentheses() { co_return co_await take_any(Classy(1, co_await number())); }
Shape<> class_variable() {
    Classy value{1, co_await number()};
    co_return value.second;
}
Shape<> standard_pair() { co_return co_await take_any(std::pair<Tracked, int>{1, co_await number()}); }
Shape<> standard_tuple() { co_return co_await take_any(std::tuple<Tracked, int>{1, co_await number()}); }
Shape<> standard_string() { co_return co_await take_any(std::string{"a text that is too long to be a short one"}); }
Shape<> standard_optional() { co_return co_await take_any(std::optional<Tracked>{1}); }
Shape<> emplaced() {
    std::vector<Pair> list;
    list.emplace_back(co_await tracked(), 1);
    co_return list[0].second;
}
Shape<> pushed_without_await() {
    std::vector<Pair> list;
    list.push_back({1, 2});
    co_return co_await number();
}
Shape<> assigned_without_await() {
    Pair value;
    value = {1, 2};
    co_return value.second + co_await number();
}
Shape<> variable_without_await() {
    Pair value{1, 2};
    Nested nested{{1, 2}, 3};
    co_return value.second + nested.third + co_await number();
}
Shape<> variable_of_an_awaited_pair() {
    Pair value = co_await pair();
    co_return value.second;
}
Shape<> variable_braces_of_an_awaited_pair() {
    Pair value{co_await pair()};
    co_return value.second;
}
Shape<> awaited_first() {
    auto first = co_await tracked();
    Pair value{std::move(first), 1};
    co_return value.second;
}
Shape<> binding() {
    auto [first, second] = co_await pair();
    co_return first.value() + second;
}
Shape<> number_arrays() {
    int values[2]{co_await number(), 2};
    co_return values[0];
}
Shape<> array_of_numbers() {
    std::array<int, 2> values{co_await number(), 2};
    co_return values[0];
}
Shape<> thrown_without_await() {
    try {
        throw Pair{1, 2};
    } catch (const Pair& error) {
        co_return error.second;
    }
}
Shape<Pair> returned_without_await() { co_return Pair{1, 2}; }
Shape<Pair> returned_braces_without_await() { co_return {1, 2}; }
Shape<Pair> returned_awaited() { co_return co_await pair(); }
Shape<> new_without_await() {
    const std::unique_ptr<Pair> value(new Pair{1, 2});
    co_return value->second + co_await number();
}
Shape<> reference_without_await() {
    const Pair& value = Pair{1, 2};
    co_return value.second + co_await number();
}
Shape<> default_member() {
    Nested value;
    co_return value.third + co_await number();
}
Shape<> empty_variable() {
    Pair value{};
    co_return value.second + co_await number();
}
Shape<> conditions_without_aggregate() {
    int turns = 0;
    while (co_await number() == 1) {
        if (++turns == 2 || (co_await yes() && co_await number() == 1)) co_return 1;
    }
    co_return 0;
}
