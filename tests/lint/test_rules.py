#!/usr/bin/env python3
"""Each rule of rules.py finds what it is for, and nothing else."""

import pathlib
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import rules  # noqa: E402

ROOT = pathlib.Path('/project')


def lines_of(rule, name, text):
    """The numbers of the lines that `rule` finds fault with."""
    return [number for number, _ in rule(ROOT / name, text.splitlines())]


class Rules(unittest.TestCase):
    def test_a_marker_of_unfinished_work(self):
        self.assertEqual(lines_of(rules.markers, 'src/os/a.cpp', 'int a;\n// TO' + 'DO: b\n'), [2])

    def test_a_handler_without_a_reason(self):
        bare = 'try {\n} catch (...) {\n}\n'
        self.assertEqual(lines_of(rules.silent_handlers, 'src/os/a.cpp', bare), [2])
        for body in ('throw;', 'f(std::current_exception());', '// Nobody is to be told.'):
            told = f'try {{\n}} catch (...) {{\n    {body}\n}}\n'
            self.assertEqual(lines_of(rules.silent_handlers, 'src/os/a.cpp', told), [])

    def test_an_unsafe_step_is_argued_for(self):
        step = 'frame.destroy();\n'
        self.assertEqual(lines_of(rules.unsafe_steps, 'src/os/a.cpp', step), [1])
        argued = '// Safe because it waits.\n' + step
        self.assertEqual(lines_of(rules.unsafe_steps, 'src/os/a.cpp', argued), [])

    def test_an_awaitable_says_what_a_cancellation_does(self):
        declared = 'Coroutine<int> read();\n'
        self.assertEqual(lines_of(rules.awaitables, 'include/asyncio/files.hpp', declared), [1])
        said = '// Reads. If cancelled: nothing was read.\n' + declared
        self.assertEqual(lines_of(rules.awaitables, 'include/asyncio/files.hpp', said), [])

    def test_no_include_leads_up(self):
        up = '#include "os/posix.hpp"\n#include "net/pipes.hpp"\n#include "asyncio/streams.hpp"\n'
        self.assertEqual(lines_of(rules.rooms, 'src/loop/a.cpp', up), [2, 3])
        self.assertEqual(lines_of(rules.rooms, 'src/process/a.cpp', up), [])
        self.assertEqual(lines_of(rules.rooms, 'src/elsewhere/a.cpp', ''), [1])

    def test_components_go_through_doors(self):
        text = ('#include <asyncio/tasks.hpp>\n#include "asyncio/component/watch.hpp"\n#include "text.hpp"\n'
                '#include "asyncio/detail/promise.hpp"\n#include "os/posix.hpp"\n#include <curl/curl.h>\n'
                '#include "asyncio/tasks/task.hpp"\n')
        for folder in ('src', 'include/asyncio'):
            self.assertEqual(lines_of(rules.doors, f'components/http/{folder}/a.hpp', text), [4, 5, 7])
        self.assertEqual(lines_of(rules.doors, 'src/loop/a.cpp', text), [])
        self.assertEqual(lines_of(rules.doors, 'components/http/tests/a.cpp', text), [])
        private = '#include "tls/ssl_verify.hpp"\n'
        self.assertEqual(lines_of(rules.doors, 'components/http/src/tls.cpp', private), [])
        self.assertEqual(lines_of(rules.doors, 'components/web/src/tls.cpp', private), [1])

    def test_system_headers_come_from_os(self):
        text = ('#include <cerrno>\n#include <sys/stat.h>\n#include "fcntl.h"\n#include <errno.h>\n'
                '#include <cxxabi.h>\n#include "os/files.hpp"\n  #  include <linux/openat2.h>\n')
        for name in ('src/files/a.cpp', 'src/streams/a.hpp', 'src/base/a.cpp', 'src/net/a.cpp',
                     'include/asyncio/files.hpp', 'components/http/src/a.cpp'):
            self.assertEqual(lines_of(rules.system_headers, name, text), [2, 3, 4, 7], name)
        for name in ('src/os/a.hpp', 'src/backend/a.cpp', 'src/tls/a.cpp',
                     'components/other/src/a.cpp'):
            self.assertEqual(lines_of(rules.system_headers, name, text), [], name)

    def test_a_component_includes_the_libraries_that_it_stands_on(self):
        text = '#include <curl/curl.h>\n#include <poll.h>\n'
        self.assertEqual(lines_of(rules.system_headers, 'components/http/src/a.cpp', text), [2])
        self.assertEqual(lines_of(rules.system_headers, 'src/net/a.cpp', text), [1, 2])

    def test_the_ring_is_included_by_what_uses_it(self):
        ring = '#include <liburing.h>\n'
        self.assertEqual(lines_of(rules.system_headers, 'src/files/file_ring.cpp', ring), [])
        self.assertEqual(lines_of(rules.system_headers, 'src/files/files.cpp', ring), [1])
        self.assertEqual(lines_of(rules.system_headers, 'src/files/file_ring.cpp',
                                  ring + '#include <fcntl.h>\n'), [2])

    def test_a_link_leads_somewhere(self):
        with tempfile.TemporaryDirectory() as folder:
            page = pathlib.Path(folder) / 'a.md'
            page.write_text('')
            text = '[a](a.md) [b](b.md) [c](https://example.org/c)\n```\n[d](d.md)\n```\n'
            self.assertEqual([n for n, _ in rules.links(page, text.splitlines())], [1])

    def test_a_script_is_no_module_of_python(self):
        self.assertEqual(lines_of(rules.script_names, 'bench/inspect.py', ''), [1])
        self.assertEqual(lines_of(rules.script_names, 'bench/many_tasks.py', ''), [])
        self.assertEqual(lines_of(rules.script_names, 'src/inspect.cpp', ''), [])

    def test_headers_in_a_circle(self):
        with tempfile.TemporaryDirectory() as folder:
            root = pathlib.Path(folder).resolve()
            one, two, three = (root / f'{name}.hpp' for name in ('one', 'two', 'three'))
            one.write_text('#include "two.hpp"\n')
            two.write_text('#include "three.hpp"\n')
            three.write_text('')
            self.assertEqual(list(rules.cycles(root, [one, two, three])), [])
            three.write_text('#include "one.hpp"\n')
            self.assertEqual(list(rules.cycles(root, [one, two, three])), [[one, two, three, one]])


if __name__ == '__main__':
    unittest.main()
