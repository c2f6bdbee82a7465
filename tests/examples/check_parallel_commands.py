import sys
import time

from program import run

commands = sys.argv[1]
begin = time.monotonic()
out = run(commands, '-j', '4', *['sleep 0.5'] * 4, 'echo seen')
assert time.monotonic() - begin < 1.9, 'one after the other'
assert out.count('sleep 0.5') >= 4 and 'echo seen' in out, out
out = run(commands, 'true', 'exit 3', status=1)
assert 'exit 3' in out and '3' in out, out
