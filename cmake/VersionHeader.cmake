# The version is written twice, in project() and in the installed header: they must say the same.
file(STRINGS "${PROJECT_SOURCE_DIR}/include/asyncio/version.hpp" asyncio_version_lines
    REGEX "^#define ASYNCIO_VERSION_(MAJOR|MINOR|PATCH) [0-9]+$")
list(TRANSFORM asyncio_version_lines REPLACE ".* " "")
list(JOIN asyncio_version_lines "." asyncio_header_version)
if(NOT asyncio_header_version STREQUAL PROJECT_VERSION)
    message(FATAL_ERROR "include/asyncio/version.hpp says ${asyncio_header_version}, "
        "but project() in CMakeLists.txt says ${PROJECT_VERSION}.")
endif()
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS
    "${PROJECT_SOURCE_DIR}/include/asyncio/version.hpp")
