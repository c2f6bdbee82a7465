// This process's memory, where an address may be wrong.
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <cstddef>
#include <cstring>
#include <string>

#include "os/own_memory.hpp"

namespace {

using asyncio::detail::OwnMemoryReader;

class OwnMemory : public testing::TestWithParam<bool> {
  protected:
    OwnMemory() {
        if (GetParam()) reader_.refuse_call();
    }
    OwnMemoryReader reader_;
};

TEST_P(OwnMemory, IsCopied) {
    const std::string text = "some text";
    char copy[9];
    EXPECT_EQ(reader_.read(text.data(), copy, sizeof copy), sizeof copy);
    EXPECT_EQ(std::string(copy, sizeof copy), text);
}

TEST_P(OwnMemory, ThatIsNotThereIsNoCrash) {
    constexpr std::size_t kPage = 4096;
    void* const place =
        ::mmap(nullptr, 2 * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ASSERT_NE(place, MAP_FAILED);
    std::memset(place, 'x', kPage);
    ASSERT_EQ(::munmap(static_cast<char*>(place) + kPage, kPage), 0);
    char copy[2 * kPage];
    EXPECT_EQ(reader_.read(nullptr, copy, 1), 0u);
    EXPECT_EQ(reader_.read(static_cast<char*>(place) + kPage, copy, 1), 0u);
    EXPECT_EQ(reader_.read(place, copy, sizeof copy), kPage);
    EXPECT_EQ(copy[kPage - 1], 'x');
    ::munmap(place, kPage);
}

INSTANTIATE_TEST_SUITE_P(, OwnMemory, testing::Bool(),
                         [](const auto& p) { return p.param ? "ByTheFile" : "ByTheCall"; });

}  // namespace
