# Debian packages, by `cmake --workflow --preset deb`; or by `cpack` in any build folder.
#
#   libasyncio0.2        the core's shared library
#   libasyncio-NAME0.2   that of the component NAME; what it needs is needed by no other package
#   libasyncio-dev       headers, archives, and what find_package and pkg-config read, of all that was built
#   libasyncio-tools     the programs asyncio and asyncio-check-coroutines
#   libasyncio-doc       pages, if they were made
#
# They are a project's own packages, and no part of Debian: there is no maintainer to name. What dpkg-shlibdeps
# finds in a library is what its package depends on.
find_program(asyncio_gzip gzip)
find_program(asyncio_date date)
mark_as_advanced(asyncio_gzip asyncio_date)
if(NOT asyncio_gzip OR NOT asyncio_date)
    return()
endif()

set(asyncio_abi "${PROJECT_VERSION_MAJOR}.${PROJECT_VERSION_MINOR}")
set(asyncio_package_version "${PROJECT_VERSION}-1")
set(asyncio_debian_dir "${PROJECT_BINARY_DIR}/debian")

# The day of the version stands in its heading of CHANGELOG.md; until it has one, the version is of today.
file(STRINGS "${PROJECT_SOURCE_DIR}/CHANGELOG.md" asyncio_version_heading
    REGEX "^## ${PROJECT_VERSION} \\([0-9-]+\\)$")
string(REGEX MATCH "\\(([0-9-]*)\\)" asyncio_version_heading "${asyncio_version_heading}")
execute_process(COMMAND "${CMAKE_COMMAND}" -E env LC_ALL=C "${asyncio_date}" -u -R -d "${CMAKE_MATCH_1}"
    OUTPUT_VARIABLE asyncio_package_date OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
configure_file("${PROJECT_SOURCE_DIR}/cmake/debian/changelog.in" "${asyncio_debian_dir}/changelog" @ONLY)

# The licence, in the form of Debian's copyright files: the text that follows the line of its holder.
file(READ "${PROJECT_SOURCE_DIR}/LICENSE" asyncio_licence)
string(REGEX MATCH "Copyright \\(c\\) ([^\n]*)\n\n(.*[^\n])\n*$" asyncio_licence "${asyncio_licence}")
set(asyncio_licence_holder "${CMAKE_MATCH_1}")
string(REPLACE "\n\n" "\n.\n" asyncio_licence_text "${CMAKE_MATCH_2}")
string(REPLACE "\n" "\n " asyncio_licence_text "${asyncio_licence_text}")
configure_file("${PROJECT_SOURCE_DIR}/cmake/debian/copyright.in" "${asyncio_debian_dir}/copyright" @ONLY)

# Two changelogs, as Debian wants them: the project's, and the package's.
function(asyncio_pack source packed)
    execute_process(COMMAND "${asyncio_gzip}" -9nc "${source}"
        OUTPUT_FILE "${asyncio_debian_dir}/${packed}" COMMAND_ERROR_IS_FATAL ANY)
endfunction()
asyncio_pack("${PROJECT_SOURCE_DIR}/CHANGELOG.md" changelog.gz)
asyncio_pack("${asyncio_debian_dir}/changelog" changelog.Debian.gz)
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS
    "${PROJECT_SOURCE_DIR}/CHANGELOG.md" "${PROJECT_SOURCE_DIR}/LICENSE")

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME libasyncio)
set(CPACK_PACKAGE_VENDOR "libasyncio")
set(CPACK_PACKAGE_CONTACT "libasyncio authors <libasyncio@invalid>")
set(CPACK_PACKAGE_DIRECTORY "${PROJECT_BINARY_DIR}/packages")
# The prefix is what is written into libasyncio.pc; files go below a folder in its place.
set(CPACK_SET_DESTDIR ON)
set(CPACK_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_INSTALL_DEFAULT_DIRECTORY_PERMISSIONS
    OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE WORLD_READ WORLD_EXECUTE)

set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_RELEASE 1)
set(CPACK_DEBIAN_PACKAGE_SOURCE libasyncio)
set(CPACK_DEBIAN_PACKAGE_PRIORITY optional)
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
set(CPACK_DEBIAN_PACKAGE_GENERATE_SHLIBS ON)
# Patches keep the ABI.
set(CPACK_DEBIAN_PACKAGE_GENERATE_SHLIBS_POLICY ">=")
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS_PRIVATE_DIRS "${PROJECT_BINARY_DIR}/lib")

