// The whole of libasyncio: asyncio for C++.
#pragma once

#include "asyncio/contextvars.hpp"
#include "asyncio/coroutines.hpp"
#include "asyncio/events.hpp"
#include "asyncio/exceptions.hpp"
#include "asyncio/futures.hpp"
#include "asyncio/locks.hpp"
#include "asyncio/generators.hpp"
#include "asyncio/log.hpp"
#include "asyncio/queues.hpp"
#include "asyncio/repr.hpp"
#include "asyncio/result.hpp"
#include "asyncio/runners.hpp"
#include "asyncio/tasks.hpp"
#include "asyncio/time.hpp"
#include "asyncio/version.hpp"
#include "asyncio/with.hpp"
