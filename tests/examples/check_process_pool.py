import lzma
import pathlib
import shutil
import sys
import tempfile

from program import run, sanitized

if not shutil.which('xz'):
    sys.exit(77)

with tempfile.TemporaryDirectory() as directory:
    root = pathlib.Path(directory)
    (root / 'below').mkdir()
    texts = {root / f'file {i}': f'line {i}\n' * 10_000 for i in range(10)}
    texts[root / 'below' / '-dash'] = 'one\n'
    for path, text in texts.items():
        path.write_text(text)
    (root / 'done.xz').write_bytes(lzma.compress(b'left alone'))

    out = run(sys.argv[1], directory)
    assert out.count(' -> ') == len(texts) + 1, out
    for path, text in texts.items():
        assert not path.exists(), path
        assert lzma.open(f'{path}.xz', 'rt').read() == text, path
    assert lzma.open(root / 'done.xz').read() == b'left alone'
    assert not (root / 'done.xz.xz').exists()

    # One that cannot be made is said, and the others are made all the same.
    (root / 'again').write_text('x')
    (root / 'again.xz').write_text('in the way')
    (root / 'new').write_text('y')
    out = run(sys.argv[1], directory, status=1)
    assert (root / 'again').exists() and (root / 'new.xz').exists(), out

# Too few descriptors for a process: that is said of each file, on a line.
if not sanitized(sys.argv[1]):
    with tempfile.TemporaryDirectory() as directory:
        for i in range(3):
            pathlib.Path(directory, f'file {i}').write_text('x')
        out = run('sh', '-c', 'ulimit -n 6; exec "$@"', 'sh', sys.argv[1], directory, status=1)
        assert 'Too many open files' in out and 'Group' not in out, out

run(sys.argv[1], status=2)
