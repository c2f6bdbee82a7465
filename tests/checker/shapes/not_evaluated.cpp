// What is not evaluated is not made at all; in sizeof g++ 12 destroys it all the same.
#include "shapes.hpp"

Shape<> in_sizeof() { co_return static_cast<int>(sizeof(Pair{1, 2})) + co_await number(); }  // bad: aggregate-beside-await
Shape<> in_sizeof_of_a_call() { co_return static_cast<int>(sizeof(use({1, 2}))) + co_await number(); }  // bad: aggregate-beside-await
Shape<> in_sizeof_of_a_class() { co_return static_cast<int>(sizeof(Tracked(1))) + co_await number(); }
Shape<> in_sizeof_without_await() {
    int size = sizeof(Pair{1, 2});
    co_return size + co_await number();
}
Shape<> in_decltype() {
    decltype(Pair{1, 2}) value = make_pair_of(1, co_await number());
    co_return value.second;
}
Shape<> in_noexcept() { co_return noexcept(Pair{1, 2}) + co_await number(); }
Shape<> in_alignof() { co_return static_cast<int>(alignof(decltype(Pair{1, 2}))) + co_await number(); }
Shape<> in_requires() { co_return requires { Pair{1, 2}; } + co_await number(); }
Shape<> in_a_constant() {
    constexpr int kSize = sizeof(Pair{1, 2});
    co_return kSize + co_await number();
}
Shape<> in_if_constexpr() {
    if constexpr (sizeof(Pair{1, 2}) > 1) co_return co_await number();
    co_return 0;
}
