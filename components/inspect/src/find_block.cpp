// The note stands in a segment of notes, which the program headers name: they are in memory, also
// of a stripped program and of one whose file is gone. See elf(5).
#include "find_block.hpp"

#include <elf.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <string>

namespace asyncio {
inline namespace v1 {
namespace detail {
namespace reading {

namespace {

// The content of the note that leads to a block, in the notes from `at` on; 0 if there is none.
Address find_note(Memory& memory, Address at, std::uint64_t size) {
    const Address end = at + std::min<std::uint64_t>(size, 1 << 16);
    while (at + sizeof(Elf64_Nhdr) <= end) {
        const auto note = memory.get<Elf64_Nhdr>(at);
        if (!note) return 0;
        const Address name = at + sizeof *note;
        const Address content = name + (std::uint64_t{note->n_namesz} + 3) / 4 * 4;
        if (note->n_namesz == 8 && note->n_descsz == 8 && note->n_type == 1 &&
            memory.text(name, 8) == "asyncio") {
            return content;
        }
        at = content + (std::uint64_t{note->n_descsz} + 3) / 4 * 4;
    }
    return 0;
}

// The same for the program or library whose first page is mapped at `begin`.
Address find_in_image(Memory& memory, Address begin) {
    const auto head = memory.get<Elf64_Ehdr>(begin);
    if (!head || std::memcmp(head->e_ident, ELFMAG, SELFMAG) != 0 ||
        head->e_ident[EI_CLASS] != ELFCLASS64 || head->e_phentsize != sizeof(Elf64_Phdr)) {
        return 0;
    }
    std::optional<Address> base;
    for (int pass = 0; pass < 2; ++pass) {
        for (std::uint64_t i = 0; i < head->e_phnum; ++i) {
            const auto segment =
                memory.get<Elf64_Phdr>(begin + head->e_phoff + i * sizeof(Elf64_Phdr));
            if (!segment) return 0;
            if (pass == 0 && segment->p_type == PT_LOAD && segment->p_offset == 0) {
                base = begin - segment->p_vaddr;
            }
            // Others are aligned to 8, and laid out in another way.
            if (pass == 1 && segment->p_type == PT_NOTE && segment->p_align <= 4) {
                if (const Address found =
                        find_note(memory, *base + segment->p_vaddr, segment->p_memsz)) {
                    return found;
                }
            }
        }
        if (!base) return 0;
    }
    return 0;
}

std::string version_of(std::uint32_t library) {
    return std::to_string(library >> 16 & 0xff) + '.' + std::to_string(library >> 8 & 0xff) + '.' +
           std::to_string(library & 0xff);
}

std::optional<Block> read_block(Memory& memory, Address at) {
    Block block{};
    // What comes before the size is the same in all.
    constexpr std::size_t kHead = offsetof(Block, loops);
    if (!memory.read(at, &block, kHead) ||
        std::memcmp(block.magic, kDebugMagic, sizeof block.magic) != 0) {
        return std::nullopt;
    }
    if (block.format != kDebugFormat || block.pointer != sizeof(void*)) {
        throw Failure("the process uses libasyncio " + version_of(block.library) +
                      ", which lays out its loops in format " + std::to_string(block.format) +
                      "; this tool reads format " + std::to_string(kDebugFormat) +
                      ": use the one that came with that library");
    }
    const std::size_t size = std::min<std::size_t>(block.size, sizeof block);
    if (size < kHead || !memory.read(at, &block, size)) return std::nullopt;
    return block;
}

// Those of the programs and libraries that are mapped from files, or of what looks like one in
// other memory.
std::vector<Block> find_blocks_in(ProcessMemory& memory, bool files) {
    std::vector<Block> blocks;
    for (const Mapping& m : memory.mappings()) {
        const bool of_file = !m.file.empty() && m.file[0] != '[';
        if (m.offset != 0 || of_file != files) continue;
        const Address content = find_in_image(memory, m.begin);
        if (content == 0) continue;
        const auto distance = memory.get<std::int64_t>(content);
        if (!distance) continue;
        const auto block = read_block(memory, content + static_cast<Address>(*distance));
        if (block) blocks.push_back(*block);
    }
    return blocks;
}

}  // namespace

std::vector<Block> find_blocks(ProcessMemory& memory) {
    std::vector<Block> blocks = find_blocks_in(memory, true);
    // A program that was packed may stand in memory of no file. Of that there may be much, which a
    // sanitizer above all has.
    if (blocks.empty()) blocks = find_blocks_in(memory, false);
    if (blocks.empty()) {
        throw Failure(
            "the process has no libasyncio that can be looked into: it does not use it, or one "
            "before 0.2");
    }
    return blocks;
}

}  // namespace reading
}  // namespace detail
}  // namespace v1
}  // namespace asyncio
