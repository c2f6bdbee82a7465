// Closures with captures that have a destructor.
#include "shapes.hpp"

template <class F>
Give<int> call(F function) {
    return Give<int>(function());
}
template <class F>
Give<int> call_reference(F&& function) {
    return Give<int>(function());
}
inline Give<int> call_function(std::function<int()> function) { return Give<int>(function()); }

Shape<> argument() {
    co_return co_await call([kept = Tracked(1)] { return kept.value(); });  // bad: lambda-beside-await
}
Shape<> argument_of_named() {
    Tracked named(1);
    co_return co_await call([named] { return named.value(); });  // bad: lambda-beside-await
}
Shape<> argument_moved_in() {
    Tracked named(1);
    co_return co_await call([kept = std::move(named)] { return kept.value(); });  // bad: lambda-beside-await
}
Shape<> argument_reference() {
    Tracked named(1);
    co_return co_await call_reference([named] { return named.value(); });  // bad: lambda-beside-await
}
Shape<> argument_function() {
    Tracked named(1);
    co_return co_await call_function([named] { return named.value(); });  // bad: lambda-beside-await
}
Shape<> argument_empty() {
    co_return co_await call([] { return 1; });
}
Shape<> argument_empty_function() {
    co_return co_await call_function([] { return 1; });
}
Shape<> argument_by_reference() {
    Tracked named(1);
    co_return co_await call([&] { return named.value(); });
}
Shape<> argument_number() {
    int named = 1;
    co_return co_await call([named] { return named; });
}
Shape<> called_at_once() {
    Tracked named(1);
    co_return co_await number([named] { return named.value(); }());  // bad: lambda-beside-await
}
Shape<> capture_of_await() {
    auto function = [kept = co_await tracked()] { return kept.value(); };  // bad: lambda-beside-await
    co_return function();
}
Shape<> capture_beside() {
    auto function = [kept = Tracked(1), other = co_await number()] { return kept.value() + other; };  // bad: lambda-beside-await
    co_return function();
}
Shape<> named_first() {
    auto function = [kept = Tracked(1)] { return kept.value(); };
    co_return co_await call(function);
}
Shape<> named_and_moved() {
    auto function = [kept = Tracked(1)] { return kept.value(); };
    co_return co_await call(std::move(function));
}
Shape<> named_function() {
    Tracked named(1);
    std::function<int()> function = [named] { return named.value(); };
    co_return co_await call_function(std::move(function));
}
Shape<> aggregate_inside_its_body() {
    co_return co_await call([] { return Pair{1, 2}.second; });
}
Shape<> await_inside_its_body() {
    Pair value{1, 2};
    auto function = []() -> Shape<> { co_return co_await number(); };
    co_return value.second + co_await function();
}
Shape<> await_inside_a_body_only() {
    std::vector<Pair> list;
    list.push_back(Pair{1, [] { auto inner = []() -> Shape<> { co_return co_await number(); }; inner().run(); return 1; }()});
    co_return co_await number();
}
