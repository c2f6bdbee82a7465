// Conditions and operands, which declare nothing.
#include "shapes.hpp"

Shape<> if_compares() {
    if (Pair{1, 2}.second == co_await number(2)) co_return 1;  // bad: aggregate-beside-await, bare-condition
    co_return 0;
}
Shape<> if_of_await() {
    if (Pair{co_await tracked(), 2}.second == 2) co_return 1;  // bad: aggregate-beside-await, bare-condition
    co_return 0;
}
Shape<> if_argument() {
    if (co_await take({1, 2})) co_return 1;  // bad: aggregate-beside-await, bare-condition
    co_return 0;
}
Shape<> if_declares() {
    if (const Pair value{co_await tracked(), 1}; value.second) co_return 1;  // bad: aggregate-beside-await
    co_return 0;
}
Shape<> while_compares() {
    int turns = 0;
    while (turns++ < 1 && Pair{co_await tracked(), 1}.second == 1) {  // bad: aggregate-beside-await
    }
    co_return turns;
}
Shape<> do_while() {
    int turns = 0;
    do {
    } while (use({1, 2}, co_await number()) == 3 && turns++ < 1);  // bad: aggregate-beside-await
    co_return turns;
}
Shape<> for_begins() {
    for (Pair value{co_await tracked(), 1}; value.second < 2; ++value.second) {  // bad: aggregate-beside-await
    }
    co_return 0;
}
Shape<> for_compares() {
    for (int i = 0; i < use({1, 2}, co_await number()); ++i) {  // bad: aggregate-beside-await
    }
    co_return 0;
}
Shape<> for_steps() {
    for (int i = 0; i < 2; i += use({1, 2}, co_await number())) {  // bad: aggregate-beside-await
    }
    co_return 0;
}
Shape<> for_range() {
    for (const int i : {use(Pair{1, 2}, co_await number())}) static_cast<void>(i);  // bad: aggregate-beside-await
    co_return 0;
}
Shape<> for_range_member() {
    int sum = 0;
    for (const Tracked& value : std::array<Tracked, 2>{co_await tracked(), 1}) sum += value.value();  // bad: aggregate-beside-await
    co_return sum;
}
Shape<> switch_of_await() {
    switch (Pair{co_await tracked(), 1}.second) {  // bad: aggregate-beside-await, bare-condition
    default:
        co_return 1;
    }
}
Shape<> and_right() { co_return co_await yes() && Pair{1, 2}.second; }  // bad: aggregate-beside-await
Shape<> and_left() { co_return Pair{1, 2}.second && co_await yes(); }  // bad: aggregate-beside-await
Shape<> or_right() { co_return !co_await yes() || Pair{1, 2}.second; }  // bad: aggregate-beside-await
Shape<> or_left() { co_return !Pair{1, 2}.second || co_await yes(); }  // bad: aggregate-beside-await
Shape<> choice_condition() {
    const Pair value = co_await yes() ? Pair{1, 2} : Pair{3, 4};  // bad: conditional-beside-await
    co_return value.second;
}
Shape<> choice_condition_of_class() {
    const Tracked value = co_await yes() ? Tracked(1) : Tracked(2);  // bad: conditional-beside-await
    co_return value.value();
}
Shape<> choice_branch() {
    bool first = true;
    const Pair value = first ? Pair{1, co_await number()} : Pair{3, 4};  // bad: conditional-beside-await
    co_return value.second;
}
Shape<> choice_awaits_class() {
    bool first = true;
    const Tracked value = first ? co_await tracked() : Tracked(2);  // bad: conditional-beside-await
    co_return value.value();
}
Shape<> choice_awaits_both() {
    bool first = true;
    const Tracked value = first ? co_await tracked() : co_await tracked();  // bad: conditional-beside-await
    co_return value.value();
}
Shape<> choice_named_or_made() {
    const Tracked named(1);
    const Tracked value = co_await yes() ? named : Tracked(2);  // bad: conditional-beside-await
    co_return value.value();
}
Shape<> choice_of_two_named() {
    const Tracked one(1), two(2);
    const Tracked value = co_await yes() ? one : two;
    co_return value.value();
}
Shape<> choice_of_numbers() { co_return co_await yes() ? 1 : co_await number(); }
Shape<> choice_beside() {
    bool first = true;
    co_return co_await take_any(first ? Tracked(1) : Tracked(2));  // bad: conditional-beside-await
}
Shape<> choice_in_a_call() {
    bool first = true;
    co_return use(make_pair_of(first ? 1 : 2, 3), co_await number());
}
Shape<> choice_without_await() {
    bool first = true;
    const Tracked value = first ? Tracked(1) : Tracked(2);
    co_return co_await number(value.value());
}
Shape<> choice_of_strings() {
    bool first = true;
    co_return co_await take_any(first ? std::string("a string that is too long to be short") : std::string());  // bad: conditional-beside-await
}
Shape<> choice_of_awaits() {
    bool first = true;
    co_return first ? co_await number(1) : co_await number(2);
}
Shape<> choice_of_pointers() {
    bool first = true;
    co_return co_await take_any(first ? std::make_unique<int>(1) : nullptr);  // bad: conditional-beside-await
}
