// The values that a scenario computes with, and how they are printed in a trace.
#pragma once

#include <concepts>
#include <cstdint>
#include <exception>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

namespace conformance {

// Null, a boolean, an integer, a string, a list of values, or an exception (an element of what a
// gather with return_exceptions gave).
class Value {
  public:
    using List = std::vector<Value>;

    Value() = default;
    Value(bool b) : data_(b) {}
    Value(std::int64_t n) : data_(n) {}
    Value(std::string s) : data_(std::move(s)) {}
    Value(List items) : data_(std::move(items)) {}
    Value(std::exception_ptr error) : data_(std::move(error)) {}

    bool is_null() const { return std::holds_alternative<std::monostate>(data_); }
    // Raises: std::bad_variant_access if it is not an integer.
    std::int64_t integer() const { return std::get<std::int64_t>(data_); }

    // As LANGUAGE section 3 prints it: `None`, `True`, `7`, `'text'`, `[1, 2]`, `ValueError('e')`.
    std::string show() const;

    // Equal values of one kind; integers are ordered by size, lists element by element, and values
    // of different kinds by kind, so that any mixture can be sorted.
    friend bool operator==(const Value& a, const Value& b);
    friend bool operator<(const Value& a, const Value& b);

  private:
    std::variant<std::monostate, bool, std::int64_t, std::string, List, std::exception_ptr> data_;
};

// `VALUE, VALUE, ...`
std::string show_list(const Value::List& values);

// What numbers and truth values of C++ become.
template <std::integral T>
Value to_value(T number) {
    if constexpr (std::is_same_v<T, bool>) {
        return Value(number);
    } else {
        return Value(static_cast<std::int64_t>(number));
    }
}

}  // namespace conformance
