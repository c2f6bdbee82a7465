// The same in templates, methods, macros, blocks and loops.
#include "shapes.hpp"

#define TAKE(...) co_await take(__VA_ARGS__)
#define TWICE(x) ((x) + (x))

template <class T>
Shape<> of_template() {
    co_return co_await take_any(T{1, 2});  // bad: aggregate-beside-await
}
template <class T>
Shape<> of_template_named() {
    T value{1, co_await number()};
    co_return value.second;
}
Shape<> template_with_an_aggregate() { return of_template<Pair>(); }  // wrong: what it calls
Shape<> template_with_a_class() { return of_template<Classy>(); }
Shape<> template_of_numbers() { return of_template_named<Box<int>>(); }
template <class... Args>
Shape<> of_pack(Args... args) {
    co_return (co_await take_any(Pair{args, 1}) + ... + 0);  // bad: aggregate-beside-await
}
Shape<> fold() { return of_pack(1, 2); }  // wrong: what it calls

struct Object {
    Shape<> method() { co_return co_await take_any(Pair{kept, 1}); }  // bad: aggregate-beside-await
    static Shape<> function() { co_return co_await take(Pair{1, 2}); }  // bad: aggregate-beside-await
    Shape<> operator()(int) { co_return co_await take(Pair{1, 2}); }  // bad: aggregate-beside-await
    Tracked kept;
};
Shape<> of_method() {  // wrong: what it calls
    Object object;
    co_return co_await object.method();
}
Shape<> of_static_method() { return Object::function(); }  // wrong: what it calls
Shape<> of_call_operator() {  // wrong: what it calls
    Object object;
    co_return co_await object(1);
}
Shape<> in_a_macro() { co_return TAKE({1, 2}); }  // bad: aggregate-beside-await
Shape<> as_argument_of_a_macro() { co_return TWICE(co_await take({1, 2})); }  // bad: aggregate-beside-await
Shape<> in_a_block() {
    {
        if (true) {
            for (int i = 0; i < 1; ++i) co_await take({1, 2});  // bad: aggregate-beside-await
        }
    }
    co_return 0;
}
Shape<> in_a_try_block() try {
    co_return co_await take({1, 2});  // bad: aggregate-beside-await
} catch (int) {
    throw;
}
Shape<> in_a_statement_expression() {
    co_return __extension__({
        int value = co_await take({1, 2});  // bad: aggregate-beside-await
        value;
    });
}
Shape<> two_on_a_line() {
    std::vector<Pair> list;
    list.push_back({co_await tracked(), 1}); list.push_back({co_await tracked(), 2});  // bad: aggregate-beside-await
    co_return 0;
}
Shape<> over_several_lines() {
    co_return co_await take(
        {  // bad: aggregate-beside-await
            1,
            2,
        });
}
