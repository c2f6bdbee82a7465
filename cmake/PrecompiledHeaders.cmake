# asyncio_precompiled(TARGET [KIND]): with ASYNCIO_PRECOMPILE, TARGET is compiled with <asyncio.hpp> and
# gtest read already, which is a third of what the compiler does for a test. A file that lacks an include
# compiles all the same, so this is for building everything at once; script/nightly builds without.
#
# A precompiled header fits only code that is compiled with the options it was compiled with. KIND names
# them: `plain` (the build type's own, the default) or `unoptimised` (without the optimising of Release).
#
# ccache wants CCACHE_SLOPPINESS=pch_defines,time_macros for it; without, it compiles each time.
option(ASYNCIO_PRECOMPILE "Compile the tests with a precompiled <asyncio.hpp> and gtest" OFF)
if(ASYNCIO_PRECOMPILE)
    # CMake's own prologue would make system headers of ours, without warnings.
    set(CMAKE_PCH_PROLOGUE "")
endif()

# asyncio_precompiled_kinds(PUBLIC_LIBRARIES...): makes the headers, once; the targets link the same libraries.
function(asyncio_precompiled_kinds)
    if(NOT ASYNCIO_PRECOMPILE)
        return()
    endif()
    set(source "${CMAKE_CURRENT_BINARY_DIR}/precompiled.cpp")
    file(CONFIGURE OUTPUT "${source}" CONTENT "")
    foreach(kind IN ITEMS plain unoptimised)
        add_library(asyncio_precompiled_${kind} OBJECT EXCLUDE_FROM_ALL "${source}")
        target_link_libraries(asyncio_precompiled_${kind} PRIVATE ${ARGN})
        asyncio_own_code(asyncio_precompiled_${kind})
        asyncio_precompiled_options(asyncio_precompiled_${kind})
        target_precompile_headers(asyncio_precompiled_${kind} PRIVATE <asyncio.hpp> <gtest/gtest.h>)
    endforeach()
    target_compile_options(asyncio_precompiled_unoptimised PRIVATE $<$<CONFIG:Release>:-O0>)
endfunction()

# What makes the header the same each time, so that ccache knows it again.
function(asyncio_precompiled_options target)
    if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
        target_compile_options(${target} PRIVATE -fpch-preprocess)
    else()
        target_compile_options(${target} PRIVATE "SHELL:-Xclang -fno-pch-timestamp")
    endif()
endfunction()

function(asyncio_precompiled target)
    if(NOT ASYNCIO_PRECOMPILE)
        return()
    endif()
    set(kind plain)
    if(ARGC GREATER 1 AND CMAKE_BUILD_TYPE STREQUAL "Release")
        set(kind "${ARGV1}")
    endif()
    asyncio_precompiled_options(${target})
    target_precompile_headers(${target} REUSE_FROM asyncio_precompiled_${kind})
endfunction()
