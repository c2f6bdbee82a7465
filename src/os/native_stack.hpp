// The machine stacks of this process's threads, and the names of what stands on them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace asyncio {
inline namespace v1 {
namespace detail {

// Where another thread of this process stands, the innermost call first: return addresses, those of
// the signal's own frames left out. Empty if it has ended, blocks the signal, or does not answer
// within a second; or if the program itself catches that signal, SIGRTMIN + 7. The thread is
// interrupted once: a call of the system in which it waits may return EINTR, as at any signal.
std::vector<void*> native_stack(std::int32_t thread);

// "hash_password(int)+56" of an address in a program or a library that is loaded; without a symbol
// "/usr/bin/program+0x1234". Names of functions that only one file knows come from the file's own
// table of symbols, if it was not stripped.
class SymbolNames {
  public:
    std::string of(void* address);

  private:
    struct Symbol {
        std::uint64_t begin;
        std::uint64_t size;
        std::string name;
    };
    struct Module {
        std::string file;
        std::vector<Symbol> symbols;  // by where they begin
    };
    const Module& module(const char* file);

    std::vector<Module> modules_;
};

}  // namespace detail
}  // namespace v1
}  // namespace asyncio
