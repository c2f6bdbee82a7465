# The oldest compilers that libasyncio is tested with; others stop here, with one sentence.
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    if(CMAKE_CXX_COMPILER_VERSION VERSION_LESS 12)
        message(FATAL_ERROR
            "libasyncio needs g++ 12 or later, but this is g++ ${CMAKE_CXX_COMPILER_VERSION}.")
    elseif(CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
        message(STATUS "g++ 12 miscompiles some shapes of coroutines: docs/traps.md, tools/asyncio-check-coroutines")
    endif()
elseif(CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
    if(CMAKE_CXX_COMPILER_VERSION VERSION_LESS 17)
        message(FATAL_ERROR
            "libasyncio needs clang 17 or later, but this is clang ${CMAKE_CXX_COMPILER_VERSION}.")
    endif()
else()
    message(FATAL_ERROR
        "libasyncio needs g++ 12 or clang 17 or later, but this is ${CMAKE_CXX_COMPILER_ID}.")
endif()
