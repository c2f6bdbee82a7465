// How values, futures and tasks print: as Python's repr() does.
#pragma once

#include <concepts>
#include <exception>
#include <iosfwd>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <typeinfo>
#include <vector>

#include "asyncio/detail/config.hpp"
#include "asyncio/result.hpp"

namespace asyncio {
inline namespace v1 {

class AnyFuture;

namespace detail {

ASYNCIO_API std::string repr_string(std::string_view text);
ASYNCIO_API std::string repr_double(double value);
ASYNCIO_API std::string repr_error(const std::exception_ptr& error);
ASYNCIO_API std::string repr_future(const AnyFuture& future);
// The name of a type without its namespaces.
ASYNCIO_API std::string repr_type(const std::type_info& type);
// What `print(out, object)` writes.
ASYNCIO_API std::string repr_streamed(void (*print)(std::ostream&, const void*),
                                      const void* object);

template <class T>
concept Streamable = requires(std::ostream& out, const T& v) { out << v; };

template <class T>
concept ReprRange = requires(const T& r) {
    r.begin();
    r.end();
    r.size();
};

template <class T>
concept ReprMap = ReprRange<T> && requires { typename T::mapped_type; };

template <class T>
concept ReprSet = ReprRange<T> && requires { typename T::key_type; } && !ReprMap<T>;

template <class T>
concept HasRepr = requires(const T& v) {
    { v.repr() } -> std::convertible_to<std::string>;
};

// Types whose only value is None to Python.
template <class T>
struct IsNone : std::bool_constant<std::is_same_v<T, Unit> || std::is_same_v<T, std::nullptr_t> ||
                                   std::is_same_v<T, std::nullopt_t>> {};
template <class T>
struct IsResult : std::false_type {};
template <class T>
struct IsResult<Result<T>> : std::true_type {};
template <class T>
struct IsOptional : std::false_type {};
template <class T>
struct IsOptional<std::optional<T>> : std::true_type {};
template <class T>
struct IsTuple : std::false_type {};
template <class... T>
struct IsTuple<std::tuple<T...>> : std::true_type {};
template <class A, class B>
struct IsTuple<std::pair<A, B>> : std::true_type {};

template <class T>
std::string repr_value(const T& v);

template <class T>
std::string repr_range(const T& range, char open, char close) {
    std::string text(1, open);
    bool first = true;
    for (const auto& item : range) {
        if (!first) text += ", ";
        first = false;
        using Item = typename std::remove_cvref_t<T>::value_type;
        text += repr_value<Item>(item);
    }
    return text + close;
}

template <class T>
std::string repr_map(const T& map) {
    std::string text = "{";
    bool first = true;
    for (const auto& [key, value] : map) {
        if (!first) text += ", ";
        first = false;
        text += repr_value(key) + ": " + repr_value(value);
    }
    return text + "}";
}

template <class T>
std::string repr_tuple(const T& tuple) {
    std::string text = "(";
    std::apply(
        [&](const auto&... item) {
            std::size_t n = 0;
            ((text += (n++ ? ", " : "") + repr_value(item)), ...);
            if (n == 1) text += ',';
        },
        tuple);
    return text + ")";
}

template <class T>
std::string repr_value(const T& v) {
    using V = std::remove_cvref_t<T>;
    if constexpr (std::is_same_v<V, bool>) {
        return v ? "True" : "False";
    } else if constexpr (std::is_same_v<V, char>) {
        return repr_string(std::string_view(&v, 1));
    } else if constexpr (std::is_integral_v<V>) {
        return std::to_string(v);
    } else if constexpr (std::is_floating_point_v<V>) {
        return repr_double(static_cast<double>(v));
    } else if constexpr (IsNone<V>::value) {
        return "None";
    } else if constexpr (std::is_same_v<V, std::exception_ptr>) {
        return v ? repr_error(v) : "None";
    } else if constexpr (std::is_convertible_v<const V&, std::string_view>) {
        if constexpr (std::is_pointer_v<V>) {
            if (v == nullptr) return "None";
        }
        return repr_string(v);
    } else if constexpr (std::is_base_of_v<AnyFuture, V>) {
        return repr_future(v);
    } else if constexpr (HasRepr<V>) {
        return v.repr();
    } else if constexpr (IsOptional<V>::value) {
        return v ? repr_value(*v) : "None";
    } else if constexpr (IsResult<V>::value) {
        if (!v.has_value()) return repr_error(v.error());
        if constexpr (std::is_void_v<decltype(v.value())>) {
            return "None";
        } else {
            return repr_value(v.value());
        }
    } else if constexpr (IsTuple<V>::value) {
        return repr_tuple(v);
    } else if constexpr (ReprMap<V>) {
        return repr_map(v);
    } else if constexpr (ReprRange<V>) {
        using Item = std::remove_cvref_t<typename V::value_type>;
        if constexpr (std::is_base_of_v<AnyFuture, Item> || ReprSet<V>) {
            return v.size() == 0 ? "set()" : repr_range(v, '{', '}');
        } else {
            return repr_range(v, '[', ']');
        }
    } else if constexpr (Streamable<V>) {
        return repr_streamed(
            [](std::ostream& out, const void* p) { out << *static_cast<const V*>(p); },
            std::addressof(v));
    } else {
        return '<' + repr_type(typeid(V)) + " object>";
    }
}

}  // namespace detail

// `x` as Python's repr() prints it: `<Task finished name='n1' coro=<func() done, defined at
// file.cpp:12> result='Return value'>`, strings in single quotes, True, None; ranges of futures as
// sets (`set()` if empty), else operator<<, else the type's name. T-13, F-15.
template <class T>
std::string repr(const T& x) {
    return detail::repr_value(x);
}

}  // namespace v1
}  // namespace asyncio
