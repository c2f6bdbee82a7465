"""gdb's commands for the tasks of a program that uses libasyncio. docs/debugging.md

    asyncio tasks [TEXT]     a line a task: where it waits, for what; with TEXT those in which it occurs
    asyncio tree             who awaits whom
    asyncio bt TASK          the frames of one, or of `all`, by its name or id
    asyncio frame TASK N     the local variables of its Nth frame; 0 is the innermost
    asyncio on|off           whether plain `bt` goes on into the frames that await the one that runs (on)

Works on a program that runs, stripped or not, and on a core file: everything is found by the table of
offsets that the library puts into each program (include/asyncio/detail/debug_block.hpp). Only
`asyncio frame` needs debug information.
"""

import re
import struct

import gdb
from gdb.FrameDecorator import FrameDecorator

MAGIC = b'asyncio.debug\n\x1a\0'
FORMAT = 1
# A program that is broken must not keep us for ever.
MOST_LOOPS, MOST_TASKS, MOST_FRAMES, MOST_CALLBACKS, DEEPEST = 10_000, 5_000_000, 10_000, 100_000, 32
NONE = 0xffff


class Memory:
    """What the program's memory holds. Pages are kept until the program goes on."""

    PAGE = 4096

    def __init__(self):
        self.inferior = gdb.selected_inferior()
        self.pages = {}

    def page(self, number):
        if number not in self.pages:
            try:
                self.pages[number] = bytes(self.inferior.read_memory(number * self.PAGE, self.PAGE))
            except (gdb.MemoryError, OverflowError):
                self.pages[number] = None
        return self.pages[number]

    def read(self, address, size):
        """None: it is not all there."""
        parts = []
        while size > 0:
            page, at = divmod(address, self.PAGE)
            held = self.page(page)
            if held is None:
                return None
            part = held[at:at + size]
            parts.append(part)
            address += len(part)
            size -= len(part)
        return b''.join(parts)

    def number(self, address, kind='Q'):
        held = self.read(address, struct.calcsize(kind))
        return struct.unpack('<' + kind, held)[0] if held else 0

    def text(self, address, most=4096):
        found = b''
        while len(found) < most:
            # Not beyond the page: what follows may not be there.
            part = self.read(address + len(found), min(64, self.PAGE - (address + len(found)) % self.PAGE))
            if not part:
                break
            found += part.split(b'\0')[0]
            if b'\0' in part:
                break
        return found[:most].decode('utf-8', 'replace')


class Table:
    """The block of offsets. Fields are named as in debug_block.hpp."""

    HEAD = '<16sIHHIBBHII'
    GROUPS = (
        ('loop', 'following number closed debug running asleep first_task ready batch inbox timers '
                 'timer_size owner steps rounds iterations clock backend_name', 'H'),
        ('thread', 'loop task id', 'H'),
        ('future', 'state flags callbacks waiting place next is_task must_cancel started done_nodes', 'H'),
        ('future', 'pending finished failed cancelled', 'B'),
        ('task', 'leaf name following previous cancels extra_name', 'H'),
        ('frame', 'link place head bits nested root outcome generator', 'H'),
        ('place', 'file function line column', 'H'),
        ('waiter', 'task state kind line pending line_first following waiter', 'H'),
        ('serving', 'how at', 'H'),
        ('serving', 'future future_at those_of waiter line reserved', 'B'),
        ('gather', 'items count finished', 'H'),
    )
    TYPES = (('task_type', 48), ('future_type', 48), ('waiter_type', 48), ('lined_type', 48),
             ('serving_type', 64), ('gather_type', 48))

    def __init__(self, memory, at):
        head = memory.read(at, struct.calcsize(self.HEAD))
        (self.magic, self.size, self.format, self.minor, self.library, self.pointer, self.long_name, _,
         self.waits_count, self.waits_size) = struct.unpack(self.HEAD, head)
        if self.format != FORMAT or self.pointer != 8:
            version = '.'.join(str(self.library >> shift & 255) for shift in (16, 8, 0))
            raise gdb.GdbError(f'this program uses libasyncio {version}, which lays out its loops in another way: '
                               'load the asyncio_gdb.py that came with it')
        at += struct.calcsize(self.HEAD)
        self.waits, self.loops = struct.unpack('<QQ', memory.read(at, 16))
        at += 16
        for group, names, kind in self.GROUPS:
            values = struct.unpack(f'<{len(names.split())}{kind}', memory.read(at, len(names.split()) * struct.calcsize(kind)))
            at += len(values) * struct.calcsize(kind)
            for name, value in zip(names.split(), values):
                setattr(self, f'{group}_{name}', value)
        for name, size in self.TYPES:
            setattr(self, name, memory.read(at, size).split(b'\0')[0].decode())
            at += size


