# asyncio_own_code(TARGET): the warnings and sanitizers of libasyncio's own code. None of it reaches
# the users of the library, but for the sanitizers' runtime, without which they would not link.
set(asyncio_warnings -Wall -Wextra -Wpedantic)
# g++ 12 sees overlapping copies and mismatched deallocations where it has inlined std::string and a
# replaced operator new (GCC bugs 105329, 103993); what it says changes with every optimisation.
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
    list(APPEND asyncio_warnings -Wno-restrict -Wno-mismatched-new-delete)
endif()
if(ASYNCIO_WERROR)
    list(APPEND asyncio_warnings -Werror)
endif()

# asyncio_sanitizer_options(VARIABLE NAMES): the options for the sanitizers NAMES, none if that is empty.
function(asyncio_sanitizer_options variable names)
    set(options "")
    if(names)
        set(options "-fsanitize=${names}" -fno-omit-frame-pointer)
        if(names MATCHES "undefined")
            list(APPEND options -fno-sanitize-recover=all)
        endif()
    endif()
    set(${variable} ${options} PARENT_SCOPE)
endfunction()
asyncio_sanitizer_options(asyncio_sanitizers "${ASYNCIO_SANITIZE}")

# Debug builds look whether a node enters the ready queue twice (src/loop/ready_nodes.hpp). All code of this
# tree does, and what uses the library by add_subdirectory; users of what is installed never do.
set(asyncio_debug_checks "$<$<CONFIG:Debug>:ASYNCIO_READY_ONCE>")

function(asyncio_own_code target)
    target_compile_definitions(${target} PRIVATE "${asyncio_debug_checks}")
    target_compile_options(${target} PRIVATE ${asyncio_warnings} ${asyncio_sanitizers})
    target_link_options(${target} PRIVATE ${asyncio_sanitizers})
    set_target_properties(${target} PROPERTIES
        CXX_STANDARD 20
        CXX_STANDARD_REQUIRED ON
        CXX_EXTENSIONS OFF)
endfunction()
