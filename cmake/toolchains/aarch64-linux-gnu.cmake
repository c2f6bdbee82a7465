# Cross-building for aarch64 with Debian's g++-12-aarch64-linux-gnu; programs run under qemu-user. ASYNCIO_SYSROOT is a
# folder with the libraries of that processor; script/aarch64 makes one.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++-12)
set(CMAKE_LIBRARY_ARCHITECTURE aarch64-linux-gnu)

list(APPEND CMAKE_TRY_COMPILE_PLATFORM_VARIABLES ASYNCIO_SYSROOT)
if(NOT IS_DIRECTORY "${ASYNCIO_SYSROOT}")
    message(FATAL_ERROR "-DASYNCIO_SYSROOT=DIR names a folder with aarch64's libraries; script/aarch64 makes one.")
endif()
set(CMAKE_SYSROOT "${ASYNCIO_SYSROOT}")
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)
set(ENV{PKG_CONFIG_LIBDIR} "${ASYNCIO_SYSROOT}/usr/lib/aarch64-linux-gnu/pkgconfig:${ASYNCIO_SYSROOT}/usr/share/pkgconfig")
set(ENV{PKG_CONFIG_SYSROOT_DIR} "${ASYNCIO_SYSROOT}")

set(CMAKE_CROSSCOMPILING_EMULATOR qemu-aarch64 -L "${ASYNCIO_SYSROOT}")
