#include "values.hpp"

#include <algorithm>

#include "errors.hpp"

namespace conformance {
namespace {

template <class... F>
struct Overloaded : F... {
    using F::operator()...;
};
template <class... F>
Overloaded(F...) -> Overloaded<F...>;

}  // namespace

std::string show_list(const Value::List& values) {
    std::string text;
    for (const Value& value : values) {
        if (!text.empty()) text += ", ";
        text += value.show();
    }
    return text;
}

std::string Value::show() const {
    return std::visit(Overloaded{
                          [](std::monostate) { return std::string("None"); },
                          [](bool b) { return std::string(b ? "True" : "False"); },
                          [](std::int64_t n) { return std::to_string(n); },
                          [](const std::string& s) { return "'" + s + "'"; },
                          [](const List& items) { return "[" + show_list(items) + "]"; },
                          [](const std::exception_ptr& error) { return show_error(error); },
                      },
                      data_);
}

bool operator==(const Value& a, const Value& b) { return a.data_ == b.data_; }

bool operator<(const Value& a, const Value& b) {
    if (a.data_.index() != b.data_.index()) return a.data_.index() < b.data_.index();
    if (const auto* n = std::get_if<std::int64_t>(&a.data_)) return *n < b.integer();
    if (const auto* s = std::get_if<std::string>(&a.data_))
        return *s < std::get<std::string>(b.data_);
    if (const auto* flag = std::get_if<bool>(&a.data_)) return *flag < std::get<bool>(b.data_);
    if (const auto* items = std::get_if<Value::List>(&a.data_)) {
        const auto& others = std::get<Value::List>(b.data_);
        return std::lexicographical_compare(items->begin(), items->end(), others.begin(),
                                            others.end());
    }
    return false;
}

}  // namespace conformance
