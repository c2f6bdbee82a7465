// Conditions in coroutines that declare nothing.
#include "shapes.hpp"

Shape<> bare_if() {
    if (co_await yes()) co_return 1;  // bad: bare-condition
    co_return 0;
}
Shape<> bare_if_compares() {
    if (co_await number() == 1) co_return 1;  // bad: bare-condition
    co_return 0;
}
Shape<> bare_if_else() {
    if (co_await yes()) {  // bad: bare-condition
        co_return co_await number();
    } else {
        co_return 0;
    }
}
Shape<> bare_if_in_a_block() {
    {
        if (co_await yes()) co_return 1;  // bad: bare-condition
    }
    co_return 0;
}
Shape<> bare_if_constexpr() {
    if constexpr (sizeof(int) > 1) {
        if (co_await yes()) co_return 1;  // bad: bare-condition
    }
    co_return 0;
}
Shape<> bare_if_with_static_assert() {
    static_assert(sizeof(int) > 1);
    if (co_await yes()) co_return 1;  // bad: bare-condition
    co_return 0;
}
Shape<> bare_if_after_await() {
    co_await number();
    if (co_await yes()) co_return 1;  // bad: bare-condition
    co_return 0;
}
Shape<> bare_and() {
    if (co_await yes() && co_await yes()) co_return 1;  // bad: bare-condition
    co_return 0;
}
Shape<> bare_while() {
    while (co_await yes()) co_return 1;  // bad: bare-condition
    co_return 0;
}
Shape<> bare_do() {
    do {
    } while (!co_await yes());  // bad: bare-condition
    co_return 0;
}
Shape<> bare_for() {
    for (; !co_await yes();) {  // bad: bare-condition
    }
    co_return 0;
}
Shape<> bare_switch() {
    switch (co_await number()) {  // bad: bare-condition
    default:
        co_return 1;
    }
}
Shape<> bare_parameter(int value) {
    if (co_await yes()) co_return 1;  // bad: bare-condition
    co_return value;
}
Shape<> bare_with_a_parameter() { return bare_parameter(1); }  // wrong: what it calls
struct Holder {
    Shape<> method() {
        if (co_await yes()) co_return kept;  // bad: bare-condition
        co_return 0;
    }
    int kept = 1;
};
Shape<> bare_method() {  // wrong: what it calls
    Holder holder;
    co_return co_await holder.method();
}
template <class T>
Shape<> bare_template() {
    if (co_await yes()) co_return T(1);  // bad: bare-condition
    co_return 0;
}
Shape<> bare_of_template() { return bare_template<int>(); }  // wrong: what it calls

Shape<> with_a_variable() {
    int value = 0;
    if (co_await yes()) co_return 1;
    co_return value;
}
Shape<> with_a_variable_later() {
    if (co_await yes()) {
        int value = 1;
        co_return value;
    }
    co_return 0;
}
Shape<> with_a_variable_in_the_condition() {
    if (int value = co_await number()) co_return value;
    co_return 0;
}
Shape<> with_a_type() {
    using Number = int;
    if (co_await yes()) co_return Number(1);
    co_return 0;
}
Shape<> with_try() {
    try {
        if (co_await yes()) co_return 1;
    } catch (int) {
        throw;
    }
    co_return 0;
}
Shape<> with_awaits_in_the_branches_only() {
    if (Tracked(1).value() == 1) co_return co_await number();
    co_return 0;
}
Shape<> with_await_as_a_branch() {
    if (Tracked(1).value() == 1) co_await number();
    co_return 0;
}
Shape<> with_await_as_each_branch() {
    if (Tracked(1).value() == 1)
        co_await number();
    else
        co_await number();
    co_return 0;
}
Shape<> with_await_as_the_body() {
    for (; Tracked(1).value() != 1;) co_await number();
    while (Tracked(1).value() != 1) co_await number();
    co_return 0;
}
Shape<> with_no_condition() {
    co_await number();
    co_return co_await number();
}
Shape<> with_a_lambda() {
    auto body = []() -> Shape<> {
        if (co_await yes()) co_return 1;
        co_return 0;
    };
    co_return co_await body();
}
Shape<> with_a_choice() { co_return co_await yes() ? 1 : 0; }