def images():
    """Where files are mapped from their beginning."""
    try:
        mappings = gdb.execute('info proc mappings', to_string=True)
    except gdb.error as error:
        raise gdb.GdbError(f'there is no process, and no core file: {error}') from None
    for line in mappings.splitlines():
        match = re.match(r'\s*(0x[0-9a-f]+)\s+0x[0-9a-f]+\s+0x[0-9a-f]+\s+(0x[0-9a-f]+)', line)
        if match and int(match[2], 16) == 0:
            yield int(match[1], 16)


def tables(memory):
    """The tables of all copies of the library: an ELF note leads to each."""
    found = []
    for base in images():
        if memory.read(base, 4) != b'\x7fELF':
            continue
        headers, size, count = (memory.number(base + 32), memory.number(base + 54, 'H'), memory.number(base + 56, 'H'))
        for i in range(min(count, 100)):
            at = base + headers + i * size
            if memory.number(at, 'I') != 4:  # PT_NOTE
                continue
            # The first part that is mapped says by how much the addresses are off.
            begin, length = base + memory.number(at + 8), memory.number(at + 40)
            content = memory.read(begin, min(length, 65536))
            if content:
                found += [Table(memory, block) for block in blocks_in(memory, begin, content)]
    if not found:
        raise gdb.GdbError('this program has no libasyncio that can be looked into')
    return found


def blocks_in(memory, begin, content):
    at = 0
    while at + 12 <= len(content):
        name_size, size, kind = struct.unpack_from('<III', content, at)
        name = content[at + 12:at + 12 + name_size]
        data = at + 12 + (name_size + 3) // 4 * 4
        if name == b'asyncio\0' and kind == 1 and size == 8 and data + 8 <= len(content):
            block = begin + data + struct.unpack_from('<q', content, data)[0]
            if memory.read(block, len(MAGIC)) == MAGIC:
                yield block
        at = data + (size + 3) // 4 * 4


PAIRS = {'(': ')', '<': '>', '{': '}', '[': ']'}


def end_of_pair(text, i):
    """Behind what closes the bracket at i."""
    opened = []
    while i < len(text):
        c = text[i]
        if c in PAIRS and not (c == '<' and opened and opened[-1] != '>'):
            opened.append(PAIRS[c])
        elif opened and c == opened[-1]:
            opened.pop()
            if not opened:
                return i + 1
        i += 1
    return len(text)


def name_parts(pretty):
    """The qualified name of a function, as the compilers write its declaration: src/base/function_name.cpp."""
    text = re.sub(r' \[(with )?\w+ = .*\]$', '', pretty)
    parts, word, i = [], '', 0
    while i < len(text):
        if text.startswith('operator()', i):
            word, i = 'operator()', i + len('operator()')
        elif text.startswith('::', i):
            parts.append(word)
            word, i = '', i + 2
        elif text[i] in ' *&':  # what came before was returned
            parts, word, i = [], '', i + 1
        elif text[i] in PAIRS:
            end = end_of_pair(text, i)
            inner = text[i:end]
            if 'lambda' in inner[:10] or inner == '(anonymous class)':
                word = '<lambda>'
            elif inner in ('(anonymous namespace)', '{anonymous}'):
                word = '{anonymous}'
            elif text[i] == '(' and not text.startswith('::', end):
                break  # its parameters
            i = end
        else:
            word, i = word + text[i], i + 1
    return [part for part in parts if part != '{anonymous}'] + [word]


def function_name(pretty):
    """`asyncio::Coroutine<int> app::C::f(int) [with T = int]` -> `C::f`, as src/base/function_name.cpp."""
    parts = name_parts(pretty)
    if parts[-1] == '<lambda>' or (parts[-1] == 'operator()' and parts[-2:-1] == ['<lambda>']):
        return '<lambda>'
    of_class = len(parts) > 1 and parts[-2][:1].isupper()
    return '::'.join(parts[-2:] if of_class else parts[-1:]) or pretty


