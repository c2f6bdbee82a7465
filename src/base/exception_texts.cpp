// How errors read: as str(), repr() and the last line of a traceback, in Python's words.
#include <cxxabi.h>

#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <memory>

#include "asyncio/exceptions.hpp"
#include "base/exception_parts.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

namespace {

std::string demangled(const std::type_info& type) {
    int status = 0;
    std::unique_ptr<char, void (*)(void*)> name(
        abi::__cxa_demangle(type.name(), nullptr, nullptr, &status), std::free);
    return name ? name.get() : type.name();
}

// Removes the class templates that only add a cause to an error.
std::string without_nesting(std::string name) {
    constexpr std::string_view wrappers[] = {"asyncio::v1::detail::WithCause<",
                                             "std::_Nested_exception<", "std::__1::__nested<"};
    for (std::string_view wrapper : wrappers) {
        if (!std::string_view(name).starts_with(wrapper)) continue;
        name = name.substr(wrapper.size(), name.rfind('>') - wrapper.size());
    }
    while (name.ends_with(' ')) name.pop_back();
    return name;
}

// Removes namespaces and enclosing functions: what is before the last "::" outside of brackets.
std::string without_namespaces(const std::string& name) {
    int depth = 0;
    for (std::size_t i = name.size(); i-- > 1;) {
        char c = name[i];
        if (c == '>' || c == ')' || c == '}') ++depth;
        if (c == '<' || c == '(' || c == '{') --depth;
        if (depth == 0 && c == ':' && name[i - 1] == ':') return name.substr(i + 1);
    }
    return name;
}

std::string full_type_name(const std::exception_ptr& error) {
    return without_nesting(demangled(*thrown_type(error)));
}

}  // namespace

std::string text_of(const std::exception_ptr& error) {
    const char* what = nullptr;
    if (const auto* base = find<BaseException>(error)) {
        what = base->what();
    } else if (const auto* standard = find<std::exception>(error)) {
        what = standard->what();
    }
    if (!what || is_name(what)) return {};
    std::string text = what;
    // std::bad_alloc and its like have only their name to say.
    return text == full_type_name(error) ? std::string() : text;
}

namespace {

template <class... Number>
std::string first_number(const std::exception_ptr& error) {
    std::string text;
    auto take = [&](const auto* number) {
        if (number) text = std::to_string(*number);
        return number != nullptr;
    };
    (take(find<Number>(error)) || ...);
    return text;
}

// The value of what is no class of errors at all; empty for a type whose values are unknown.
std::string value_of(const std::exception_ptr& error) {
    if (const auto* text = find<std::string>(error)) return quoted(*text);
#ifdef __GLIBCXX__
    if (const void* text = find_exception(error, typeid(const char*))) {
        return quoted(static_cast<const char*>(text));
    }
#endif
    return first_number<int, unsigned, long, unsigned long, long long, unsigned long long>(error);
}

// What is nested more deeply than this is left out of texts.
constexpr std::size_t kDeepestShown = 100;

std::string describe_at(const std::exception_ptr& error, std::size_t depth);

std::string list_of(const std::vector<std::exception_ptr>& errors, std::size_t depth) {
    if (depth > kDeepestShown) return "[...]";
    std::string list;
    for (const std::exception_ptr& error : errors) {
        if (!list.empty()) list += ", ";
        list += describe_at(error, depth);
    }
    return "[" + list + "]";
}

// What stands between the brackets of the repr().
std::string arguments_of(const std::exception_ptr& error, std::size_t depth) {
    if (const auto* group = find<BaseExceptionGroup>(error)) {
        return quoted(group->message()) + ", " + list_of(group->exceptions(), depth + 1);
    }
    if (const auto* exit = find<SystemExit>(error); exit && !exit->has_text()) return exit->what();
    if (const auto* os = find<OSError>(error); os && os->has_number()) {
        return std::to_string(os->code().value()) + ", " + quoted(os->strerror());
    }
    std::string text = text_of(error);
    return text.empty() ? value_of(error) : quoted(text);
}

std::string describe_at(const std::exception_ptr& error, std::size_t depth) {
    if (!error) return "None";
    return type_name(error) + "(" + arguments_of(error, depth) + ")";
}

std::string escaped(char c) {
    if (c == '\n') return "\\n";
    if (c == '\r') return "\\r";
    if (c == '\t') return "\\t";
    char buffer[8];
    std::snprintf(buffer, sizeof buffer, "\\x%02x", static_cast<unsigned>(c));
    return buffer;
}

}  // namespace

std::string quoted(std::string_view text) {
    bool has_single = text.find('\'') != text.npos;
    bool has_double = text.find('"') != text.npos;
    const char quote = has_single && !has_double ? '"' : '\'';
    std::string out(1, quote);
    for (char c : text) {
        if (c == quote || c == '\\') out += '\\';
        // Where char has no sign, as on aarch64, and where it has one, bytes above are parts of a
        // character.
        const auto byte = static_cast<unsigned char>(c);
        const bool is_control = byte < 0x20 || byte == 0x7f;
        if (is_control) {
            out += escaped(c);
        } else {
            out += c;
        }
    }
    return out + quote;
}

std::string type_name(const std::exception_ptr& error) {
    if (!error) return "NoneType";
    if (holds<std::string>(error)) return "string";
    return without_namespaces(full_type_name(error));
}

std::string describe(const std::exception_ptr& error) { return describe_at(error, 0); }

std::string title_of(const std::exception_ptr& error) {
    if (!error) return "None";
    std::string text = text_of(error);
    if (text.empty()) text = value_of(error);
    // Python's str() of this one class is quoted.
    if (!text.empty() && holds<KeyError>(error)) text = quoted(text);
    return text.empty() ? type_name(error) : type_name(error) + ": " + text;
}

}  // namespace detail

}  // namespace v1
}  // namespace asyncio
