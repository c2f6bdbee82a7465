// What is thrown beside a co_await.
#include "shapes.hpp"

#include <stdexcept>

Shape<> thrown_class() {
    try {
        throw Classy(1, co_await number());  // bad: throw-beside-await
    } catch (const Classy& error) {
        co_return error.second;
    }
}
Shape<> thrown_awaited() {
    try {
        throw co_await tracked();  // bad: throw-beside-await
    } catch (const Tracked& error) {
        co_return error.value();
    }
}
Shape<> thrown_made() {
    try {
        throw make<Classy>(1, co_await number());  // bad: throw-beside-await
    } catch (const Classy& error) {
        co_return error.second;
    }
}
Shape<> thrown_runtime_error() {
    try {
        throw std::runtime_error(co_await Give<std::string>("a text that is too long to be a short one"));  // bad: throw-beside-await
    } catch (const std::exception&) {
        co_return 1;
    }
}
Shape<> thrown_by_a_choice() {
    try {
        co_await yes() ? throw Tracked(1) : 0;  // bad: throw-beside-await
    } catch (const Tracked&) {
        co_return 1;
    }
    co_return 0;
}
Shape<> thrown_named() {
    try {
        Classy error(1, co_await number());
        throw error;
    } catch (const Classy& error) {
        co_return error.second;
    }
}
Shape<> thrown_number() {
    try {
        throw co_await number();
    } catch (int error) {
        co_return error;
    }
}
Shape<> thrown_after_a_condition() {
    try {
        if (co_await yes()) throw Tracked(1);
    } catch (const Tracked&) {
        co_return 1;
    }
    co_return 0;
}