def is_of_library(pretty):
    return name_parts(pretty)[0] == 'asyncio'


class Task:
    def __init__(self, at, name):
        self.at, self.name = at, name
        self.state = 'suspended'
        self.frames = []      # (address of the promise, function, file, line), the innermost first
        self.waits_for = ''
        self.awaited_by = []

    def where(self):
        shown = [f for f in self.frames if not is_of_library(f[1])] or self.frames
        return shown[0] if shown else (0, '?', '?', 0)


class Loop:
    def __init__(self, at):
        self.at, self.tasks = at, []


class Reader:
    """Follows the pointers of one copy of the library, as src/inspect/reader.cpp does."""

    def __init__(self, memory, table):
        self.m, self.t, self.kinds = memory, table, {}

    def loops(self):
        loop, found = self.m.number(self.t.loops), []
        while loop and len(found) < MOST_LOOPS and loop not in {each.at for each in found}:
            found.append(self.loop(loop))
            loop = self.m.number(loop + self.t.loop_following)
        return found

    def loop(self, at):
        m, t, loop = self.m, self.t, Loop(at)
        loop.number = m.number(at + t.loop_number)
        loop.running = m.number(at + t.loop_running, 'B') != 0
        loop.asleep = m.number(at + t.loop_asleep, 'B') != 0
        loop.backend = m.text(m.number(at + t.loop_backend_name), 32)
        loop.clock = m.number(at + t.loop_clock, 'q')
        owner = m.number(at + t.loop_owner)
        loop.thread = m.number(owner + t.thread_id, 'i') if owner else 0
        running = m.number(owner + t.thread_task) if owner and loop.running else 0
        ready = set(self.chain(m.number(at + t.loop_ready)))
        ready |= set(self.chain(m.number(at + t.loop_batch)))
        seen, task = set(), m.number(at + t.loop_first_task)
        while task and task not in seen and len(seen) < MOST_TASKS:
            seen.add(task)
            loop.tasks.append(self.task(task, running, ready, loop.clock))
            task = m.number(task + t.task_following)
        return loop

    def chain(self, node):
        for _ in range(MOST_TASKS):
            if not node:
                return
            yield node
            node = self.m.number(node + self.t.future_next)

    def task(self, at, running, ready, now):
        m, t = self.m, self.t
        task = Task(at, self.name(at))
        waiting = m.number(at + t.future_waiting)
        if self.done(at):
            waiting = 0
        if at == running:
            task.state = 'running'
        elif at in ready:
            task.state = 'ready'
        elif waiting:
            task.state = 'waiting'
        task.frames = self.frames(at)
        if not task.frames:
            task.frames = [self.frame(0, m.number(at + t.future_place))]
        if task.state == 'waiting':
            task.waits_for = self.wait(waiting, now)
        task.awaited_by = self.awaiters(at, 0)
        return task

    def done(self, future):
        return self.m.number(future + self.t.future_state, 'B') != self.t.future_pending

    def name(self, task):
        name = self.m.number(task + self.t.task_name)
        if name & 1:
            return f'Task-{name >> 1}'
        if self.t.long_name != 1:
            return '?'
        at, size = self.m.number(name + self.t.task_extra_name), self.m.number(name + self.t.task_extra_name + 8)
        return (self.m.read(at, min(size, 1000)) or b'?').decode('utf-8', 'replace')

    def frames(self, task):
        m, t, found = self.m, self.t, []
        frame = m.number(task + t.task_leaf)
        while frame and len(found) < MOST_FRAMES:
            link = m.number(frame + t.frame_link)
            found.append(self.frame(frame, m.number(frame + t.frame_place)))
            if link & t.frame_root:
                # The outermost leads back to its task, or it is no such chain.
                return found if link & ~t.frame_bits == task else []
            frame = link & ~t.frame_bits
        return found

    def frame(self, promise, place):
        m, t = self.m, self.t
        if not place:
            return promise, '?', '?', 0
        return (promise, m.text(m.number(place + t.place_function)), m.text(m.number(place + t.place_file)),
                m.number(place + t.place_line, 'I'))

    def wait(self, waiting, now):
        m, t, kind = self.m, self.t, self.kind(waiting)
        if 'task' in kind:
            return self.name(waiting)
        if 'gather' in kind:
            return f'gather ({m.number(waiting + t.gather_finished)} of {m.number(waiting + t.gather_count)} done)'
        if 'waiter' not in kind:
            return f'Future {waiting:#x}' if 'future' in kind else kind[0]
        number = m.number(waiting + t.waiter_kind, 'B')
        if number >= t.waits_count:
            return kind[0]
        at = m.number(t.waits + 8 * number)
        name = m.text(at, 48)
        line_at, size_at, capacity_at, _, when_at, fd_at = struct.unpack('<6H', m.read(at + 48, 12) or bytes(12))
        if not name:
            return kind[0]
        if when_at != NONE:
            left = (m.number(waiting + when_at, 'q') - now) * 1e-9
            return f'{name}, {max(0, left):.1f} s left' if left < 9e9 else f'{name} for ever'
        if fd_at != NONE:
            return f'{name} {m.number(waiting + fd_at, "i")}'
        line = m.number(waiting + t.waiter_line) if 'lined' in kind and line_at != NONE else 0
        if not line:
            return name
        text = f'{name} of {line - line_at:#x}'
        if size_at != NONE:
            text += f' ({m.number(line - line_at + size_at)}'
            capacity = m.number(line - line_at + capacity_at) if capacity_at != NONE else 0
            text += f' of {capacity})' if capacity else ')'
        return text

    def kind(self, node):
        table = self.m.number(node)
        if table not in self.kinds:
            self.kinds[table] = self.read_kind(self.m.number(table - 8)) if table else ['?']
        return self.kinds[table]

    def read_kind(self, type_info):
        """The class's own name first, then what it is, as its bases tell (C++ ABI, 2.9.5)."""
        m, t, found = self.m, self.t, []
        for _ in range(16):
            if not type_info:
                break
            name = m.text(m.number(type_info + 8)).lstrip('*')
            if not found:
                found.append(name)
            for what in ('task', 'gather', 'lined', 'waiter', 'future'):
                if name == getattr(t, what + '_type'):
                    found.append(what)
            if t.serving_type and name.startswith(t.serving_type):
                found.append('serving')
            if {'waiter', 'serving', 'future'} & set(found):
                break
            type_info = self.base(type_info)
        return found or ['?']

    def base(self, type_info):
        following = self.m.number(type_info + 16)
        flags, count = following & 0xffffffff, following >> 32
        if flags > 3 or not 0 < count <= 16:
            return following
        for i in range(count):
            if self.m.number(type_info + 32 + 16 * i, 'q') >> 8 == 0:
                return self.m.number(type_info + 24 + 16 * i)
        return 0

    def awaiters(self, future, depth):
        if self.done(future) or depth == DEEPEST:
            return []
        found, last = [], self.m.number(future + self.t.future_callbacks)
        node = last
        for _ in range(MOST_CALLBACKS if last else 0):
            node = self.m.number(node + self.t.future_next)
            if not node:
                break
            found += [each for each in self.awaiters_of(node, depth) if each not in found]
            if node == last:
                break
        return found

    def awaiters_of(self, node, depth):
        m, t, kind = self.m, self.t, self.kind(node)
        if 'task' in kind:
            return [node]
        if 'serving' not in kind:
            return []
        how, at = m.number(node + t.serving_how, 'B'), m.number(node + t.serving_at)
        if not at:
            return []
        if how == t.serving_future:
            return [at]
        if how == t.serving_future_at:
            return [each for each in [m.number(at)] if each]
        if how == t.serving_those_of:
            return self.awaiters(at, depth + 1)
        if how == t.serving_waiter:
            return [each for each in [m.number(at + t.waiter_task)] if each]
        if how == t.serving_line:
            return list(self.those_in_line(at))
        return []

    def those_in_line(self, line):
        m, t = self.m, self.t
        end, link = line + t.waiter_line_first - t.waiter_following, m.number(line + t.waiter_line_first)
        for _ in range(MOST_CALLBACKS):
            if not link or link == end:
                return
            waiter = link - t.waiter_waiter
            task = m.number(waiter + t.waiter_task)
            if m.number(waiter + t.waiter_state, 'B') == t.waiter_pending and task:
                yield task
            link = m.number(link + t.waiter_following)


