// A lambda that is called where it is written, and not awaited there. (What the coroutine reads is
// gone on every compiler; no count of objects shows it.)
#include "shapes.hpp"

inline int keep(Shape<>) { return 1; }

Shape<> called_and_kept() {
    int value = 1;
    auto shape = [value]() -> Shape<> { co_return value; }();  // bad here: lambda-dies-first
    co_return static_cast<int>(sizeof(shape));
}
Shape<> called_and_given_away() {
    int value = 1;
    const int kept = keep([value]() -> Shape<> { co_return value; }());  // bad here: lambda-dies-first
    co_return kept;
}
int in_a_function() {
    int value = 1;
    return keep([&]() -> Shape<> { co_return value; }());  // bad here: lambda-dies-first
}
Shape<> called_by_a_function() { co_return in_a_function(); }
Shape<> called_and_awaited() {
    int value = 1;
    co_return co_await [value]() -> Shape<> { co_return value; }();
}
Shape<> called_without_captures() {
    auto shape = []() -> Shape<> { co_return 1; }();
    co_return co_await shape;
}
Shape<> called_without_a_coroutine() {
    int value = 1;
    co_return [value] { return value; }();
}
Shape<> named_and_called() {
    int value = 1;
    auto lambda = [value]() -> Shape<> { co_return value; };
    auto shape = lambda();
    co_return co_await shape;
}
