import sys

from program import run

out = run(sys.argv[1])
assert out.strip(), out
run(sys.argv[1], 'what', status=2)
