// asyncio-conformance: runs scenarios and prints their traces, to be compared with CPython's.
//
//     asyncio-conformance FILE.json       prints the trace
//     asyncio-conformance FILE.json...    each trace is preceded by a line `=== NAME`
#include <asyncio.hpp>
#include <cstdio>
#include <exception>
#include <string>
#include <string_view>

#include "interpreter.hpp"
#include "scenario.hpp"

namespace {

// The file's name without folder and `.json`.
std::string base_name(std::string path) {
    path.erase(0, path.rfind('/') + 1);
    if (path.ends_with(".json")) path.erase(path.size() - 5);
    return path;
}

}  // namespace

int main(int argc, char** argv) {
    // What the library logs is no part of a trace, and scenarios leave many exceptions unretrieved.
    asyncio::log::set_sink([](asyncio::log::Level, std::string_view) {});
    if (argc < 2) {
        std::fprintf(stderr, "usage: %s FILE.json...\n", argv[0]);
        return 2;
    }
    for (int i = 1; i < argc; ++i) {
        if (argc > 2) std::printf("=== %s\n", base_name(argv[i]).c_str());
        try {
            conformance::run_scenario(conformance::load_scenario(argv[i]), stdout);
        } catch (const std::exception& e) {
            std::fflush(stdout);
            std::fprintf(stderr, "asyncio-conformance: %s\n", e.what());
            return 1;
        }
    }
    return 0;
}
