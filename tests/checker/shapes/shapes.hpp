// What the shapes are made of: an object that knows where it was made, aggregates with one, and a
// coroutine that runs to its end when it is called. Nothing of the library.
#pragma once

#include <array>
#include <coroutine>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "tracked.hpp"

using support::Tracked;

struct Pair {
    Tracked first;
    int second = 0;
};
struct Nested {
    Pair pair;
    int third = 0;
};
struct Derived : Tracked {
    int second = 0;
};
struct Plain {
    int first = 0;
    const char* second = nullptr;
};
struct Pointer {
    std::unique_ptr<int> value;
    int second = 0;
};
struct Classy {  // not an aggregate
    Classy(int first, int second) : first(first), second(second) {}
    Tracked first;
    int second;
};
template <class T>
struct Box {
    T value;
    int second = 0;
};

inline Pair make_pair_of(int first, int second) { return {first, second}; }
template <class T, class... Args>
T make(Args&&... args) {
    return T{std::forward<Args>(args)...};
}

// Gives its value when it is awaited, after one suspension.
template <class T>
class Give {
  public:
    template <class... Args>
    explicit Give(Args&&... args) : value_(std::forward<Args>(args)...) {}
    bool await_ready() { return false; }
    void await_suspend(std::coroutine_handle<>) {}
    T await_resume() { return std::move(value_); }

  private:
    T value_;
};

inline Give<int> number(int value = 1) { return Give<int>(value); }
inline Give<bool> yes() { return Give<bool>(true); }
inline Give<Tracked> tracked() { return Give<Tracked>(7); }
inline Give<Pair> pair() { return Give<Pair>(make_pair_of(1, 2)); }

// Callees that are awaited.
inline Give<int> take(Pair pair) { return Give<int>(pair.second); }
inline Give<int> take_reference(const Pair& pair) { return Give<int>(pair.second); }
inline Give<int> take_rvalue(Pair&& pair) { return Give<int>(pair.second); }
inline Give<int> take_plain(Plain plain) { return Give<int>(plain.first); }
inline Give<int> take_default(int value, const Pair& pair = {1, 2}) { return Give<int>(value + pair.second); }
inline Give<int> take_made_default(int value, const Pair& pair = make_pair_of(1, 2)) {
    return Give<int>(value + pair.second);
}
inline Give<int> take_pointer(Pointer pointer) { return Give<int>(pointer.second); }
template <class T>
Give<int> take_any(T&& value) {
    auto kept = std::forward<T>(value);
    static_cast<void>(kept);
    return Give<int>(1);
}
inline int plain_default(const Pair& pair = {1, 2}) { return pair.second; }
inline int use(const Pair& pair) { return pair.second; }
inline int use(const Pair& pair, int other) { return pair.second + other; }

template <class T = int>
class Shape {
  public:
    struct promise_type {
        Shape get_return_object() { return Shape(std::coroutine_handle<promise_type>::from_promise(*this)); }
        std::suspend_always initial_suspend() noexcept { return {}; }
        std::suspend_always final_suspend() noexcept { return {}; }
        void unhandled_exception() { std::terminate(); }
        template <class V = T>
        void return_value(V&& value) {
            result = std::make_unique<T>(std::forward<V>(value));
        }
        std::suspend_always yield_value(const T& value) {
            result = std::make_unique<T>(value);
            return {};
        }
        std::unique_ptr<T> result;
    };

    explicit Shape(std::coroutine_handle<promise_type> handle) : handle_(handle) {}
    Shape(Shape&& o) noexcept : handle_(std::exchange(o.handle_, {})) {}
    ~Shape() {
        if (handle_) handle_.destroy();
    }
    void run() {
        while (!handle_.done()) handle_.resume();
    }
    // To be awaited.
    bool await_ready() {
        run();
        return true;
    }
    void await_suspend(std::coroutine_handle<>) {}
    T await_resume() { return std::move(*handle_.promise().result); }

  private:
    std::coroutine_handle<promise_type> handle_;
};
