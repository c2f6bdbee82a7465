// core(5), elf(5).
#include "core.hpp"

#include <elf.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <map>

#include "find_block.hpp"
#include "inspect/reader.hpp"

namespace tool {

namespace {

// A file, mapped for as long as this lives.
class File {
  public:
    explicit File(const std::string& path) {
        const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
        if (fd < 0) throw Failure(path + ": " + std::strerror(errno));
        struct stat about{};
        void* all = MAP_FAILED;
        if (::fstat(fd, &about) == 0 && S_ISREG(about.st_mode) && about.st_size > 0) {
            size_ = static_cast<std::size_t>(about.st_size);
            all = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, fd, 0);
        }
        ::close(fd);
        if (all == MAP_FAILED) throw Failure(path + " is no file that can be read");
        bytes_ = static_cast<const char*>(all);
    }
    File(const File&) = delete;
    File& operator=(const File&) = delete;
    ~File() { ::munmap(const_cast<char*>(bytes_), size_); }

    std::size_t size() const { return size_; }
    // Null where [offset, offset + n) is not in the file.
    const char* at(std::uint64_t offset, std::uint64_t n) const {
        return offset <= size_ && n <= size_ - offset ? bytes_ + offset : nullptr;
    }
    template <class T>
    bool get(std::uint64_t offset, T& value) const {
        const char* const from = at(offset, sizeof value);
        if (from) std::memcpy(&value, from, sizeof value);
        return from != nullptr;
    }

  private:
    const char* bytes_ = nullptr;
    std::size_t size_ = 0;
};

class CoreMemory final : public ProcessMemory {
  public:
    CoreMemory(const std::string& path, std::string program)
        : path_(path), core_(path), program_(std::move(program)) {
        Elf64_Ehdr head;
        if (!core_.get(0, head) || std::memcmp(head.e_ident, ELFMAG, SELFMAG) != 0 ||
            head.e_ident[EI_CLASS] != ELFCLASS64 || head.e_type != ET_CORE) {
            throw Failure(path + " is no core file of a 64-bit program");
        }
        for (std::uint64_t i = 0; i < segments(head); ++i) {
            Elf64_Phdr segment;
            if (!core_.get(head.e_phoff + i * sizeof segment, segment)) {
                throw Failure(path + " is cut off");
            }
            if (segment.p_type == PT_LOAD) loads_.push_back(segment);
            if (segment.p_type == PT_NOTE) read_notes(segment);
        }
        std::sort(loads_.begin(), loads_.end(),
                  [](const auto& a, const auto& b) { return a.p_vaddr < b.p_vaddr; });
        if (mappings_.empty())
            throw Failure(path + " does not say which files the process had mapped");
    }

    const std::vector<Mapping>& mappings() const override { return mappings_; }

  private:
    // More than 65,534 of them are counted elsewhere.
    std::uint64_t segments(const Elf64_Ehdr& head) const {
        Elf64_Shdr section;
        if (head.e_phnum != PN_XNUM || !core_.get(head.e_shoff, section)) return head.e_phnum;
        return section.sh_info;
    }

    void read_notes(const Elf64_Phdr& segment) {
        std::uint64_t at = segment.p_offset;
        const std::uint64_t end = std::min<std::uint64_t>(
            core_.size(),
            segment.p_offset + std::min<std::uint64_t>(segment.p_filesz, core_.size()));
        Elf64_Nhdr note;
        while (at + sizeof note <= end && core_.get(at, note)) {
            const std::uint64_t name = at + sizeof note;
            const std::uint64_t content = name + (std::uint64_t{note.n_namesz} + 3) / 4 * 4;
            if (note.n_type == NT_FILE && note.n_namesz == 5) read_files(content, note.n_descsz);
            at = content + (std::uint64_t{note.n_descsz} + 3) / 4 * 4;
        }
    }

    // NT_FILE: how many, page size; then begin, end, page of each; then the names.
    void read_files(std::uint64_t at, std::uint64_t size) {
        std::uint64_t count = 0, page = 0;
        if (!core_.get(at, count) || !core_.get(at + 8, page) || count > size / 24) return;
        const char* names = core_.at(at + 16 + count * 24, 0);
        const char* const end = core_.at(at, size) ? core_.at(at, size) + size : names;
        for (std::uint64_t i = 0; i < count && names && names < end; ++i) {
            std::uint64_t range[3];
            if (!core_.get(at + 16 + i * 24, range)) return;
            const std::size_t length = ::strnlen(names, static_cast<std::size_t>(end - names));
            mappings_.push_back({range[0], range[1], range[2] * page, std::string(names, length)});
            names += length + 1;
        }
    }

    std::uint32_t fetch(Address address, char* to) override {
        std::uint32_t pages = 0;
        for (std::size_t i = 0; i < kPages; ++i) {
            if (copy_page(address + i * kPage, to + i * kPage)) pages |= 1u << i;
        }
        return pages;
    }

    // What was dumped; else what stands in the file that was mapped there. Never a mixture: a
    // dumped page may be changed, and one of the file is not.
    bool copy_page(Address address, char* to) {
        auto load = std::upper_bound(loads_.begin(), loads_.end(), address,
                                     [](Address a, const auto& s) { return a < s.p_vaddr; });
        if (load != loads_.begin()) {
            --load;
            const std::uint64_t in = address - load->p_vaddr;
            if (in + kPage <= load->p_filesz) {
                const char* const from = core_.at(load->p_offset + in, kPage);
                if (!from) return false;
                std::memcpy(to, from, kPage);
                return true;
            }
        }
        for (const Mapping& m : mappings_) {
            if (address < m.begin || address >= m.end) continue;
            return copy_from_file(m, address, to);
        }
        return false;
    }

    bool copy_from_file(const Mapping& m, Address address, char* to) {
        const File* const file = open(m.file);
        if (!file) return false;
        const std::uint64_t offset = m.offset + (address - m.begin);
        if (offset >= file->size()) return false;
        const std::size_t n = std::min<std::uint64_t>(kPage, file->size() - offset);
        std::memcpy(to, file->at(offset, n), n);
        std::memset(to + n, 0, kPage - n);
        return true;
    }

    const File* open(const std::string& name) {
        const auto known = files_.find(name);
        if (known != files_.end()) return known->second.get();
        // The program may have gone elsewhere meanwhile.
        const bool first = mappings_.front().file == name;
        std::unique_ptr<File>& file = files_[name];
        try {
            file = std::make_unique<File>(first && !program_.empty() ? program_ : name);
        } catch (const Failure& e) {
            if (first) {
                throw Failure(path_ + " needs the program that left it: " + e.what() +
                              " (name another one after the core file)");
            }
        }
        return file.get();
    }

    std::string path_;
    File core_;
    std::string program_;
    std::vector<Elf64_Phdr> loads_;
    std::vector<Mapping> mappings_;
    std::map<std::string, std::unique_ptr<File>> files_;
};

}  // namespace

std::unique_ptr<ProcessMemory> core_memory(const std::string& path, const std::string& program) {
    return std::make_unique<CoreMemory>(path, program);
}

Snapshot take_core(const std::string& path, const std::string& program) {
    const std::unique_ptr<ProcessMemory> memory = core_memory(path, program);
    Snapshot snapshot;
    for (const Block& block : find_blocks(*memory)) {
        snapshot.library = block.library;
        Reader(*memory, block, {}).read_loops(snapshot.loops);
    }
    return snapshot;
}

}  // namespace tool
