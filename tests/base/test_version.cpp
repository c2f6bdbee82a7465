#include <asyncio/version.hpp>

#include <gtest/gtest.h>

#include <string>

namespace {

TEST(Version, TheLibraryIsTheOneOfTheHeaders) {
    EXPECT_EQ(asyncio::version_number(), ASYNCIO_VERSION);
    EXPECT_EQ(asyncio::version(), std::to_string(ASYNCIO_VERSION_MAJOR) + "." +
                                      std::to_string(ASYNCIO_VERSION_MINOR) + "." +
                                      std::to_string(ASYNCIO_VERSION_PATCH));
}

}  // namespace
