#!/usr/bin/env python3
"""The project's own rules, those that neither a compiler nor clang-tidy knows.

    rules.py [ROOT]

Prints each fault as FILE:LINE: what is wrong, and ends with status 1 if there was one.
"""

import pathlib
import re
import subprocess
import sys

MARKER = re.compile(r'\b(TODO|FIXME|XXX|HACK)\b|\bnot implemented\b', re.IGNORECASE)
UNSAFE = re.compile(r'\.destroy\(\)|\bfrom_address\(|\breinterpret_cast<')
INCLUDE = re.compile(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]')

# What a declaration returns, for it to be something that one can co_await.
AWAITABLE = r'(?:asyncio::)?(?:Coroutine|Future|Task|AnyFuture|AnyTask|\w*Await\w*)\b'
DECLARATION = re.compile(
    r'^\s*(?:\[\[[^\]]*\]\]\s*)*(?:(?:ASYNCIO_API|static|friend|inline|virtual|constexpr)\s+)*'
    + AWAITABLE + r'(?:<.*>)?\s+(\w+)\((?!nullptr\);)')
# Conversions, look-ups, makers of futures, and what with() awaits on the user's behalf.
NOT_AWAITED = {'from_state', 'create_future', 'as_task', 'as_future', 'current_task', 'aexit'}
# Lines that may stand between a comment and the declaration's own line.
PREFIX = re.compile(r'^\s*(template\b|requires\b|\[\[|ASYNCIO_API\b|.*[,(&|<]$)')

# The rooms: the folders of src/, lowest first, and the public headers that belong to each. A file
# includes its own room or a lower one. What a room needs of one above is declared below and defined
# there: how connections are secured, for one, is declared in net (ssl.hpp) and defined in tls.
ROOMS = {
    'base': 'version exceptions exceptions/base_exceptions exceptions/causes exceptions/errors '
            'exceptions/exception_groups exceptions/os_errors time contextvars result repr log '
            'traceback detail/aligned detail/braced detail/config detail/destroy detail/exception_ptr detail/function '
             'detail/identity detail/path_view detail/refused '
            'detail/loop_core detail/owned detail/refcount detail/take detail/thread_state '
            'detail/transport_holder component/allocations component/errors',
    'os': 'sockets component/io_channels component/process component/descriptors component/file_faults component/simulated_sockets',
    'backend': 'component/backends',
    'loop': 'events events/handles inspect component/scheduling component/services component/post component/watch '
            'detail/call_timer',
    'tasks': 'futures coroutines generators tasks tasks/as_completed tasks/gather tasks/shield '
             'tasks/task tasks/wait timeouts taskgroups with runners graph signals '
             'detail/debug_block detail/future_base detail/promise detail/ranges detail/ready detail/wait_slot '
             'detail/waiter component/waiting',
    'sync': 'locks queues detail/queue_base',
    'threads': 'threads threads/concurrent_futures threads/executors threads/threadsafe '
               'threads/to_thread parallel detail/jobs component/jobs',
    'net': 'protocols transports ssl base_events datagrams pipes',
    'tls': '',
    'streams': 'streams stdio detail/byte_queue detail/stream detail/stream_read '
               'detail/stream_wait',
    'files': 'files watch',
    'process': 'subprocess',
    'inspect': '',
}
ORDER = list(ROOMS)
ROOM_OF = {f'asyncio/{name}.hpp': room for room, names in ROOMS.items() for name in names.split()}

# Rooms that include the system's headers, and OpenSSL's. A file elsewhere that includes one, and
# which. What belongs to a compiler is no system's.
SYSTEM_ROOMS = {'os', 'backend', 'tls'}
SYSTEM_HEADERS = {'files/file_ring.cpp': {'liburing.h'}}
LANGUAGE_HEADERS = {'cxxabi.h', 'unwind.h'}
# Components that ask the system through os, and the libraries that they stand on.
COMPONENT_HEADERS = {
    'http': ('curl/', 'openssl/', 'zlib.h'),
    # What sockets are made of; the test frameworks that it serves.
    'testing': ('sys/socket.h', 'netinet/in.h', 'gtest/', 'doctest/'),
    # It reads what the system tells of processes, and serves on a thread of its own, while loops are stuck.
    'inspect': ('sys/', 'netinet/', 'arpa/', 'dirent.h', 'elf.h', 'fcntl.h', 'poll.h', 'time.h', 'unistd.h'),
}

