# What a plain `cmake -S . -B build` should do when this is the project being built. A project that
# takes libasyncio in with add_subdirectory decides all of this for itself.
if(NOT PROJECT_IS_TOP_LEVEL)
    return()
endif()

get_property(asyncio_multi_config GLOBAL PROPERTY GENERATOR_IS_MULTI_CONFIG)
if(asyncio_multi_config)
    set(CMAKE_DEFAULT_BUILD_TYPE Release CACHE STRING "What is built when --config says nothing")
elseif(NOT CMAKE_BUILD_TYPE)
    set(CMAKE_BUILD_TYPE Release CACHE STRING "Debug, Release, RelWithDebInfo or MinSizeRel" FORCE)
endif()

set(CMAKE_RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/bin")
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)

# CMake keeps the compiler of the first configure and ignores a later CXX without a word.
if(DEFINED ENV{CXX} AND NOT "$ENV{CXX}" STREQUAL "")
    string(REGEX MATCH "^[^ ]+" asyncio_env_cxx "$ENV{CXX}")
    find_program(asyncio_env_cxx_path "${asyncio_env_cxx}" NO_CACHE)
    file(REAL_PATH "${CMAKE_CXX_COMPILER}" asyncio_cached_cxx)
    if(asyncio_env_cxx_path)
        file(REAL_PATH "${asyncio_env_cxx_path}" asyncio_env_cxx_path)
        if(NOT asyncio_env_cxx_path STREQUAL asyncio_cached_cxx)
            message(WARNING "This build directory uses ${CMAKE_CXX_COMPILER}, not CXX=$ENV{CXX}: "
                "give each compiler a build directory of its own (cmake -B DIR).")
        endif()
    endif()
endif()
