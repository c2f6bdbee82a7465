// The file names of examples/download_pictures: whatever the URL, a name stays in its folder.
#include "../examples/download_names.hpp"

#include <gtest/gtest.h>

#include <filesystem>
#include <random>
#include <string>

namespace {

using download::file_name_of;
using download::kLongestName;

TEST(DownloadNames, AreTheLastPartOfThePath) {
    EXPECT_EQ(file_name_of("http://host/a/b/cat.png"), "cat.png");
    EXPECT_EQ(file_name_of("http://host/cat.png?size=2/3#x/y"), "cat.png");
    EXPECT_EQ(file_name_of("http://host/two%20words%C3%A9.png"), "two words\xC3\xA9.png");
}

TEST(DownloadNames, AreNeverEmpty) {
    for (const char* url : {"", "/", "http://host", "http://host/", "http://host/?a=b", "http://",
                            "http://host/a/", "http://host/%20", "http://host/...", "#"}) {
        EXPECT_EQ(file_name_of(url), "picture") << url;
    }
}

TEST(DownloadNames, NeverClimbOutOfTheFolder) {
    EXPECT_EQ(file_name_of("http://host/.."), "picture");
    EXPECT_EQ(file_name_of("http://host/."), "picture");
    EXPECT_EQ(file_name_of("http://host/%2e%2e"), "picture");
    EXPECT_EQ(file_name_of("http://host/%2e%2e%2f%2e%2e%2fetc%2fpasswd"), "_._.._etc_passwd");
    EXPECT_EQ(file_name_of("http://host/..%5C..%5Cx"), "_._.._x");
    EXPECT_EQ(file_name_of("http://host/%2Fetc%2Fpasswd"), "_etc_passwd");
    // Decoded once only.
    EXPECT_EQ(file_name_of("http://host/%252e%252e%252f"), "%2e%2e%2f");
    EXPECT_EQ(file_name_of("http://host/C:x"), "C_x");
}

TEST(DownloadNames, HideNothingAndAreNoOptions) {
    EXPECT_EQ(file_name_of("http://host/.bashrc"), "_bashrc");
    EXPECT_EQ(file_name_of("http://host/-rf"), "_rf");
}

TEST(DownloadNames, HaveNoControlCharacters) {
    EXPECT_EQ(file_name_of("http://host/a%00b%1B%5B31m%0A%0D%7F.png"), "a_b_[31m___.png");
    EXPECT_EQ(file_name_of("http://host/a%C2%9B31m.png"), "a__31m.png");
    EXPECT_EQ(file_name_of("http://host/%C3%9B.png"), "\xC3\x9B.png");
}

TEST(DownloadNames, AreCutWhereTheyAreTooLong) {
    const std::string cut = file_name_of("http://host/" + std::string(5000, 'x') + ".jpeg");
    EXPECT_EQ(cut, std::string(kLongestName - 5, 'x') + ".jpeg");
    EXPECT_EQ(file_name_of("http://host/a." + std::string(5000, 'x')).size(), kLongestName);
    std::string accents;
    for (int i = 0; i < 500; ++i) accents += "%C3%A9";
    const std::string whole = file_name_of("http://host/x" + accents);
    EXPECT_LE(whole.size(), kLongestName);
    EXPECT_EQ(whole.size() % 2, 1U) << "an accent was cut in two";
}

TEST(DownloadNames, BrokenPercentSignsStay) {
    EXPECT_EQ(file_name_of("http://host/100%"), "100%");
    EXPECT_EQ(file_name_of("http://host/100%2"), "100%2");
    EXPECT_EQ(file_name_of("http://host/%zz%4"), "%zz%4");
}

TEST(DownloadNames, AreGivenOnce) {
    download::Names names;
    EXPECT_EQ(names.unique_name_of("http://a/cat.png"), "cat.png");
    EXPECT_EQ(names.unique_name_of("http://b/cat.png"), "cat-2.png");
    EXPECT_EQ(names.unique_name_of("http://b/CAT.png"), "CAT-3.png");
    EXPECT_EQ(names.unique_name_of("http://b/cat-2.png"), "cat-2-2.png");
    EXPECT_EQ(names.unique_name_of("http://b/"), "picture");
    EXPECT_EQ(names.unique_name_of("http://c/"), "picture-2");
}

TEST(DownloadNames, OfAnyBytesArePlain) {
    std::mt19937 random(1);
    const std::string alphabet("/\\.%2eEfF5c\0\n\x1b -a\xC2\x9B\xC3", 20);
    const std::filesystem::path folder("folder");
    for (int i = 0; i < 20000; ++i) {
        std::string url = "http://h/";
        for (auto n = random() % 40; n > 0; --n) url += alphabet[random() % alphabet.size()];
        const std::string name = file_name_of(url);
        ASSERT_FALSE(name.empty());
        ASSERT_LE(name.size(), kLongestName);
        ASSERT_NE(name.front(), '.');
        ASSERT_EQ(name.find_first_of(std::string_view("/\\\0\n\x1b", 5)), std::string::npos);
        ASSERT_EQ((folder / name).lexically_normal().parent_path(), folder) << name;
    }
}

}  // namespace