# What a component may include of the library: its public headers and the doors. Private headers that
# one includes all the same: http holds a server's certificate to what the library holds it to, in
# OpenSSL's own types, which no public header may name; inspect is how the library reads its own tasks,
# and comes with the library that it reads.
DOORS = re.compile(r'asyncio/(?:component/)?\w+\.hpp')
COMPONENT_PRIVATE = {
    'http': {'tls/ssl_ciphers.hpp', 'tls/ssl_verify.hpp'},
    'inspect': {'inspect/memory.hpp', 'inspect/output.hpp', 'inspect/reader.hpp', 'inspect/rows.hpp',
                'inspect/snapshot.hpp', 'loop/step_watch.hpp', 'os/sockets.hpp', 'os/threads.hpp',
                'asyncio/detail/debug_block.hpp'},
}


def tracked(root, *patterns):
    listed = subprocess.run(['git', 'ls-files', '-z', *patterns], cwd=root, check=True,
                            capture_output=True, text=True).stdout
    return [path for name in listed.split('\0') if name and (path := root / name).is_file()]


def markers(path, lines):
    """Unfinished work is finished or written down elsewhere, not marked."""
    for number, line in enumerate(lines, 1):
        if match := MARKER.search(line):
            yield number, f'a marker of unfinished work: {match[0]}'


def silent_handlers(path, lines):
    """`catch (...)` throws again, keeps the exception, or says why it does neither."""
    for number, line in enumerate(lines, 1):
        if not re.search(r'catch \(\.\.\.\)', line):
            continue
        body, depth = [], 0
        for row in lines[number - 1:]:
            body.append(row)
            text = row.split('catch', 1)[1] if len(body) == 1 else row
            depth += text.count('{') - text.count('}')
            if depth <= 0 and len(body) + text.count('{') > 1:
                break
        if not re.search(r'\bthrow\b|current_exception|//', '\n'.join(body)):
            yield number, 'catch (...) without throw, current_exception or a reason'


def unsafe_steps(path, lines):
    """A step that the compiler cannot check is argued for above it."""
    for number, line in enumerate(lines, 1):
        code = line.split('//')[0]
        if not UNSAFE.search(code):
            continue
        if 'Safe because' not in '\n'.join(lines[max(0, number - 8):number]):
            yield number, f'no "// Safe because" above {UNSAFE.search(code)[0]}'


def comment_above(lines, at):
    """The comment of the declaration in lines[at], or of the group of declarations it is in."""
    while at > 0 and PREFIX.match(lines[at - 1]) and '//' not in lines[at - 1]:
        at -= 1
    while at > 0 and lines[at - 1].strip() and not lines[at - 1].lstrip().startswith('//'):
        if lines[at - 1].rstrip().endswith(('{', ':')):
            return ''
        at -= 1
    end = at
    while at > 0 and lines[at - 1].lstrip().startswith('//'):
        at -= 1
    return '\n'.join(lines[at:end])


def awaitables(path, lines):
    """A public declaration that returns an awaitable says what a cancellation does."""
    in_detail = private = False
    for at, line in enumerate(lines):
        if re.match(r'\s*namespace .*\{', line) or line == 'namespace detail {':
            in_detail = 'detail' in line
        elif re.match(r'}\s+// namespace', line):
            in_detail = False
        if match := re.match(r'\s*(public|private|protected):', line):
            private = match[1] == 'private'
        elif re.match(r'\s*(class|struct)\b.*\{', line):
            private = False
        declared = DECLARATION.match(line)
        if not declared or in_detail or private:
            continue
        if declared[1].startswith(('get_return_object', 'await_', 'operator')):
            continue
        if declared[1] in NOT_AWAITED:
            continue
        if 'If cancelled:' not in comment_above(lines, at):
            yield at + 1, f'{declared[1]}: no "If cancelled:" in its comment'


def room(name):
    """The room of a file of src/ or of a public header, as it is included; None: neither."""
    folder = name.split('/')[0]
    return ROOM_OF.get(name) or (folder if folder in ROOMS and name.endswith(('.hpp', '.cpp')) else None)


def rooms(path, lines):
    """Each file is in a room, and includes its own room or lower ones: no arrow runs up."""
    name = re.sub(r'.*/(?:include|src)/', '', str(path))
    if name == 'asyncio.hpp' or 'components' in path.parts:
        return
    own = room(name)
    if own is None:
        yield 1, f'{name} is in none of the rooms of tests/lint/rules.py'
        return
    for number, line in enumerate(lines, 1):
        match = INCLUDE.match(line)
        other = room(match[1]) if match else None
        if other and ORDER.index(other) > ORDER.index(own):
            yield number, f'{own} is below {other}: {match[1]}'


