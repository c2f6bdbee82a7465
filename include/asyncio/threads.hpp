// Threads: executors, to_thread, and futures that cross threads (CPython's asyncio.threads and
// concurrent.futures). EF-04, EF-05, LC-07, TH-01 to TH-03, F-14, CV-04.
#pragma once

#include "asyncio/tasks.hpp"
#include "asyncio/threads/concurrent_futures.hpp"
#include "asyncio/threads/executors.hpp"
#include "asyncio/threads/threadsafe.hpp"
#include "asyncio/threads/to_thread.hpp"
