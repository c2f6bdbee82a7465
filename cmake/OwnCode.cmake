# asyncio_own_code(TARGET): the warnings and sanitizers of libasyncio's own code. None of it reaches
# the users of the library, but for the sanitizers' runtime, without which they would not link.
set(asyncio_warnings -Wall -Wextra -Wpedantic)
if(ASYNCIO_WERROR)
    list(APPEND asyncio_warnings -Werror)
endif()

set(asyncio_sanitizers "")
if(ASYNCIO_SANITIZE)
    set(asyncio_sanitizers "-fsanitize=${ASYNCIO_SANITIZE}" -fno-omit-frame-pointer)
    if(ASYNCIO_SANITIZE MATCHES "undefined")
        list(APPEND asyncio_sanitizers -fno-sanitize-recover=all)
    endif()
endif()

function(asyncio_own_code target)
    target_compile_options(${target} PRIVATE ${asyncio_warnings} ${asyncio_sanitizers})
    target_link_options(${target} PRIVATE ${asyncio_sanitizers})
    set_target_properties(${target} PROPERTIES
        CXX_STANDARD 20
        CXX_STANDARD_REQUIRED ON
        CXX_EXTENSIONS OFF)
endfunction()
