// CPython's module asyncio.tasks: tasks, and what waits for several of them.
#pragma once

#include "asyncio/tasks/as_completed.hpp"
#include "asyncio/tasks/gather.hpp"
#include "asyncio/tasks/shield.hpp"
#include "asyncio/tasks/task.hpp"
#include "asyncio/tasks/wait.hpp"
