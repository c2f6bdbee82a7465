#include "asyncio/repr.hpp"

#include <cxxabi.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <memory>
#include <sstream>

#include "asyncio/exceptions.hpp"
#include "base/function_name.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

std::string repr_string(std::string_view text) { return quoted(text); }

std::string repr_error(const std::exception_ptr& error) { return describe(error); }

// The shortest digits that read back as the same number, with ".0" for a whole one.
std::string repr_double(double value) {
    if (std::isnan(value)) return "nan";
    if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
    char digits[40];
    const double size = std::fabs(value);
    const bool plain = size == 0 || (size >= 1e-4 && size < 1e16);
    const auto end =
        std::to_chars(digits, digits + sizeof digits, value,
                      plain ? std::chars_format::fixed : std::chars_format::scientific);
    std::string text(digits, end.ptr);
    if (plain && text.find('.') == std::string::npos) text += ".0";
    return text;
}

std::string repr_type(const std::type_info& type) {
    int status = 0;
    const std::unique_ptr<char, void (*)(void*)> name(
        abi::__cxa_demangle(type.name(), nullptr, nullptr, &status), std::free);
    std::string text = status == 0 ? name.get() : type.name();
    const std::size_t arguments = text.find('<');
    const std::size_t scope = text.rfind("::", arguments);
    return scope == std::string::npos ? text : text.substr(scope + 2);
}

std::string repr_streamed(void (*print)(std::ostream&, const void*), const void* object) {
    std::ostringstream out;
    print(out, object);
    return out.str();
}

namespace {

// Length of the bracketed part that starts at `i`, brackets of all kinds nested.
std::size_t skip_brackets(std::string_view s, std::size_t i) {
    int depth = 0;
    for (; i < s.size(); ++i) {
        if (s[i] == '<' || s[i] == '(' || s[i] == '[' || s[i] == '{') ++depth;
        if (s[i] == '>' || s[i] == ')' || s[i] == ']' || s[i] == '}') {
            if (--depth == 0) return i + 1;
        }
    }
    return s.size();
}

bool is_lambda(std::string_view s) {
    return s.find("<lambda(") != std::string_view::npos ||
           s.find("(anonymous class)") != std::string_view::npos ||
           s.find("(lambda") != std::string_view::npos ||
           s.find("'lambda") != std::string_view::npos;
}

}  // namespace

bool is_helper(std::string_view pretty) noexcept {
    // The two compilers write the inline namespace or leave it out.
    for (const char* name :
         {"asyncio::v1::detail::run_callable", "asyncio::detail::run_callable",
          "asyncio::v1::detail::await_in_frame", "asyncio::detail::await_in_frame"}) {
        if (pretty.find(name) != std::string_view::npos) return true;
    }
    return false;
}

Given given_to_helper(std::string_view pretty) {
    // Its last template argument: `[with R = int; F = f()::<lambda()>]`, `[R = int, F = f]`.
    const auto begins = pretty.rfind(" = ");
    if (begins == std::string_view::npos) return {"<callable>", {}};
    std::string_view type = pretty.substr(begins + 3);
    if (type.ends_with(']')) type.remove_suffix(1);
    if (is_lambda(type)) {
        Given given{"<lambda>", {}};
        constexpr std::string_view kAt = "(lambda at ";
        const auto at = type.find(kAt);
        if (at == std::string_view::npos) return given;
        std::string_view place = type.substr(at + kAt.size());
        place = place.substr(0, place.rfind(':'));  // without the column
        given.place = place;
        return given;
    }
    if (type.find("(*") != std::string_view::npos) return {"<function>", {}};
    const auto arguments = std::min(type.find('<'), type.size());
    const auto scope = type.rfind("::", arguments);
    const auto first = scope == std::string_view::npos ? 0 : scope + 2;
    return {std::string(type.substr(first, arguments - first)), {}};
}

std::string function_name(std::string_view pretty) {
    if (const auto with = pretty.find(" [with "); with != std::string_view::npos) {
        pretty = pretty.substr(0, with);
    }
    if (is_lambda(pretty) || pretty.ends_with("operator()")) return "<lambda>";
    // The name ends where the parameters begin: the first '(' outside of template arguments.
    std::size_t name = 0;
    std::size_t end = 0;
    while (end < pretty.size()) {
        const char c = pretty[end];
        if (c == '<') {
            end = skip_brackets(pretty, end);
        } else if (c == '(' && pretty.substr(end).starts_with("(anonymous namespace)")) {
            end += sizeof "(anonymous namespace)" - 1;
        } else if (c == '(') {
            break;
        } else {
            if (c == ' ' || c == '*' || c == '&') name = end + 1;
            ++end;
        }
    }
    std::string_view qualified = pretty.substr(name, end - name);
    // Keep the last two parts, without template arguments.
    std::string parts[2];
    for (std::size_t i = 0; i < qualified.size();) {
        if (qualified[i] == '<' || qualified[i] == '(' || qualified[i] == '{') {
            i = skip_brackets(qualified, i);
        } else if (qualified.substr(i).starts_with("::")) {
            parts[0] = std::exchange(parts[1], {});
            i += 2;
        } else {
            parts[1] += qualified[i++];
        }
    }
    // A namespace is spelled in lower case here as nearly everywhere, a class is not.
    const bool of_class = !parts[0].empty() && parts[0][0] >= 'A' && parts[0][0] <= 'Z';
    return of_class ? parts[0] + "::" + parts[1] : parts[1];
}

}  // namespace detail
}  // namespace v1
}  // namespace asyncio
