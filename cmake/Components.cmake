# What can be built on the library without being part of it: one folder of components/ each, with
#
#     find.cmake              the option ASYNCIO_NAME and the library that it needs; what its tests link besides
#                             is asyncio_NAME_test_libraries
#     CMakeLists.txt          asyncio_component(NAME ...)
#     include/asyncio/*.hpp   its public headers, installed beside the core's
#     src/ tests/ examples/   and README.md, its page
#
# A new folder is found by itself; one whose library is missing is left out with one line.
# asyncio_component_option(NAME FOUND WHAT PACKAGES): the option ASYNCIO_NAME, on if its library is FOUND. WHAT
# names that library for the messages, PACKAGES its Debian packages.
macro(asyncio_component_option name found what packages)
    set(asyncio_${name}_packages "${packages}")
    string(TOUPPER "${name}" asyncio_option)
    option(ASYNCIO_${asyncio_option} "The component libasyncio::${name} on ${what}" ${found})
    if(ASYNCIO_${asyncio_option} AND NOT ${found})
        message(FATAL_ERROR "ASYNCIO_${asyncio_option} needs ${what} (Debian: ${packages}): "
            "run script/bootstrap, or configure with -DASYNCIO_${asyncio_option}=OFF.")
    elseif(NOT ${found})
        message(STATUS "libasyncio::${name} is left out: no ${what} (${packages})")
    endif()
endmacro()

file(GLOB asyncio_component_folders CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/components/*/find.cmake")
set(asyncio_components "")
foreach(asyncio_component_file IN LISTS asyncio_component_folders)
    get_filename_component(asyncio_component "${asyncio_component_file}" DIRECTORY)
    get_filename_component(asyncio_component "${asyncio_component}" NAME)
    include("${asyncio_component_file}")
    string(TOUPPER "${asyncio_component}" asyncio_component_option)
    if(ASYNCIO_${asyncio_component_option})
        list(APPEND asyncio_components ${asyncio_component})
    endif()
endforeach()

# asyncio_component(NAME DESCRIPTION text LIBRARIES target... FIND call... REQUIRES text): the libraries
# libasyncio::NAME_static, NAME_shared and NAME, of src/*.cpp; what is installed of them; and the package that
# find_package(libasyncio COMPONENTS NAME) finds.
#   LIBRARIES   what the objects are linked with; no public header may name it
#   FIND        what find_dependency is called with in a user's project, a string each ("CURL 7.80")
#   REQUIRES    the same for pkg-config ("libcurl >= 7.80, zlib")
function(asyncio_component name)
    cmake_parse_arguments(PARSE_ARGV 1 arg "" "DESCRIPTION;REQUIRES" "LIBRARIES;FIND")
    set(objects asyncio_${name}_objects)
    file(GLOB_RECURSE sources CONFIGURE_DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/src/*.cpp")
    add_library(${objects} OBJECT ${sources})
    target_include_directories(${objects}
        PUBLIC "${CMAKE_CURRENT_SOURCE_DIR}/include" "${PROJECT_SOURCE_DIR}/include"
        PRIVATE "${PROJECT_SOURCE_DIR}/src")
    target_link_libraries(${objects} PRIVATE Threads::Threads ${arg_LIBRARIES})
    target_compile_options(${objects} PRIVATE -fno-semantic-interposition)
    set_target_properties(${objects} PROPERTIES
        POSITION_INDEPENDENT_CODE ON
        CXX_VISIBILITY_PRESET hidden
        VISIBILITY_INLINES_HIDDEN ON
        INTERPROCEDURAL_OPTIMIZATION OFF)
    asyncio_own_code(${objects})

    foreach(kind IN ITEMS static shared)
        set(target asyncio_${name}_${kind})
        string(TOUPPER ${kind} upper_kind)
        add_library(${target} ${upper_kind} $<TARGET_OBJECTS:${objects}>)
        add_library(libasyncio::${name}_${kind} ALIAS ${target})
        target_include_directories(${target} PUBLIC
            "$<BUILD_INTERFACE:${CMAKE_CURRENT_SOURCE_DIR}/include>")
        # Whoever links the archive has to link what it refers to, no more.
        target_link_libraries(${target} PUBLIC asyncio_${kind} PRIVATE ${arg_LIBRARIES})
        target_link_options(${target} INTERFACE "$<BUILD_INTERFACE:${asyncio_sanitizers}>")
        set_target_properties(${target} PROPERTIES
            EXPORT_NAME ${name}_${kind}
            OUTPUT_NAME asyncio-${name}
            LINKER_LANGUAGE CXX
            INTERPROCEDURAL_OPTIMIZATION OFF
            ARCHIVE_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/lib"
            LIBRARY_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/lib")
    endforeach()
    target_link_options(asyncio_${name}_shared PRIVATE ${asyncio_sanitizers})
    set_target_properties(asyncio_${name}_shared PROPERTIES
        VERSION ${PROJECT_VERSION}
        SOVERSION ${PROJECT_VERSION_MAJOR}.${PROJECT_VERSION_MINOR})

    if(BUILD_SHARED_LIBS)
        add_library(libasyncio::${name} ALIAS asyncio_${name}_shared)
    else()
        add_library(libasyncio::${name} ALIAS asyncio_${name}_static)
    endif()
    set_property(GLOBAL PROPERTY asyncio_${name}_description "${arg_DESCRIPTION}")
    if(ASYNCIO_INSTALL)
        asyncio_install_component(${name} "${arg_DESCRIPTION}" "${arg_REQUIRES}" "${arg_FIND}")
    endif()
endfunction()

# The programs of examples/ in a component's folder, as bin/examples/PROGRAM.
function(asyncio_component_examples name)
    file(GLOB sources CONFIGURE_DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/examples/*.cpp")
    foreach(source IN LISTS sources)
        get_filename_component(program "${source}" NAME_WE)
        string(REPLACE "_" "-" target "example-${program}")
        add_executable(${target} "${source}")
        target_link_libraries(${target} PRIVATE libasyncio::${name})
        target_include_directories(${target} PRIVATE "${PROJECT_SOURCE_DIR}/examples")
        asyncio_own_code(${target})
        set_target_properties(${target} PROPERTIES
            OUTPUT_NAME "${program}"
            RUNTIME_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/bin/examples")
    endforeach()
endfunction()

# asyncio_components_of(USED MISSING SOURCE): the components whose headers SOURCE includes, those that are built
# and those that are not.
function(asyncio_components_of used missing source)
    set(found "")
    set(absent "")
    file(STRINGS "${source}" includes REGEX "^#include <asyncio/[a-z_]+\\.hpp>")
    foreach(line IN LISTS includes)
        string(REGEX REPLACE "^#include <(asyncio/[a-z_]+\\.hpp)>.*" "\\1" header "${line}")
        file(GLOB folders "${PROJECT_SOURCE_DIR}/components/*/include/${header}")
        foreach(place IN LISTS folders)
            string(REGEX REPLACE ".*/components/([^/]+)/include/.*" "\\1" component "${place}")
            if(component IN_LIST asyncio_components)
                list(APPEND found ${component})
            else()
                list(APPEND absent ${component})
            endif()
        endforeach()
    endforeach()
    set(${used} ${found} PARENT_SCOPE)
    set(${missing} ${absent} PARENT_SCOPE)
endfunction()
