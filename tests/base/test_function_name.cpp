// function_name.hpp: each row is what g++ 12 or clang 19 put into a source_location.
#include "base/function_name.hpp"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <string_view>

namespace {

using asyncio::detail::function_name;
using asyncio::detail::is_of_library;

struct Row {
    std::string_view pretty;
    std::string_view name;
};

constexpr Row kRows[] = {
    // The body of a coroutine, by g++.
    {"void a::b::server::run(a::b::server::run(int)::_ZN1a1b6server3runEi.Frame*)", "run"},
    {"void Server::run(Server::run(int)::_ZN6Server3runEi.Frame*)", "Server::run"},
    {"void a::S::tmpl(a::S::tmpl<int>(int, std::function<void(int)>)::_ZN1a1S.Frame*)", "S::tmpl"},
    {"void {anonymous}::anon(anon(void (*)(int))::_ZN12_GLOBAL__N_14anonEPFviE.Frame*)", "anon"},
    {"void {anonymous}::Box::go()::Loc::in({anonymous}::Box::go()::Loc::in()::_ZZ.Frame*)",
     "Loc::in"},
    {"void {anonymous}::S::go()::L::in()::<lambda(int)>::operator()({anonymous}::S::go()::L::in()::"
     "<lambda(int)>::_ZZZN12.Frame*)",
     "<lambda>"},
    {"void<lambda(int)>::operator()(<lambda(int)>::_ZNKL4globMUliE_clEi.Frame*)", "<lambda>"},
    {"void M::<lambda(M*)>::operator()(M::<lambda(M*)>::_ZNK1M1fMUlPS_E_clES0_.Frame*)",
     "<lambda>"},
    {"void dt(dt<int>(int) requires  integral<T>::_Z2dtIi.Frame*)", "dt"},
    {"void dt(dt<int>(int) requires  "
     "integral<T>::_Z2dtIi.Frame*)::<lambda(auto:43)>::operator()(dt("
     "dt<int>(int) requires  integral<T>::_Z2.Frame*)::<lambda(auto:43)>::_ZZ2dt.Frame*)",
     "<lambda>"},
    {"void a::Box<std::vector<int>, 3>::In::get(a::Box<std::vector<int>, 3>::In::get()::_Z.Frame*)",
     "In::get"},
    {"Some_Test::TestBody()::<lambda()>", "<lambda>"},
    // Operators.
    {"void a::S::operator()(a::S::operator()(int)::_ZN1a1SclEi.Frame*)", "S::operator()"},
    {"void a::S::operator<(a::S::operator<(int)::_ZN1a1SltEi.Frame*)", "S::operator<"},
    {"void a::S::operator<<(a::S::operator<<(int)::_ZN1a1SlsEi.Frame*)", "S::operator<<"},
    {"void a::S::operator->*(a::S::operator->*<int>(int)::_ZN1a1S.Frame*)", "S::operator->*"},
    {"void a::S::operator<=(a::S::operator<=<int>(int)::_ZN1a1S.Frame*)", "S::operator<="},
    {"void a::S::operator,(a::S::operator,(int)::_ZN1a1ScmEi.Frame*)", "S::operator,"},
    {"void a::S::operator[](a::S::operator[](int)::_ZN1a1SixEi.Frame*)", "S::operator[]"},
    {"void a::operator\"\"_x(operator\"\"_x(long long unsigned int)::_ZN1a1.Frame*)",
     "operator\"\"_x"},
    {"void S::operator<(S::operator<(int)::_ZN1.Frame*)::<lambda()>::operator()(S::operator<(int)::"
     "<lambda()>::_Z.Frame*)",
     "<lambda>"},
    {"asyncio::Coroutine<> a::S::operator<=(T) [T = int]", "S::operator<="},
    {"asyncio::Coroutine<> a::operator\"\"_x(unsigned long long)", "operator\"\"_x"},
    {"bool a::operator< <int>(T) [with T = int]", "operator<"},
    {"void* a::S::operator new(std::size_t)", "S::operator new"},
    // Conversions.
    {"a::S::operator fp() const", "S::operator fp"},
    {"a::S::operator std::function<void(int)>()", "S::operator std::function<void(int)>"},
    {"fp a::S::operator void (*)(int)() const", "S::operator void (*)(int)"},
    {"a::S::operator void(a::S::operator asyncio::v1::Coroutine<int>()::_ZN1.Frame*)",
     "S::operator void"},
    {"asyncio::Coroutine<int> a::S::operator Coroutine()", "S::operator Coroutine"},
    // What returns a pointer to a function, or a reference to an array.
    {"void (* a::S::ret(int) const &)(char)", "S::ret"},
    {"static int (* (* a::S::ret2(int))(char))(long int)", "S::ret2"},
    {"static int (*(*a::S::ret2(int))(char))(long)", "S::ret2"},
    {"int a::S::* a::S::mem()", "S::mem"},
    {"int a::S::*a::S::mem()", "S::mem"},
    {"int (& a::S::arr())[3]", "S::arr"},
    {"int (&a::S::arr())[3]", "S::arr"},
    {"asyncio::Coroutine<void (*)(int)> (anonymous namespace)::anon(void (*)(int))", "anon"},
    // clang.
    {"asyncio::Coroutine<> a::b::server::run(int)", "run"},
    {"asyncio::Coroutine<T> a::S::tmpl(T, std::function<void (int)>) [T = int]", "S::tmpl"},
    {"asyncio::Coroutine<asyncio::Queue<T> *> a::Box<std::vector<int>, 3>::In::get() [T = "
     "std::vector<int>, N = 3]",
     "In::get"},
    {"asyncio::Coroutine<> (anonymous namespace)::Box::go()::Loc::in()", "Loc::in"},
    {"auto (anonymous namespace)::S::go()::L::in()::(anonymous class)::operator()(int) const",
     "<lambda>"},
    {"asyncio::Coroutine<decltype(T() + 1)> dt(T) [T = int]", "dt"},
    {"auto dt(int)::(anonymous class)::operator()(auto) const [x:auto = int]", "<lambda>"},
    {"auto (anonymous class)::operator()(int) const", "<lambda>"},
    {"auto M::(anonymous class)::operator()(M *) const", "<lambda>"},
    {"decltype(auto) da()", "da"},
    {"int main(int, char **)", "main"},
    {"app::Server::~Server()", "Server::~Server"},
    {"const unsigned long &f()", "f"},
    {"std::string f[abi:cxx11](int)", "f"},
    {"std::enable_if_t<(N > 3), int> f(X<(N < 3)>) [with int N = 4]", "f"},
    {"f(decltype (a->b)) [with T = S]::<lambda()>", "<lambda>"},
    {"f(T) requires  integral<T> [with T = int]::<lambda(auto:3)> [with auto:3 = int]", "<lambda>"},
    {"f(T) [with T = int]::Local::run()", "Local::run"},
    {"void f(T) requires  integral<T> [with T = int]", "f"},
};

TEST(FunctionName, IsWhatItsAuthorWrote) {
    for (const Row& row : kRows) EXPECT_EQ(function_name(row.pretty), row.name) << row.pretty;
}

TEST(FunctionName, TellsTheLibrarysFunctionsFromOthersThatUseIt) {
    for (const Row& row : kRows) EXPECT_FALSE(is_of_library(row.pretty)) << row.pretty;
    for (const std::string_view of_library :
         {"void asyncio::v1::detail::run_callable(asyncio::v1::detail::run_callable<int, "
          "main()::<lambda()> >(main()::<lambda()>)::_ZN.Frame*)",
          "Coroutine<R> asyncio::detail::run_callable(F) [R = int, F = (lambda at a.cpp:5:9)]",
          "asyncio::Coroutine<> asyncio::EventLoop::shutdown_asyncgens()",
          "auto asyncio::http::get(int)::(anonymous class)::operator()() const",
          "asyncio::Coroutine<> asyncio::(anonymous namespace)::f()"}) {
        EXPECT_TRUE(is_of_library(of_library)) << of_library;
    }
    EXPECT_FALSE(is_of_library("asyncio::Coroutine<> asyncio_app::run()"));
    EXPECT_FALSE(is_of_library("asyncio::Coroutine<> app::asyncio::run()"));
}

// Whatever a compiler writes: it ends, and stays within the text.
TEST(FunctionName, ReadsAnyText) {
    std::mt19937 random(20);  // NOLINT(cert-msc51-cpp): the same texts in each run
    constexpr std::string_view kPieces[] = {"operator",
                                            "::",
                                            "<",
                                            ">",
                                            "(",
                                            ")",
                                            "[",
                                            "]",
                                            "{",
                                            "}",
                                            " ",
                                            "*",
                                            "&",
                                            "->",
                                            "lambda",
                                            "'",
                                            "\"\"",
                                            "<lambda(",
                                            "(anonymous class)",
                                            "(anonymous namespace)",
                                            "a",
                                            "Bc",
                                            " [with T = ",
                                            "]",
                                            "decltype",
                                            ",",
                                            "~",
                                            " const",
                                            "-",
                                            "=",
                                            "\xc3\xa4",
                                            "asyncio"};
    for (int i = 0; i < 4'000; ++i) {
        std::string text;
        for (auto n = random() % 20; n > 0; --n) text += kPieces[random() % std::size(kPieces)];
        EXPECT_LE(function_name(text).size(), text.size() + sizeof "<lambda>::<lambda>") << text;
        is_of_library(text);
        const Row& row = kRows[random() % std::size(kRows)];
        text = row.pretty;
        text.erase(random() % text.size(), random() % 5);
        function_name(text);
        text.insert(random() % (text.size() + 1), kPieces[random() % std::size(kPieces)]);
        function_name(text);
        function_name(std::string_view(text).substr(0, random() % (text.size() + 1)));
    }
    EXPECT_EQ(function_name(std::string(100'000, '(')), "");
    EXPECT_EQ(function_name(std::string(100'000, '<')), std::string(100'000, '<'));
}

}  // namespace
