// What getaddrinfo(3) and getnameinfo(3) say went wrong.
#include <asyncio/exceptions.hpp>

#include <netdb.h>

#include "base/exception_parts.hpp"

namespace asyncio {
inline namespace v1 {

namespace {

class GaiCategory final : public std::error_category {
  public:
    const char* name() const noexcept override { return "getaddrinfo"; }
    std::string message(int number) const override { return ::gai_strerror(number); }
};

}  // namespace

const std::error_category& gai_category() noexcept {
    static const detail::Forever<GaiCategory> category;
    return *category;
}

gaierror::gaierror(const std::string& message)
    : OSError(std::error_code(EAI_NONAME, gai_category()), message) {}

gaierror::gaierror(int error_number, const std::string& text)
    : OSError(std::error_code(error_number, gai_category()),
              detail::numbered_text(error_number, text), text, {}) {}

const char* gaierror::what() const noexcept { return text_or(detail::error_name("gaierror")); }

}  // namespace v1
}  // namespace asyncio
