# Installs in FOLDER what steers a browser, once:  cmake -DFOLDER=... -P puppeteer.cmake
cmake_minimum_required(VERSION 3.25)
set(version 24.8.2)
if(EXISTS "${FOLDER}/node_modules/puppeteer-core/package.json")
    return()
endif()
find_program(npm npm)
if(NOT npm)
    message(STATUS "skipped: there is no npm (script/bootstrap)")
    return()
endif()
execute_process(
    COMMAND "${npm}" install --prefix "${FOLDER}" --ignore-scripts --no-audit --no-fund --no-save "puppeteer-core@${version}"
    TIMEOUT 120 RESULT_VARIABLE status OUTPUT_VARIABLE said ERROR_VARIABLE said)
if(NOT status EQUAL 0)
    file(REMOVE_RECURSE "${FOLDER}/node_modules")
    message(STATUS "skipped: npm could not install puppeteer-core: ${said}")
endif()
