"""What has passed a slow check is not checked again until it changes.

A file is known by what the preprocessor makes of it, comments included, and by what checks it: a
change of an included header, of an option or of the tool makes it another.
"""

import hashlib
import json
import os
import pathlib
import shlex
import subprocess

ROOT = str(pathlib.Path(__file__).resolve().parent.parent.parent)


class Passed:
    def __init__(self, folder, *tools):
        """folder: where it is kept. tools: texts that say what checks, and how."""
        self.folder = folder
        self.tools = '\0'.join(tools)
        folder.mkdir(parents=True, exist_ok=True)

    def place(self, entry):
        """Where it is noted that a file has passed; entry: its entry in compile_commands.json.

        None if the compiler does not preprocess it."""
        words = entry.get('arguments') or shlex.split(entry['command'])
        words = words[1:] if os.path.basename(words[0]) == 'ccache' else words
        if '-o' in words:
            at = words.index('-o')
            words = words[:at] + words[at + 2:]
        words = [w for w in words if w != '-c'] + ['-E', '-P', '-C', '-w']
        done = subprocess.run(words, cwd=entry['directory'], stdin=subprocess.DEVNULL,
                              capture_output=True, check=False)
        if done.returncode != 0:
            return None
        # Wherever the checkout and the build tree lie.
        said = '\0'.join([self.tools, *words]).replace(entry['directory'], '').replace(ROOT, '')
        of = hashlib.sha256(done.stdout.replace(ROOT.encode(), b''))
        of.update(said.encode())
        return self.folder / of.hexdigest()


def database(build):
    """compile_commands.json of a build tree: one entry a file."""
    entries = json.loads((build / 'compile_commands.json').read_text())
    return {os.path.realpath(os.path.join(e['directory'], e['file'])): e for e in reversed(entries)}
