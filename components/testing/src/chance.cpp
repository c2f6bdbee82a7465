#include "chance.hpp"

#include <new>
#include <utility>

#include "asyncio/testing.hpp"

namespace asyncio {
inline namespace v1 {
namespace testing {

namespace {

thread_local Chance* current_chance = nullptr;

constexpr double kActive = 0.25;  // of the places, in a run

// FNV-1a: the same in every process, whatever the compiler.
std::uint64_t hash_of(const std::source_location& where) noexcept {
    std::uint64_t hash = 0xcbf29ce484222325;
    for (const char* c = where.file_name(); *c; ++c) {
        hash = (hash ^ static_cast<unsigned char>(*c)) * 0x100000001b3;
    }
    return (hash ^ where.line()) * 0x100000001b3 ^ where.column();
}

}  // namespace

Chance::Chance(std::uint64_t seed, Happenings* happenings) noexcept
    : numbers_(seed), happenings_(happenings), outer_(std::exchange(current_chance, this)) {}

Chance::~Chance() { current_chance = outer_; }

Chance* Chance::current() noexcept { return current_chance; }

bool Chance::buggify(double probability, const std::source_location& where) {
    const auto [place, is_new] = active_.try_emplace(hash_of(where), false);
    if (is_new) place->second = numbers_.part() < kActive;
    return place->second && numbers_.part() < probability;
}

void Chance::happened(std::string_view name, bool is) {
    if (!happenings_) return;
    const auto found = happenings_->find(name);
    if (found == happenings_->end()) {
        happenings_->emplace(name, is);
    } else {
        found->second = found->second || is;
    }
}

std::uint64_t random() noexcept {
    Chance* const chance = Chance::current();
    return chance ? chance->numbers().next() : 0;
}

bool buggify(double probability, std::source_location where) noexcept {
    Chance* const chance = Chance::current();
    if (!chance) return false;
    try {
        return chance->buggify(probability, where);
    } catch (const std::bad_alloc&) {
        return false;  // as in a program that is not tested
    }
}

void sometimes(std::string_view name, bool happened) {
    if (Chance* const chance = Chance::current()) chance->happened(name, happened);
}

}  // namespace testing
}  // namespace v1
}  // namespace asyncio
