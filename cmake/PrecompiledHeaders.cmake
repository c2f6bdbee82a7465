# asyncio_precompiled(TARGET): with ASYNCIO_PRECOMPILE, TARGET is compiled with <asyncio.hpp> and gtest read
# already, which is a fifth to a third of what the compiler does for a test. A file that lacks an include
# compiles all the same, so this is for building everything at once; script/nightly builds without.
#
# A precompiled header fits only code that is compiled with the options it was compiled with. There is one
# in a build tree: that of tests at -O0 in a release build and under the thread sanitizer, and with the build
# type's own options in others. What those optimise gets none; g++ 12 would warn of the standard library's own code there.
#
# ccache wants CCACHE_SLOPPINESS=pch_defines,time_macros for it; without, it compiles each time.
# What makes a test unoptimised where the build type, or the preset, optimises.
if(CMAKE_BUILD_TYPE STREQUAL "Release" OR ASYNCIO_SANITIZE STREQUAL "thread")
    set(ASYNCIO_UNOPTIMISED -O0)
else()
    set(ASYNCIO_UNOPTIMISED "")
endif()

option(ASYNCIO_PRECOMPILE "Compile the tests with a precompiled <asyncio.hpp> and gtest" OFF)
if(ASYNCIO_PRECOMPILE)
    # CMake's own prologue would make system headers of ours, without warnings.
    set(CMAKE_PCH_PROLOGUE "")
endif()

# What all who use the header have in common; and what makes it the same each time, so that ccache knows
# it again.
function(asyncio_precompiled_options target)
    if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
        target_compile_options(${target} PRIVATE -fpch-preprocess)
    else()
        target_compile_options(${target} PRIVATE "SHELL:-Xclang -fno-pch-timestamp")
    endif()
endfunction()

# asyncio_make_precompiled(LIBRARY...): makes the header; its users link those.
function(asyncio_make_precompiled)
    if(NOT ASYNCIO_PRECOMPILE)
        return()
    endif()
    set(source "${CMAKE_CURRENT_BINARY_DIR}/precompiled.cpp")
    file(CONFIGURE OUTPUT "${source}" CONTENT "")
    add_library(asyncio_precompiled OBJECT EXCLUDE_FROM_ALL "${source}")
    target_link_libraries(asyncio_precompiled PRIVATE ${ARGN})
    asyncio_own_code(asyncio_precompiled)
    asyncio_precompiled_options(asyncio_precompiled)
    # What users of gtest are given, or not, by how it was packaged; it must be the same for all.
    target_compile_definitions(asyncio_precompiled PRIVATE GTEST_HAS_PTHREAD=1)
    target_compile_options(asyncio_precompiled PRIVATE ${ASYNCIO_UNOPTIMISED})
    target_precompile_headers(asyncio_precompiled PRIVATE <asyncio.hpp> <gtest/gtest.h>)
endfunction()

function(asyncio_precompiled target)
    if(ASYNCIO_PRECOMPILE)
        asyncio_precompiled_options(${target})
        target_compile_definitions(${target} PRIVATE GTEST_HAS_PTHREAD=1)
        target_precompile_headers(${target} REUSE_FROM asyncio_precompiled)
    endif()
endfunction()
