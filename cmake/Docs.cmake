# The pages of the documentation (script/docs): the target asyncio-docs makes them in build/.../site. With ASYNCIO_DOCS they
# are made with everything else, and installed as the component `doc`.
option(ASYNCIO_DOCS "Make the pages of the documentation, and install them as the component doc" OFF)

find_package(Python3 QUIET COMPONENTS Interpreter)
if(ASYNCIO_DOCS AND NOT Python3_FOUND)
    message(FATAL_ERROR "ASYNCIO_DOCS needs Python 3 (Debian: python3): "
        "run script/bootstrap, or configure with -DASYNCIO_DOCS=OFF.")
endif()
if(Python3_FOUND)
    set(asyncio_docs_all "")
    if(ASYNCIO_DOCS)
        set(asyncio_docs_all ALL)
    endif()
    add_custom_target(asyncio-docs ${asyncio_docs_all}
        COMMAND "${Python3_EXECUTABLE}" "${PROJECT_SOURCE_DIR}/script/docs" "${PROJECT_BINARY_DIR}/site"
        COMMENT "Making the pages of the documentation"
        VERBATIM)
endif()
if(ASYNCIO_DOCS AND ASYNCIO_INSTALL)
    install(DIRECTORY "${PROJECT_BINARY_DIR}/site/"
        DESTINATION "${CMAKE_INSTALL_DATAROOTDIR}/doc/libasyncio/html"
        COMPONENT doc)
endif()