def read():
    """[(reader, [loops])]"""
    memory = Memory()
    return [(reader, reader.loops()) for reader in (Reader(memory, table) for table in tables(memory))]


def all_loops():
    return [loop for _, loops in read() for loop in loops]


def shown(text):
    """Text of the program: it may not steer the terminal."""
    return ''.join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def print_loop(loop):
    state = 'does not run' if not loop.running else 'asleep' if loop.asleep else 'running'
    gdb.write(f'loop {loop.number}: {shown(loop.backend)}, {state}, thread {loop.thread}, {len(loop.tasks)} tasks\n')


def print_rows(rows):
    widths = [min(60, max(len(row[i]) for row in rows)) for i in range(len(rows[0]))]
    for row in rows:
        gdb.write('  '.join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() + '\n')


def find(loops, word):
    for loop in loops:
        for task in loop.tasks:
            if word in (task.name, hex(task.at)):
                return task
    raise gdb.GdbError(f'no task is called {word}')


class Asyncio(gdb.Command):
    """Tasks of libasyncio: asyncio tasks, tree, bt, frame, on, off."""

    def __init__(self):
        super().__init__('asyncio', gdb.COMMAND_STACK, gdb.COMPLETE_NONE, True)


class Tasks(gdb.Command):
    """A line a task: where it waits, and for what. asyncio tasks [TEXT]: those in which TEXT occurs."""

    def __init__(self):
        super().__init__('asyncio tasks', gdb.COMMAND_STACK)

    def invoke(self, argument, _):
        for loop in all_loops():
            print_loop(loop)
            names = {task.at: task.name for task in loop.tasks}
            rows = [('WHERE', 'FUNCTION', 'STATE', 'WAITS FOR', 'TASK', 'AWAITED BY')]
            for task in loop.tasks:
                _, function, file, line = task.where()
                awaited = ', '.join(names.get(each, hex(each)) for each in task.awaited_by)
                row = [f'{file}:{line}', function_name(function), task.state, task.waits_for, task.name, awaited]
                if argument in ' '.join(row):
                    rows.append([shown(cell) for cell in row])
            if len(rows) > 1:
                print_rows(rows)


