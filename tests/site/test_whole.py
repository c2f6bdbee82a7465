#!/usr/bin/env python3
"""The whole site: it is made, nothing in it leads nowhere, every public name has a comment, twice it is the same."""

import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


def start(folder, seed):
    return subprocess.Popen([sys.executable, str(ROOT / 'script/docs'), folder], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            text=True, env={**os.environ, 'PYTHONHASHSEED': seed}, cwd='/')


def files_of(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in pathlib.Path(folder).rglob('*') if p.is_file()}


class Whole(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as second:
            runs = [start(first, '1'), start(second, '2')]
            cls.said = [run.communicate()[1] for run in runs]
            cls.files, cls.files_again = files_of(first), files_of(second)

    def test_nothing_is_undocumented_and_no_link_leads_nowhere(self):
        self.assertEqual(self.said[0].splitlines(), [])

    def test_made_twice_it_is_the_same_byte_for_byte(self):
        self.assertEqual(sorted(self.files), sorted(self.files_again))
        for path in self.files:
            self.assertEqual(self.files[path], self.files_again[path], path)

    def test_it_has_the_pages_and_names_that_users_look_for(self):
        for path in ('index.html', 'style.css', 'site.js', 'search-index.js', 'docs/tutorial.html', 'docs/speed.svg',
                     'docs/decisions/index.html', 'reference/index.html', 'examples/index.html',
                     'components/http/index.html', 'include/asyncio/locks.hpp.html'):
            self.assertIn(path, self.files)
        for page, anchor in (('tasks', 'create_task'), ('tasks', 'Task.get_name'), ('locks', 'Lock.acquire'),
                             ('streams', 'StreamReader.readuntil'), ('http', 'http.Client.get'),
                             ('component', 'component.Backend.wait'), ('signals', 'signals.wait')):
            self.assertIn(f'id="{anchor}"', self.files[f'reference/{page}.html'].decode())

    def test_guides_link_to_the_reference_and_it_to_the_guides(self):
        self.assertIn('href="reference/tasks.html#create_task"', self.files['index.html'].decode())
        self.assertIn('href="../docs/streams.html', self.files['reference/streams.html'].decode())

    def test_it_needs_no_network(self):
        for path, content in self.files.items():
            if path.endswith(('.html', '.css', '.js')):
                text = content.decode()
                for loads in ('src="http', 'rel="stylesheet" href="http', '@import', 'url(', 'fetch('):
                    if path.endswith('.html') and loads in ('@import', 'url(', 'fetch('):
                        continue         # a program may speak of them
                    if path == 'search-index.js':
                        continue
                    self.assertNotIn(loads, text, path)

    def test_no_place_of_this_machine_is_in_it(self):
        for path, content in self.files.items():
            self.assertNotIn(str(ROOT).encode(), content, path)


if __name__ == '__main__':
    unittest.main()