def doors(path, lines):
    """A component includes public headers, doors and its own files: what works in this tree works outside."""
    component = re.search(r'(?:^|/)components/(\w+)/(?:src|include)/', str(path))
    if not component:
        return
    allowed = COMPONENT_PRIVATE.get(component[1], set())
    for number, line in enumerate(lines, 1):
        match = INCLUDE.match(line)
        if not match or not (match[1].startswith('asyncio/') or room(match[1])):
            continue
        if not DOORS.fullmatch(match[1]) and match[1] not in allowed:
            yield number, f'{component[1]} includes what is neither public nor a door: {match[1]}'


def system_headers(path, lines):
    """What the system declares comes from `os`, so that a port to another system is made there."""
    name = re.sub(r'.*/(?:include|src)/', '', str(path))
    component = re.search(r'(?:^|/)components/(\w+)/', str(path))
    libraries = COMPONENT_HEADERS.get(component[1]) if component else ()
    if libraries is None or room(name) in SYSTEM_ROOMS:
        return
    allowed = LANGUAGE_HEADERS | SYSTEM_HEADERS.get(name, set())
    for number, line in enumerate(lines, 1):
        match = INCLUDE.match(line)
        # A header of the library ends in .hpp, one of C++ in nothing.
        if (match and match[1].endswith('.h') and match[1] not in allowed
                and not match[1].startswith(libraries)):
            yield number, f'a system header outside of {", ".join(sorted(SYSTEM_ROOMS))}: {match[1]}'


def links(path, lines):
    """A page's links to files of the project lead there."""
    code = False
    for number, line in enumerate(lines, 1):
        code ^= line.lstrip().startswith('```')
        for target in () if code else re.findall(r'\]\(([^)\s]+)\)', re.sub('`[^`]*`', '``', line)):
            file = target.split('#')[0]
            if file and '://' not in target and not (path.parent / file).exists():
                yield number, f'{target} leads nowhere'


def script_names(path, lines):
    """No script is called as a module of Python's own: those beside it would get it in place of that."""
    if path.suffix == '.py' and path.stem in sys.stdlib_module_names:
        yield 1, f'{path.stem} is a module of Python'


def cycles(root, files):
    """No header includes itself through others (which `#pragma once` would hide)."""
    graph = {}
    for path in files:
        names = [m[1] for line in path.read_text().splitlines() if (m := INCLUDE.match(line))]
        places = [folder / name for name in names
                  for folder in (root / 'include', root / 'src', path.parent)]
        graph[path] = [place.resolve() for place in places if place.is_file()]
    done = set()

    def visit(path, way):
        if path in way:
            yield [*way[way.index(path):], path]
        elif path not in done:
            for other in graph.get(path, ()):
                yield from visit(other, [*way, path])
            done.add(path)

    for path in graph:
        for way in visit(path, []):
            yield way


def main():
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else '.').resolve()
    code = tracked(root, 'include/*.hpp', 'src/*.hpp', 'src/*.cpp', 'components/*/include/*.hpp',
                   'components/*/src/*.hpp', 'components/*/src/*.cpp')
    public = [path for path in code
              if 'include' in path.parts and 'detail' not in path.parts]
    text = tracked(root, '*.cpp', '*.hpp', '*.py', '*.cmake', '*CMakeLists.txt', '*.md', 'script/*')
    rules = (
        (markers, [path for path in text if path != pathlib.Path(__file__).resolve()]),
        (silent_handlers, code),
        (unsafe_steps, code),
        (awaitables, public),
        (rooms, code),
        (doors, code),
        (system_headers, code),
        (links, [path for path in text if path.suffix == '.md']),
        (script_names, text),
    )
    faults = 0
    for rule, files in rules:
        for path in files:
            for number, what in rule(path, path.read_text().splitlines()):
                faults += 1
                print(f'{path.relative_to(root)}:{number}: {what}')
    for way in cycles(root, [path for path in code if path.suffix == '.hpp']):
        faults += 1
        print('headers include each other: '
              + ' -> '.join(str(path.relative_to(root)) for path in way))
    print(f'{len(code)} source files, {faults} faults')
    return 1 if faults else 0


if __name__ == '__main__':
    sys.exit(main())
