import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import time

from program import run

commands = sys.argv[1]
begin = time.monotonic()
out = run(commands, '-j', '4', *['sleep 0.5'] * 4, 'echo seen')
assert time.monotonic() - begin < 1.9, 'one after the other'
assert out.count('sleep 0.5') >= 4 and 'echo seen' in out, out
out = run(commands, 'true', 'exit 3', status=1)
assert 'exit 3' in out and '3' in out, out

# Bytes of others are shown as what they are, also where a read cut a character in two.
out = run(commands, "printf 'a\\033[2Jb'")
assert 'a\\x1b[2Jb' in out and '\x1b' not in out, out
for zeros in (4094, 4095, 4096):
    out = run(commands, rf"printf '%0{zeros}d\303\251\303\251' 0")
    assert zeros * '0' in out and '\\x' not in out, out


def on_a_terminal(columns, lines, *words):
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack('HHHH', lines, columns, 0, 0))
    process = subprocess.Popen([commands, *words], stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown = b''
    try:
        while data := os.read(ours, 65536):
            shown += data
    except OSError:  # the terminal has gone with its last program
        pass
    os.close(ours)
    assert process.wait(20) == 0, shown
    return shown.decode()


for columns in (80, 40, 20, 5):
    text = on_a_terminal(columns, 10, '-j', '50', *['sleep 0.3; echo ' + 100 * '\u00e9'] * 30)
    for line in re.sub(r'\x1b\[[0-9]*[AJ]|\r', '', text).split('\n'):
        assert len(line) < columns, (columns, line)
    # No picture has more lines than the terminal, and each command stays, once, as a line.
    assert all(int(up) < 10 for up in re.findall(r'\x1b\[([0-9]+)A', text)), text
    if columns >= 20:
        assert len(re.findall(r'^(?:\x1b\[[0-9]*[AJ]|\r)*done', text, re.M)) == 30, text