class Tree(gdb.Command):
    """Who awaits whom, from those that nobody awaits."""

    def __init__(self):
        super().__init__('asyncio tree', gdb.COMMAND_STACK)

    def invoke(self, _argument, _):
        for loop in all_loops():
            print_loop(loop)
            tasks = {task.at: task for task in loop.tasks}
            awaited = {}
            for task in loop.tasks:
                for waiter in task.awaited_by:
                    awaited.setdefault(waiter, []).append(task)
            seen = set()
            for task in loop.tasks:
                if not any(waiter in tasks for waiter in task.awaited_by):
                    self.print(task, awaited, seen)
            for task in loop.tasks:
                if task.at not in seen:
                    gdb.write('a circle:\n')
                    self.print(task, awaited, seen)

    @staticmethod
    def print(first, awaited, seen):
        left = [(first, 0)]
        while left:
            task, level = left.pop()
            margin = '    ' * min(level, 100)
            if task.at in seen:
                gdb.write(f'{margin}* {shown(task.name)} (see above)\n')
                continue
            seen.add(task.at)
            gdb.write(f'{margin}* {shown(task.name)}{"" if task.state == "waiting" else f" ({task.state})"}\n')
            for _, function, file, line in reversed(task.frames):
                if not is_of_library(function):
                    gdb.write(f'{margin}  |  {shown(function_name(function))}()  {shown(file)}:{line}\n')
            if task.at in awaited:
                left += [(child, level + 1) for child in reversed(awaited[task.at])]
            elif task.waits_for:
                gdb.write(f'{margin}  waits for {shown(task.waits_for)}\n')


class Backtrace(gdb.Command):
    """The frames of one task, by its name or id, or of all."""

    def __init__(self):
        super().__init__('asyncio bt', gdb.COMMAND_STACK)

    def invoke(self, argument, _):
        loops = all_loops()
        tasks = [task for loop in loops for task in loop.tasks] if argument == 'all' else [find(loops, argument.strip('"'))]
        for task in tasks:
            gdb.write(f'{shown(task.name)} ({task.state}) {task.at:#x}\n')
            for i, (_, function, file, line) in enumerate(task.frames):
                gdb.write(f'#{i}  {shown(function_name(function))}() at {shown(file)}:{line}\n')
            if task.waits_for:
                gdb.write(f'waits for {shown(task.waits_for)}\n')


