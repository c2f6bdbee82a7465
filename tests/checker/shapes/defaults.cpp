// Default arguments are made where the call is.
#include "shapes.hpp"

Shape<> default_aggregate() { co_return co_await take_default(1); }  // bad: default-argument-beside-await
Shape<> default_of_a_function() { co_return co_await take_made_default(1); }
Shape<> default_beside() { co_return plain_default() + co_await number(); }  // bad: default-argument-beside-await
Shape<> default_without_await() {
    const int value = plain_default();
    co_return value + co_await number();
}
Shape<> default_given() {
    const Pair named{1, 2};
    co_return co_await take_default(1, named);
}