# asyncio_package(COMPONENT PACKAGE SECTION SUMMARY text TEXT text DEPENDS text RECOMMENDS text SUGGESTS text SHARED INDEP):
# what is installed as COMPONENT is PACKAGE. SHARED: it has a shared library. INDEP: it is the same on every processor.
function(asyncio_package component package section)
    cmake_parse_arguments(PARSE_ARGV 3 arg "SHARED;INDEP" "SUMMARY;TEXT;DEPENDS;RECOMMENDS;SUGGESTS" "")
    install(FILES
            "${asyncio_debian_dir}/copyright"
            "${asyncio_debian_dir}/changelog.gz"
            "${asyncio_debian_dir}/changelog.Debian.gz"
        DESTINATION "${CMAKE_INSTALL_DATAROOTDIR}/doc/${package}"
        COMPONENT ${component} EXCLUDE_FROM_ALL)
    # What lintian would report, and why it is so.
    set(overrides "# No part of Debian: nobody has asked for it there, and there is no maintainer to name.\n")
    foreach(tag IN ITEMS initial-upload-closes-no-bugs bogus-mail-host bogus-mail-host-in-debian-changelog)
        string(APPEND overrides "${package}: ${tag}\n")
    endforeach()
    if(arg_SHARED)
        string(APPEND overrides
            "# cpack writes these scripts; they do what a trigger would.\n"
            "${package}: maintscript-calls-ldconfig\n${package}: lacks-ldconfig-trigger\n")
    endif()
    if(component STREQUAL tools)
        string(APPEND overrides "# They tell with --help.\n${package}: no-manual-page\n")
    endif()
    file(WRITE "${asyncio_debian_dir}/${package}" "${overrides}")
    install(FILES "${asyncio_debian_dir}/${package}"
        DESTINATION "${CMAKE_INSTALL_DATAROOTDIR}/lintian/overrides"
        COMPONENT ${component} EXCLUDE_FROM_ALL)

    string(TOUPPER "${component}" upper)
    set(settings
        "CPACK_DEBIAN_${upper}_PACKAGE_NAME" "${package}"
        "CPACK_DEBIAN_${upper}_PACKAGE_SECTION" "${section}"
        "CPACK_DEBIAN_${upper}_DESCRIPTION" "${arg_SUMMARY}\n${arg_TEXT}"
        "CPACK_DEBIAN_${upper}_PACKAGE_DEPENDS" "${arg_DEPENDS}"
        "CPACK_DEBIAN_${upper}_PACKAGE_RECOMMENDS" "${arg_RECOMMENDS}"
        "CPACK_DEBIAN_${upper}_PACKAGE_SUGGESTS" "${arg_SUGGESTS}")
    if(NOT arg_INDEP)
        list(APPEND settings "CPACK_DEBIAN_${upper}_PACKAGE_SHLIBDEPS" ON)
    else()
        list(APPEND settings "CPACK_DEBIAN_${upper}_PACKAGE_ARCHITECTURE" all)
    endif()
    while(settings)
        list(POP_FRONT settings name value)
        set(${name} "${value}" PARENT_SCOPE)
    endwhile()
endfunction()

set(asyncio_about
"libasyncio is Python's asyncio for C++20: coroutines and tasks on an event
loop, with the names and the order of events of CPython. It has streams,
servers, TLS, UDP, child processes, signals, files, locks and queues.
")
asyncio_package(runtime libasyncio${asyncio_abi} libs SHARED
    SUMMARY "asyncio for C++20"
    TEXT "${asyncio_about}.\nThis is the shared library.")

set(asyncio_dev_depends "libasyncio${asyncio_abi} (= ${asyncio_package_version})")
if(ASYNCIO_TLS)
    string(APPEND asyncio_dev_depends ", libssl-dev")
endif()
if(ASYNCIO_URING)
    string(APPEND asyncio_dev_depends ", liburing-dev")
endif()
set(asyncio_dev_recommends "")
foreach(component IN LISTS asyncio_components)
    get_property(description GLOBAL PROPERTY asyncio_${component}_description)
    asyncio_package(${component} libasyncio-${component}${asyncio_abi} libs SHARED
        SUMMARY "${description}"
        TEXT "${asyncio_about}.\nThis is the shared library of its component ${component}."
        DEPENDS "libasyncio${asyncio_abi} (= ${asyncio_package_version})")
    string(APPEND asyncio_dev_depends ", libasyncio-${component}${asyncio_abi} (= ${asyncio_package_version})")
    list(APPEND asyncio_dev_recommends ${asyncio_${component}_packages})
endforeach()
list(JOIN asyncio_dev_recommends ", " asyncio_dev_recommends)
asyncio_package(dev libasyncio-dev libdevel
    SUMMARY "asyncio for C++20: what programs are built with"
    TEXT "${asyncio_about}.\nThese are the headers, the archives, and what CMake and pkg-config read.
What it recommends is needed to link a component beside the core."
    DEPENDS "${asyncio_dev_depends}"
    RECOMMENDS "${asyncio_dev_recommends}")

get_cmake_property(asyncio_installed COMPONENTS)
if(tools IN_LIST asyncio_installed)
    asyncio_package(tools libasyncio-tools devel
        SUMMARY "asyncio for C++20: tools"
        TEXT "${asyncio_about}.\nThese are asyncio, which shows where the tasks of a running program wait, and
asyncio-check-coroutines, which finds mistakes in coroutines."
        DEPENDS "python3"
        # Which apt would install: half a gigabyte, for one of the two.
        SUGGESTS "clang-tools-19, clang-tidy-19")
endif()
if(doc IN_LIST asyncio_installed)
    asyncio_package(doc libasyncio-doc doc INDEP
        SUMMARY "asyncio for C++20: guides and reference"
        TEXT "${asyncio_about}.\nThese are its guides and the reference of its names.")
endif()

set(CPACK_COMPONENTS_ALL runtime ${asyncio_components} dev)
foreach(component IN ITEMS tools doc)
    if(component IN_LIST asyncio_installed)
        list(APPEND CPACK_COMPONENTS_ALL ${component})
    endif()
endforeach()
include(CPack)
