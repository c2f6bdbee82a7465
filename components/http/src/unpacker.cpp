#include "unpacker.hpp"

#include <new>
#include <ranges>

#include "malformed.hpp"
#include "text.hpp"

namespace asyncio {
inline namespace v1 {
namespace http::detail {

namespace {

// More than one is a rarity, and each multiplies what a byte can become by a thousand.
constexpr std::size_t kMostCodings = 2;
constexpr std::size_t kBlock = std::size_t{16} << 10;

// For inflateInit2().
constexpr int kWindow = 15;
constexpr int kGzip = 16;

}  // namespace

Unpacker::Unpacker(const std::vector<std::string_view>& codings) {
    std::vector<Coding> applied;
    for (const std::string_view value : codings) {
        for (const std::string_view name : split_list(value)) {
            if (name.empty() || same_name(name, "identity")) continue;
            if (same_name(name, "gzip") || same_name(name, "x-gzip")) {
                applied.push_back(Coding::kGzip);
            } else if (same_name(name, "deflate")) {
                applied.push_back(Coding::kDeflate);
            } else {
                throw Malformed("the body has the Content-Encoding " + shown(name) +
                                ", which was not asked for");
            }
        }
    }
    if (applied.size() > kMostCodings) {
        throw Malformed("the body has more than " + std::to_string(kMostCodings) +
                        " Content-Encodings");
    }
    // Named in the order in which they were applied.
    for (const auto& coding : std::views::reverse(applied)) {
        stages_.push_back(std::make_unique<Stage>(coding));
    }
}

void Unpacker::put(std::string_view packed) { stages_.front()->put(packed); }

std::size_t Unpacker::take(char* to, std::size_t size) {
    return plain() ? 0 : take_from(stages_.size() - 1, to, size);
}

std::size_t Unpacker::take_from(std::size_t stage, char* to, std::size_t size) {
    Stage& own = *stages_[stage];
    for (;;) {
        if (const std::size_t got = own.take(to, size)) return got;
        if (stage == 0) return 0;
        char block[kBlock];
        const std::size_t got = take_from(stage - 1, block, sizeof block);
        if (got == 0) return 0;
        own.put({block, got});
    }
}

void Unpacker::end() const {
    for (const auto& stage : stages_) {
        if (!stage->at_end()) throw Malformed("the compressed body is cut short");
    }
}

// ---- one coding --------------------------------------------------------------------------------

Unpacker::Stage::~Stage() {
    if (begun_) inflateEnd(&z_);
}

void Unpacker::Stage::put(std::string_view packed) {
    input_.erase(0, used_);
    used_ = 0;
    input_ += packed;
}

void Unpacker::Stage::begin() {
    int window = kWindow + kGzip;
    if (coding_ == Coding::kDeflate) {
        // RFC 9110, 8.4.1.2: in the format of zlib. Some servers leave that out. Its first byte is
        // 8 with the size of the window above; without it, it would be padding that is not 0.
        const auto first = static_cast<unsigned char>(input_[used_]);
        const bool has_format = (first & 0x0f) == Z_DEFLATED && first >> 4 <= 7;
        window = has_format ? kWindow : -kWindow;
    }
    if (inflateInit2(&z_, window) != Z_OK) throw std::bad_alloc();
    begun_ = true;
}

std::size_t Unpacker::Stage::take(char* to, std::size_t size) {
    if (!begun_) {
        if (empty()) return 0;
        begin();
    }
    std::size_t got = 0;
    while (got == 0) {
        if (ended_) {
            if (empty()) return 0;
            // A file of gzip may have many members (RFC 1952, 2.2); else this is the end.
            if (coding_ != Coding::kGzip) throw Malformed("bytes after the compressed body");
            inflateReset(&z_);
            ended_ = false;
        }
        const std::size_t in = input_.size() - used_;
        // Safe because zlib only reads its input, which is bytes, as what it writes is.
        z_.next_in = reinterpret_cast<Bytef*>(input_.data() + used_);
        z_.avail_in = static_cast<uInt>(in);
        z_.next_out = reinterpret_cast<Bytef*>(to);
        z_.avail_out = static_cast<uInt>(size);
        const int result = inflate(&z_, Z_NO_FLUSH);
        used_ += in - z_.avail_in;
        got = size - z_.avail_out;
        if (result == Z_STREAM_END) {
            ended_ = true;
        } else if (result == Z_BUF_ERROR) {
            return got;  // it needs more
        } else if (result == Z_MEM_ERROR) {
            throw std::bad_alloc();
        } else if (result != Z_OK) {
            throw Malformed(std::string("the compressed body is damaged: ") +
                            (z_.msg ? z_.msg : "it needs a dictionary"));
        }
    }
    return got;
}

}  // namespace http::detail
}  // namespace v1
}  // namespace asyncio
