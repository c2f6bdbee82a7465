// What the compilers call a function, and what its author calls it.
//
// g++ and clang write a declaration: a return type, the qualified name, parameters, and in the end
// what template parameters stand for. They agree on little else:
//
//   asyncio::Coroutine<T> app::f(T) [T = int]                clang, a template
//   void app::f(app::f<int>(int)::_ZN3app1fIiEE.Frame*)      g++, in the body of that coroutine
//   auto f()::(anonymous class)::operator()(int) const       clang, a lambda
//   void f()::<lambda(int)>::operator()(f()::...Frame*)      g++
//   void<lambda(int)>::operator()(<lambda(int)>::...Frame*)  g++, of a variable of a namespace
//   int (* app::f(int))(char)                                returns a pointer to a function
//   app::C::operator void (*)(int)() const                   converts to one
//
// So the text is read from the left. What is followed by a space, a `*` or a `&` was part of the
// return type; parameters that are followed by `::` were those of an enclosing function.
#include "base/function_name.hpp"

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <utility>

namespace asyncio {
inline namespace v1 {
namespace detail {

namespace {

bool is_word(char c) noexcept {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '$' || static_cast<unsigned char>(c) >= 0x80;
}

class Reader {
  public:
    explicit Reader(std::string_view pretty) : s_(without_arguments(pretty)) { read(); }

    // The outermost namespace or class, or the function itself.
    std::string_view first() const noexcept { return first_; }

    std::string name() const {
        if (is_lambda(last_) || (last_ == "operator()" && is_lambda(before_))) return "<lambda>";
        // A namespace is spelled in lower case here as nearly everywhere, a class is not.
        const bool of_class = !before_.empty() && before_[0] >= 'A' && before_[0] <= 'Z';
        std::string text;
        if (of_class) text.append(before_).append("::");
        return text.append(last_);
    }

  private:
    static bool is_lambda(std::string_view part) noexcept {
        return part.starts_with("<lambda") || part.starts_with("{lambda") ||
               part.starts_with("'lambda") || part.starts_with("(lambda") ||
               part == "(anonymous class)";
    }

    // Without ` [with T = int]` or ` [T = int]`.
    static std::string_view without_arguments(std::string_view s) noexcept {
        if (!s.ends_with(']')) return s;
        int depth = 0;
        for (std::size_t i = s.size(); i-- > 1;) {
            if (s[i] == ']') ++depth;
            if (s[i] == '[' && --depth == 0) return s[i - 1] == ' ' ? s.substr(0, i - 1) : s;
        }
        return s;
    }

    bool at(std::string_view text) const noexcept { return s_.substr(i_).starts_with(text); }
    bool at_operator() const noexcept {
        constexpr std::size_t kLength = 8;
        return at("operator") && (i_ == 0 || !is_word(s_[i_ - 1])) &&
               (i_ + kLength == s_.size() || !is_word(s_[i_ + kLength]));
    }

    void read() noexcept {
        while (i_ < s_.size() && step()) {
        }
        end_part();
    }

    // Reads a little more. Returns false at the end of the name.
    bool step() noexcept {
        if (at_operator()) return read_operator();
        switch (s_[i_]) {
            case ' ':
            case '*':
            case '&':
                forget();
                ++i_;
                return true;
            case ':':
                if (!at("::")) return skip(1);
                end_part();
                return skip(2);
            case '<':
                return read_angle();
            case '(':
                return read_parenthesis();
            case '{':
                return read_whole(after_brackets());
            case '\'':
                return read_whole(std::min(s_.find('\'', i_ + 1), s_.size() - 1) + 1);
            case '[':  // an ABI tag
                if (part_.empty()) return false;
                i_ = after_brackets();
                return true;
            case ')':
            case ',':
                return false;
            default:
                part_ = part_.empty() ? s_.substr(i_, 1) : s_.substr(begin(), i_ - begin() + 1);
                return skip(1);
        }
    }

    // Symbols, or a type. Its name keeps them.
    bool read_operator() noexcept {
        const std::size_t start = i_;
        skip_operator();
        const bool symbol = i_ > start + 8;
        if (!symbol) {
            while (i_ < s_.size() && s_[i_] != '(') {
                i_ = s_[i_] == '<' ? after_brackets() : i_ + 1;
            }
            // Of `(*)(int)()` only the last are its own parameters.
            while (i_ < s_.size()) {
                const std::size_t after = after_brackets();
                if (after >= s_.size() || s_[after] != '(') break;
                i_ = after;
            }
        }
        part_ = s_.substr(start, i_ - start);
        while (part_.ends_with(' ')) part_.remove_suffix(1);
        if (symbol && i_ < s_.size() && s_[i_] == ' ') ++i_;
        return true;
    }

    bool read_angle() noexcept {
        const std::size_t after = after_brackets();
        if (at("<lambda")) {
            // g++ leaves out the space before one that stands in a namespace.
            if (!part_.empty()) forget();
            return read_whole(after);
        }
        if (part_.empty()) return read_whole(after);
        i_ = after;  // template arguments
        return true;
    }

    bool read_parenthesis() noexcept {
        if (at("(anonymous") || at("(lambda") || at("(unnamed"))
            return read_whole(after_brackets());
        if (part_ == "decltype") {
            i_ = after_brackets();
            return true;
        }
        if (part_.empty()) return skip(1);  // `(* f(int))(char)`: the name is inside
        std::size_t after = after_brackets();
        for (const std::string_view word : {" const", " volatile", " &&", " &", " noexcept"}) {
            if (s_.substr(after).starts_with(word)) after += word.size();
        }
        if (s_.substr(after).starts_with(" requires ") || s_.substr(after).starts_with(" [with ")) {
            // g++, and then what is inside the function.
            const std::size_t with = s_.find(" [with ", after);
            if (with == s_.npos) return false;
            i_ = with + 1;
            after = after_brackets();
        }
        if (!s_.substr(after).starts_with("::")) return false;
        i_ = after;
        return true;
    }

    bool read_whole(std::size_t after) noexcept {
        part_ = s_.substr(i_, after - i_);
        i_ = after;
        return true;
    }

    bool skip(std::size_t n) noexcept {
        i_ += n;
        return true;
    }

    std::size_t begin() const noexcept {
        return static_cast<std::size_t>(part_.data() - s_.data());
    }

    void end_part() noexcept {
        if (part_.empty()) return;
        if (first_.empty()) first_ = part_;
        before_ = std::exchange(last_, std::exchange(part_, {}));
    }
    // It was the return type.
    void forget() noexcept { first_ = before_ = last_ = part_ = {}; }

    // From `operator` on; the symbols that follow, brackets included.
    void skip_operator() noexcept {
        i_ += 8;
        const std::string_view rest = s_.substr(i_);
        if (rest.starts_with("\"\"")) {
            i_ += std::min(rest.find('('), rest.size());
            return;
        }
        for (const std::string_view two : {"()", "[]"}) {
            if (rest.starts_with(two)) {
                i_ += 2;
                return;
            }
        }
        // `operator<<int>`: of the symbols as many as make an operator.
        for (const std::string_view symbols :
             {"<=>", "<<=", ">>=", "->*", "->", "<<", ">>", "<=", ">=", "==", "!=", "&&", "||",
              "++",  "--",  "+=",  "-=",  "*=", "/=", "%=", "^=", "&=", "|=", "<",  ">",  "=",
              "!",   "+",   "-",   "*",   "/",  "%",  "^",  "&",  "|",  "~",  ","}) {
            if (rest.starts_with(symbols)) {
                i_ += symbols.size();
                return;
            }
        }
    }

    // Where what the bracket here opens has ended.
    std::size_t after_brackets() noexcept {
        const std::size_t start = i_;
        // What is open: few are ever nested more deeply than there are bits.
        std::size_t depth = 0;
        std::size_t angles = 0;  // of the innermost that are open, how many are angles
        std::size_t outer[64] = {};
        for (; i_ < s_.size(); ++i_) {
            if (at_operator()) {
                skip_operator();
                if (i_ == s_.size()) break;
            }
            const char c = s_[i_];
            if (c == '-' && at("->")) {
                ++i_;
                continue;
            }
            if (c == '<') {
                // Within other brackets they come in pairs, or are signs of a comparison.
                if (depth == 0 || angles > 0) ++angles;
            } else if (c == '>') {
                if (angles > 0) --angles;
            } else if (c == '(' || c == '[' || c == '{') {
                if (depth == std::size(outer)) break;
                outer[depth++] = angles;
                angles = 0;
            } else if (c == ')' || c == ']' || c == '}') {
                if (depth == 0) break;
                angles = outer[--depth];
            }
            if (depth == 0 && angles == 0) {
                return std::exchange(i_, start) + 1;
            }
        }
        i_ = start;
        return s_.size();
    }

    std::string_view s_;
    std::size_t i_ = 0;
    std::string_view first_;
    std::string_view before_;
    std::string_view last_;
    std::string_view part_;
};

bool names_lambda(std::string_view s) {
    return s.find("<lambda(") != std::string_view::npos ||
           s.find("(anonymous class)") != std::string_view::npos ||
           s.find("(lambda") != std::string_view::npos ||
           s.find("'lambda") != std::string_view::npos;
}

}  // namespace

std::string function_name(std::string_view pretty) { return Reader(pretty).name(); }

bool is_of_library(std::string_view pretty) noexcept { return Reader(pretty).first() == "asyncio"; }

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
    if (names_lambda(type)) {
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

}  // namespace detail
}  // namespace v1
}  // namespace asyncio
