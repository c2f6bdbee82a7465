# Headers, the two libraries, and what find_package and pkg-config read. Tests, benches and examples
# have no install rules anywhere.
#
# What is installed belongs to one of these, which cmake/Packages.cmake makes packages of:
#   runtime     the shared library of the core, and NAME that of the component NAME
#   dev         all that programs are built with
#   tools       programs
#   doc         pages
#   licence     which packages state in Debian's way
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

set(asyncio_package_dir "${CMAKE_INSTALL_LIBDIR}/cmake/libasyncio")

# asyncio_install_libraries(NAME EXPORT COMPONENT): the targets NAME_static and NAME_shared.
function(asyncio_install_libraries name export component)
    install(TARGETS ${name}_static ${name}_shared
        EXPORT ${export}
        ARCHIVE DESTINATION "${CMAKE_INSTALL_LIBDIR}" COMPONENT dev
        LIBRARY DESTINATION "${CMAKE_INSTALL_LIBDIR}" COMPONENT ${component} NAMELINK_COMPONENT dev
        INCLUDES DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}")
    install(EXPORT ${export}
        NAMESPACE libasyncio::
        DESTINATION "${asyncio_package_dir}"
        COMPONENT dev)
endfunction()

install(DIRECTORY "${PROJECT_SOURCE_DIR}/include/"
    DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}"
    COMPONENT dev
    FILES_MATCHING PATTERN "*.hpp")
asyncio_install_libraries(asyncio libasyncio-targets runtime)

configure_package_config_file(
    "${PROJECT_SOURCE_DIR}/cmake/libasyncio-config.cmake.in"
    "${PROJECT_BINARY_DIR}/cmake/libasyncio-config.cmake"
    INSTALL_DESTINATION "${asyncio_package_dir}")
# Until 1.0 a minor version may break what compiled before.
write_basic_package_version_file(
    "${PROJECT_BINARY_DIR}/cmake/libasyncio-config-version.cmake"
    COMPATIBILITY SameMinorVersion)
install(FILES
    "${PROJECT_BINARY_DIR}/cmake/libasyncio-config.cmake"
    "${PROJECT_BINARY_DIR}/cmake/libasyncio-config-version.cmake"
    DESTINATION "${asyncio_package_dir}"
    COMPONENT dev)
set(asyncio_doc_dir "${CMAKE_INSTALL_DATAROOTDIR}/doc/libasyncio")
install(DIRECTORY "${PROJECT_SOURCE_DIR}/examples/starter"
    DESTINATION "${asyncio_doc_dir}/examples"
    COMPONENT dev)
install(FILES "${PROJECT_SOURCE_DIR}/LICENSE" DESTINATION "${asyncio_doc_dir}" COMPONENT licence)

# For users' code, on clang-query: docs/traps.md. `cmake --install DIR --component tools` installs it alone.
install(PROGRAMS "${PROJECT_SOURCE_DIR}/tools/asyncio-check-coroutines"
    DESTINATION "${CMAKE_INSTALL_BINDIR}"
    COMPONENT tools)
# gdb's commands; and once more under the name by which gdb finds them when it loads the shared library.
install(FILES "${PROJECT_SOURCE_DIR}/tools/gdb/asyncio_gdb.py"
    DESTINATION "${CMAKE_INSTALL_DATADIR}/libasyncio"
    COMPONENT tools)
install(FILES "${PROJECT_SOURCE_DIR}/tools/gdb/asyncio_gdb.py"
    DESTINATION "${CMAKE_INSTALL_DATADIR}/gdb/auto-load${CMAKE_INSTALL_FULL_LIBDIR}"
    RENAME "libasyncio.so.${PROJECT_VERSION}-gdb.py"
    COMPONENT tools)

set(asyncio_pc_libs_private "")
if(ASYNCIO_TLS)
    set(asyncio_pc_libs_private "-lssl -lcrypto")
endif()
if(ASYNCIO_URING)
    string(APPEND asyncio_pc_libs_private " -luring")
endif()
set(asyncio_pc_return_type "")
if(ASYNCIO_RETURN_TYPE_ERROR)
    set(asyncio_pc_return_type "-Werror=return-type")
endif()
# `cmake --install DIR --prefix P` chooses the prefix only then, so the file is written then too.
install(CODE "
    set(PROJECT_DESCRIPTION \"${PROJECT_DESCRIPTION}\")
    set(PROJECT_VERSION \"${PROJECT_VERSION}\")
    set(asyncio_pc_libdir \"\\\${prefix}/${CMAKE_INSTALL_LIBDIR}\")
    set(asyncio_pc_includedir \"\\\${prefix}/${CMAKE_INSTALL_INCLUDEDIR}\")
    set(asyncio_pc_libs_private \"${asyncio_pc_libs_private}\")
    set(asyncio_pc_return_type \"${asyncio_pc_return_type}\")
    get_filename_component(CMAKE_INSTALL_PREFIX \"\${CMAKE_INSTALL_PREFIX}\" ABSOLUTE)
    configure_file(\"${PROJECT_SOURCE_DIR}/cmake/libasyncio.pc.in\"
        \"${PROJECT_BINARY_DIR}/cmake/libasyncio.pc\" @ONLY)"
    COMPONENT dev)
install(FILES "${PROJECT_BINARY_DIR}/cmake/libasyncio.pc"
    DESTINATION "${CMAKE_INSTALL_LIBDIR}/pkgconfig"
    COMPONENT dev)

# asyncio_install_component(NAME DESCRIPTION REQUIRES FIND): headers, the two libraries, what find_package and
# pkg-config read.
function(asyncio_install_component name description requires find)
    install(DIRECTORY "${CMAKE_CURRENT_SOURCE_DIR}/include/"
        DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}"
        COMPONENT dev
        FILES_MATCHING PATTERN "*.hpp")
    asyncio_install_libraries(asyncio_${name} libasyncio-${name}-targets ${name})

    set(needs "")
    foreach(package IN LISTS find)
        string(APPEND needs "find_dependency(${package})\n")
    endforeach()
    file(CONFIGURE OUTPUT "${PROJECT_BINARY_DIR}/cmake/libasyncio-${name}-needs.cmake" CONTENT
        "# What the archive of libasyncio::${name} refers to.\n${needs}")
    install(FILES "${PROJECT_BINARY_DIR}/cmake/libasyncio-${name}-needs.cmake"
        DESTINATION "${asyncio_package_dir}"
        COMPONENT dev)

    install(CODE "
        set(component \"${name}\")
        set(description \"${description}\")
        set(requires \"${requires}\")
        set(PROJECT_VERSION \"${PROJECT_VERSION}\")
        set(asyncio_pc_libdir \"\\\${prefix}/${CMAKE_INSTALL_LIBDIR}\")
        set(asyncio_pc_includedir \"\\\${prefix}/${CMAKE_INSTALL_INCLUDEDIR}\")
        get_filename_component(CMAKE_INSTALL_PREFIX \"\${CMAKE_INSTALL_PREFIX}\" ABSOLUTE)
        configure_file(\"${PROJECT_SOURCE_DIR}/cmake/libasyncio-component.pc.in\"
            \"${PROJECT_BINARY_DIR}/cmake/libasyncio-${name}.pc\" @ONLY)"
        COMPONENT dev)
    install(FILES "${PROJECT_BINARY_DIR}/cmake/libasyncio-${name}.pc"
        DESTINATION "${CMAKE_INSTALL_LIBDIR}/pkgconfig"
        COMPONENT dev)
endfunction()
