// dlopen(3) and dl_iterate_phdr(3): which of a process's code and constants stay for good.
#include <dlfcn.h>
#include <link.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/traces.hpp"
#include "os/posix.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {
namespace {

// Safe because the number is only compared.
std::uintptr_t number_of(const void* p) noexcept { return reinterpret_cast<std::uintptr_t>(p); }

// The addresses of one program or library. Several threads may note the same.
struct Range {
    std::atomic<std::uintptr_t> begin{0};
    std::atomic<std::uintptr_t> size{0};

    bool has(std::uintptr_t p) const noexcept {
        return p - begin.load(std::memory_order_relaxed) < size.load(std::memory_order_relaxed);
    }
};
constinit Range program;
constinit Range own;

void note_range(Range& range, const dl_phdr_info& info) noexcept {
    std::uintptr_t begin = UINTPTR_MAX;
    std::uintptr_t end = 0;
    for (std::size_t i = 0; i < info.dlpi_phnum; ++i) {
        const auto& part = info.dlpi_phdr[i];
        if (part.p_type != PT_LOAD) continue;
        const std::uintptr_t first = info.dlpi_addr + part.p_vaddr;
        if (first < begin) begin = first;
        if (first + part.p_memsz > end) end = first + part.p_memsz;
    }
    if (begin >= end) return;
    range.begin.store(begin, std::memory_order_relaxed);
    range.size.store(end - begin, std::memory_order_relaxed);
}

// Called for each object that is loaded; the program is the first.
int note_object(dl_phdr_info* info, std::size_t, void* is_first) noexcept {
    bool& first = *static_cast<bool*>(is_first);
    if (first) note_range(program, *info);
    first = false;
    Range range;
    note_range(range, *info);
    if (!range.has(number_of(&own))) return 0;
    note_range(own, *info);
    return 1;
}

}  // namespace

bool traces_wanted() noexcept {
    const char* const wanted = environment_if_safe("ASYNCIO_TRACEBACK");
    return !wanted || std::string_view(wanted) != "0";
}

bool keep_loaded() noexcept {
    bool first = true;
    ::dl_iterate_phdr(note_object, &first);
    const std::uintptr_t here = number_of(&own);
    if (program.has(here)) return true;
    Dl_info info;
    void* map = nullptr;
    if (::dladdr1(&own, &info, &map, RTLD_DL_LINKMAP) == 0 || !map) return false;
    // A static copy in a plug-in, or a shared library that the program or a plug-in has loaded.
    // The handle is not given back: it would change nothing.
    return ::dlopen(static_cast<link_map*>(map)->l_name, RTLD_NOW | RTLD_NOLOAD | RTLD_NODELETE) !=
           nullptr;
}

bool stays_loaded(const void* p) noexcept {
    return program.has(number_of(p)) || own.has(number_of(p));
}

}  // namespace detail
}  // namespace v1
}  // namespace asyncio
