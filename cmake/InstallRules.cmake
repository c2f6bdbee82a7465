# Headers, the two libraries, and what find_package and pkg-config read. Tests, benches and examples
# have no install rules anywhere.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

set(asyncio_package_dir "${CMAKE_INSTALL_LIBDIR}/cmake/libasyncio")

install(DIRECTORY "${PROJECT_SOURCE_DIR}/include/"
    DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}"
    FILES_MATCHING PATTERN "*.hpp")
install(TARGETS asyncio_static asyncio_shared
    EXPORT libasyncio-targets
    ARCHIVE DESTINATION "${CMAKE_INSTALL_LIBDIR}"
    LIBRARY DESTINATION "${CMAKE_INSTALL_LIBDIR}"
    INCLUDES DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}")
install(EXPORT libasyncio-targets
    NAMESPACE libasyncio::
    DESTINATION "${asyncio_package_dir}")

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
    DESTINATION "${asyncio_package_dir}")
install(FILES "${PROJECT_SOURCE_DIR}/LICENSE"
    DESTINATION "${CMAKE_INSTALL_DATAROOTDIR}/doc/libasyncio")

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
        \"${PROJECT_BINARY_DIR}/cmake/libasyncio.pc\" @ONLY)")
install(FILES "${PROJECT_BINARY_DIR}/cmake/libasyncio.pc"
    DESTINATION "${CMAKE_INSTALL_LIBDIR}/pkgconfig")

# asyncio_install_component(NAME DESCRIPTION REQUIRES FIND): headers, the two libraries, what find_package and
# pkg-config read.
function(asyncio_install_component name description requires find)
    install(DIRECTORY "${CMAKE_CURRENT_SOURCE_DIR}/include/"
        DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}"
        FILES_MATCHING PATTERN "*.hpp")
    install(TARGETS asyncio_${name}_static asyncio_${name}_shared
        EXPORT libasyncio-${name}-targets
        ARCHIVE DESTINATION "${CMAKE_INSTALL_LIBDIR}"
        LIBRARY DESTINATION "${CMAKE_INSTALL_LIBDIR}"
        INCLUDES DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}")
    install(EXPORT libasyncio-${name}-targets
        NAMESPACE libasyncio::
        DESTINATION "${asyncio_package_dir}")

    set(needs "")
    foreach(package IN LISTS find)
        string(APPEND needs "find_dependency(${package})\n")
    endforeach()
    file(CONFIGURE OUTPUT "${PROJECT_BINARY_DIR}/cmake/libasyncio-${name}-needs.cmake" CONTENT
        "# What the archive of libasyncio::${name} refers to.\n${needs}")
    install(FILES "${PROJECT_BINARY_DIR}/cmake/libasyncio-${name}-needs.cmake"
        DESTINATION "${asyncio_package_dir}")

    install(CODE "
        set(component \"${name}\")
        set(description \"${description}\")
        set(requires \"${requires}\")
        set(PROJECT_VERSION \"${PROJECT_VERSION}\")
        set(asyncio_pc_libdir \"\\\${prefix}/${CMAKE_INSTALL_LIBDIR}\")
        set(asyncio_pc_includedir \"\\\${prefix}/${CMAKE_INSTALL_INCLUDEDIR}\")
        get_filename_component(CMAKE_INSTALL_PREFIX \"\${CMAKE_INSTALL_PREFIX}\" ABSOLUTE)
        configure_file(\"${PROJECT_SOURCE_DIR}/cmake/libasyncio-component.pc.in\"
            \"${PROJECT_BINARY_DIR}/cmake/libasyncio-${name}.pc\" @ONLY)")
    install(FILES "${PROJECT_BINARY_DIR}/cmake/libasyncio-${name}.pc"
        DESTINATION "${CMAKE_INSTALL_LIBDIR}/pkgconfig")
endfunction()