def frame_type(resume):
    """The type of a suspended frame, as the compiler describes the function that resumes it."""
    block = gdb.block_for_pc(resume)
    while block and not block.function:
        block = block.superblock
    if not block:
        raise gdb.GdbError('there is no debug information for this coroutine')
    for symbol in block:
        # g++: the argument frame_ptr. clang: the variable __coro_frame.
        if symbol.name == 'frame_ptr':
            return symbol.type.target()
        if symbol.name == '__coro_frame':
            return symbol.type
    raise gdb.GdbError('there is no debug information for this frame')


# Members of a coroutine's frame that the compiler keeps for itself. g++ numbers them, clang names them by their types.
OF_COMPILER = re.compile(r'_Coro_|__|D\.|(Aw|Is|Fs)\d*$|(class|struct|union|enum)_|(PointerType|__int)')


class Frame(gdb.Command):
    """The variables of a task's Nth frame: asyncio frame TASK N. 0 is the innermost."""

    def __init__(self):
        super().__init__('asyncio frame', gdb.COMMAND_STACK)

    def invoke(self, argument, _):
        words = gdb.string_to_argv(argument)
        if len(words) != 2 or not words[1].isdigit():
            raise gdb.GdbError('asyncio frame TASK N')
        reader_of = read()
        task = find([loop for _, loops in reader_of for loop in loops], words[0])
        if int(words[1]) >= len(task.frames) or not task.frames[int(words[1])][0]:
            raise gdb.GdbError(f'{task.name} has no frame {words[1]}')
        promise, function, file, line = task.frames[int(words[1])]
        reader = reader_of[0][0]
        at = promise - reader.t.frame_head
        gdb.write(f'#{words[1]}  {shown(function_name(function))}() at {shown(file)}:{line}\n')
        value = gdb.Value(at).cast(frame_type(reader.m.number(at)).pointer()).dereference()
        for field in value.type.fields():
            name = re.sub(r'(_\d+)+$', '', field.name or '')
            if not name or OF_COMPILER.match(name):
                continue
            try:
                gdb.write(f'{name} = {value[field].format_string(max_elements=20)}\n')
            except gdb.error as error:
                gdb.write(f'{name} = <{error}>\n')


class AwaitingFrame(FrameDecorator):
    """A coroutine that awaits the one above, in a backtrace."""

    def __init__(self, base, function, file, line):
        super().__init__(base)
        self.text, self.file, self.at = function, file, line

    def function(self):
        return f'[await] {shown(function_name(self.text))}'

    def filename(self):
        return shown(self.file)

    def line(self):
        return self.at

    def address(self):
        return None

    def frame_args(self):
        return None

    def frame_locals(self):
        return None

    def elided(self):
        return None


class AwaitingFrames:
    """Plain `bt` of a loop's thread goes on with the tasks that await the one that runs there."""

    def __init__(self):
        self.name, self.priority, self.enabled = 'asyncio', 100, True
        gdb.frame_filters[self.name] = self

    def filter(self, frames):
        last = None
        for last in frames:
            yield last
        if last is None:
            return
        try:
            waiting = self.awaiting()
        except (gdb.error, struct.error):
            return  # a backtrace is printed whatever is wrong with the tasks
        for _, function, file, line in waiting:
            yield AwaitingFrame(last.inferior_frame(), function, file, line)

    @staticmethod
    def awaiting():
        thread = gdb.selected_thread()
        for loop in all_loops():
            if not thread or loop.thread != thread.ptid[1]:
                continue
            tasks = {task.at: task for task in loop.tasks}
            task = next((each for each in loop.tasks if each.state == 'running'), None)
            seen = set()
            while task and task.at not in seen:
                seen.add(task.at)
                waiter = next((tasks[each] for each in task.awaited_by if each in tasks), None)
                if waiter:
                    yield from (f for f in waiter.frames if not is_of_library(f[1]))
                task = waiter


class Switch(gdb.Command):
    def __init__(self, word, filters):
        self.__doc__ = f'Plain `bt` {"goes" if word == "on" else "does not go"} on into awaiting frames.'
        super().__init__(f'asyncio {word}', gdb.COMMAND_STACK)
        self.word, self.filters = word, filters

    def invoke(self, _argument, _):
        self.filters.enabled = self.word == 'on'


Asyncio()
Tasks()
Tree()
Backtrace()
Frame()
FILTERS = AwaitingFrames()
Switch('on', FILTERS)
Switch('off', FILTERS)
