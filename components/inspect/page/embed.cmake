cmake_minimum_required(VERSION 3.25)
# Makes one page of console.html, console.css and console.js, and of that a source file:
#     cmake -DFOLDER=... -DOUT=... -P embed.cmake
file(READ "${FOLDER}/console.html" page)
foreach(part css js)
    file(READ "${FOLDER}/console.${part}" text)
    string(REPLACE "@${part}@" "${text}" page "${page}")
endforeach()
file(WRITE "${OUT}.html" "${page}")
file(READ "${OUT}.html" bytes HEX)
string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${bytes}")
string(REGEX REPLACE "((0x..,){20})" "\\1\n" bytes "${bytes}")
file(WRITE "${OUT}" "#include \"console_page.hpp\"

namespace asyncio {
inline namespace v1 {
namespace detail {
namespace reading {

static constexpr unsigned char kPage[] = {
${bytes}
};

std::string console_page() { return {std::begin(kPage), std::end(kPage)}; }

}  // namespace reading
}  // namespace detail
}  // namespace v1
}  // namespace asyncio
")
