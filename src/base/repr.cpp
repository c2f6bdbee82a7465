#include "asyncio/repr.hpp"

#include <cxxabi.h>

#include <charconv>
#include <cmath>
#include <cstdlib>
#include <memory>
#include <sstream>

#include "asyncio/exceptions.hpp"

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

}  // namespace detail
}  // namespace v1
}  // namespace asyncio
