#include "errors.hpp"

#include <cxxabi.h>

#include <cstdlib>
#include <memory>
#include <stdexcept>
#include <typeinfo>
#include <vector>

namespace conformance {
namespace {

// Python's Exception itself; in C++ every std::exception is one.
class PlainException : public std::exception {
  public:
    explicit PlainException(std::string message) : message_(std::move(message)) {}
    const char* what() const noexcept override { return message_.c_str(); }

  private:
    std::string message_;
};

using Members = std::vector<std::exception_ptr>;  // of a group

struct ErrorClass {
    const char* name;
    bool (*matches)(const std::exception_ptr&);
    std::exception_ptr (*make)(const std::string& message, Members members);
};

template <class E>
bool holds(const std::exception_ptr& error) {
    try {
        std::rethrow_exception(error);
    } catch (const E&) {
        return true;
    } catch (...) {  // Only its type was asked for; the caller still has it.
        return false;
    }
}

bool holds_anything(const std::exception_ptr&) { return true; }

template <class E>
std::exception_ptr make_plain(const std::string& message, Members) {
    return std::make_exception_ptr(E(message));
}

std::exception_ptr make_group(const std::string& message, Members members) {
    return std::make_exception_ptr(asyncio::ExceptionGroup(message, std::move(members)));
}

template <class E>
constexpr ErrorClass plain(const char* name) {
    return {name, &holds<E>, &make_plain<E>};
}

// A class stands before its base class: the first that matches names an exception.
constexpr ErrorClass kClasses[] = {
    plain<BaseError>("BaseError"),
    plain<asyncio::CancelledError>("CancelledError"),
    plain<asyncio::GeneratorExit>("GeneratorExit"),
    plain<asyncio::SystemExit>("SystemExit"),
    plain<asyncio::KeyboardInterrupt>("KeyboardInterrupt"),
    {"ExceptionGroup", &holds<asyncio::ExceptionGroup>, &make_group},
    {"BaseExceptionGroup", &holds<asyncio::BaseExceptionGroup>, &asyncio::BaseExceptionGroup::make},
    plain<asyncio::BrokenBarrierError>("BrokenBarrierError"),
    plain<asyncio::RuntimeError>("RuntimeError"),
    plain<asyncio::ValueError>("ValueError"),
    plain<asyncio::TypeError>("TypeError"),
    plain<asyncio::KeyError>("KeyError"),
    plain<asyncio::LookupError>("LookupError"),
    plain<asyncio::TimeoutError>("TimeoutError"),
    plain<asyncio::StopAsyncIteration>("StopAsyncIteration"),
    plain<asyncio::InvalidStateError>("InvalidStateError"),
    plain<asyncio::QueueEmpty>("QueueEmpty"),
    plain<asyncio::QueueFull>("QueueFull"),
    plain<asyncio::QueueShutDown>("QueueShutDown"),
    {"Exception", &holds<std::exception>, &make_plain<PlainException>},
    {"BaseException", &holds_anything, &make_plain<asyncio::BaseException>},
};

const ErrorClass& class_named(const std::string& name) {
    for (const ErrorClass& c : kClasses) {
        if (name == c.name) return c;
    }
    throw std::runtime_error("unknown exception class " + name);
}

std::string type_name(const std::type_info& type) {
    int status = 0;
    const std::unique_ptr<char, void (*)(void*)> name(
        abi::__cxa_demangle(type.name(), nullptr, nullptr, &status), &std::free);
    return status == 0 ? name.get() : type.name();
}

// Scenarios' own messages have no spaces; texts that the library made do, and their wording is not
// part of a trace.
std::string show_message(const std::string& message) {
    return message.find(' ') == std::string::npos ? "'" + message + "'" : "...";
}

std::string class_name(const std::exception_ptr& error, const std::type_info& type) {
    for (const ErrorClass& c : kClasses) {
        if (!c.matches(error)) continue;
        const bool known =
            c.make != &make_plain<PlainException> && c.make != &make_plain<asyncio::BaseException>;
        const bool exact = type == typeid(PlainException) || type == typeid(asyncio::BaseException);
        return known || exact ? c.name : type_name(type);
    }
    return type_name(type);
}

std::string show_plain(const std::string& name, const std::string& message) {
    if (message.empty()) return name + "()";
    return name + "(" + show_message(message) + ")";
}

std::string show_group(const std::string& name, const asyncio::BaseExceptionGroup& group) {
    std::string members;
    for (const std::exception_ptr& member : group.exceptions()) {
        if (!members.empty()) members += ", ";
        members += show_error(member);
    }
    return name + "(" + show_message(std::string(group.message())) + ", [" + members + "])";
}

}  // namespace

std::exception_ptr make_error(const ExceptionSpec& spec) {
    Members members;
    for (const ExceptionSpec& member : spec.members) members.push_back(make_error(member));
    return class_named(spec.type).make(spec.message.value_or(""), std::move(members));
}

bool matches(const std::exception_ptr& error, const std::string& type) {
    return class_named(type).matches(error);
}

std::string show_error(const std::exception_ptr& error) {
    try {
        std::rethrow_exception(error);
    } catch (const asyncio::BaseExceptionGroup& e) {
        return show_group(class_name(error, typeid(e)), e);
    } catch (const asyncio::BaseException& e) {
        return show_plain(class_name(error, typeid(e)), asyncio::detail::text_of(error));
    } catch (const std::exception& e) {
        return show_plain(class_name(error, typeid(e)), asyncio::detail::text_of(error));
    }
}

}  // namespace conformance
