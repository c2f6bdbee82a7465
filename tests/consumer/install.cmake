# cmake -DBUILD_DIR=... -DPREFIX=... -P install.cmake: installs, and looks at what was installed.
file(REMOVE_RECURSE "${PREFIX}")
execute_process(COMMAND "${CMAKE_COMMAND}" --install "${BUILD_DIR}" --prefix "${PREFIX}"
    OUTPUT_QUIET COMMAND_ERROR_IS_FATAL ANY)

file(GLOB_RECURSE installed RELATIVE "${PREFIX}" "${PREFIX}/*")
foreach(file IN LISTS installed)
    if(NOT file MATCHES "^include/asyncio(\\.hpp|/[a-z0-9_/]+\\.hpp)$"
        AND NOT file MATCHES "^lib[a-z0-9_/-]*/libasyncio(-http|-inspect|-testing)?\\.(a|so[0-9.]*)$"
        AND NOT file MATCHES "^lib[a-z0-9_/-]*/cmake/libasyncio/libasyncio-[a-z-]+\\.cmake$"
        AND NOT file MATCHES "^lib[a-z0-9_/-]*/pkgconfig/libasyncio(-http|-inspect|-testing)?\\.pc$"
        AND NOT file MATCHES "^share/doc/libasyncio/examples/starter/[a-zA-Z_.]+$"
        AND NOT file MATCHES "^bin/asyncio(-check-coroutines)?$"
        AND NOT file STREQUAL "share/libasyncio/asyncio_gdb.py"
        AND NOT file MATCHES "^share/gdb/auto-load/.*/libasyncio\\.so\\.[0-9.]+-gdb\\.py$"
        AND NOT file STREQUAL "share/doc/libasyncio/LICENSE")
        message(SEND_ERROR "installed, but no part of the library: ${file}")
    endif()
endforeach()
foreach(wanted IN ITEMS "include/asyncio\\.hpp" "/libasyncio\\.a" "/libasyncio\\.so"
        "libasyncio-config\\.cmake" "libasyncio-config-version\\.cmake" "libasyncio\\.pc" "LICENSE")
    if(NOT installed MATCHES "${wanted}(;|$)")
        message(SEND_ERROR "not installed: ${wanted}")
    endif()
endforeach()
