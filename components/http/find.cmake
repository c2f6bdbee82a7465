find_package(CURL 7.80 QUIET)
find_package(ZLIB QUIET)
set(asyncio_http_found OFF)
if(CURL_FOUND AND ZLIB_FOUND)
    set(asyncio_http_found ON)
endif()
asyncio_component_option(http ${asyncio_http_found} "libcurl 7.80 or later and zlib"
    "libcurl4-openssl-dev, zlib1g-dev")
set(asyncio_http_test_libraries ZLIB::ZLIB)    # its tests pack what a server sends
