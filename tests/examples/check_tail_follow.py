import os
import pathlib
import select
import shutil
import subprocess
import sys
import tempfile

from program import interrupt, run, started


def append(path, text):
    with open(path, 'a') as file:
        file.write(text)


program = sys.argv[1]

with tempfile.TemporaryDirectory() as directory:
    log = pathlib.Path(directory) / 'logs' / 'log'
    log.parent.mkdir()
    log.write_text('old\n')
    with started(program, str(log)) as tail:
        # It does not say when it has begun to follow: it is written to until it answers.
        answered = False
        while not answered:
            append(log, 'begin\n')
            answered = bool(select.select([tail.stdout], [], [], 0.1)[0])
        append(log, 'begun\n')

        def expect(*lines):
            for line in lines:
                said = tail.stdout.readline()
                while said == 'begin\n':
                    said = tail.stdout.readline()
                assert said == line + '\n', (said, line)

        expect('begun')
        append(log, 'one\ntwo\n')
        expect('one', 'two')
        log.write_text('short\n')
        expect('tail_follow: file truncated', 'short')
        # As logs are rotated.
        log.rename(log.with_suffix('.1'))
        append(log, 'another file\n')
        expect('another file')
        append(log, 'goes on\n')
        expect('goes on')
        # X1. Emptied, and longer than before at once.
        log.write_text('first of what is new\n' + 'more\n' * 20)
        expect('tail_follow: file truncated', 'first of what is new', *['more'] * 20)
        # X1. Its folder is removed, and comes again.
        shutil.rmtree(log.parent)
        expect(f"tail_follow: [Errno 2] No such file or directory: '{log}': waiting for it")
        log.parent.mkdir()
        append(log, 'in a new folder\n')
        expect('in a new folder')
        status, rest = interrupt(tail)
        assert status == 130 and rest == 'KeyboardInterrupt\n', (status, rest)

    # X1. By a link, which leads to another folder and then elsewhere.
    logs = pathlib.Path(directory) / 'logs'
    (logs / 'one').write_text('old\n')
    link = pathlib.Path(directory) / 'link'
    link.symlink_to('logs/one')
    with started(program, str(link)) as tail:
        answered = False
        while not answered:
            append(logs / 'one', 'begin\n')
            answered = bool(select.select([tail.stdout], [], [], 0.1)[0])
        append(logs / 'one', 'begun\n')
        expect('begun')
        append(link, 'by the link\n')
        expect('by the link')
        (logs / 'two').write_text('in the other\n')
        (pathlib.Path(directory) / 'next').symlink_to('logs/two')
        (pathlib.Path(directory) / 'next').rename(link)
        expect('in the other')
        append(logs / 'two', 'goes on\n')
        expect('goes on')
        # What it leads to is rotated.
        (logs / 'two').rename(logs / 'two.1')
        append(logs / 'two', 'another file\n')
        expect('another file')
        status, rest = interrupt(tail)
        assert status == 130 and rest == 'KeyboardInterrupt\n', (status, rest)

    # X1. What is no file to follow is refused, and not waited for.
    fifo = pathlib.Path(directory) / 'fifo'
    os.mkfifo(fifo)
    said = run(program, str(fifo), status=1)
    assert f"[Errno 22] Not a regular file: '{fifo}'" in said, said
    said = run(program, directory, status=1)
    assert f"[Errno 21] Is a directory: '{directory}'" in said, said

    # X1. A standard output that takes nothing is an error.
    with open('/dev/full', 'w') as full:
        tail = subprocess.Popen([program, str(log)], stdout=full, stderr=subprocess.PIPE, text=True)
        try:
            while tail.poll() is None:
                append(log, 'text\n')
                try:
                    tail.wait(0.1)
                except subprocess.TimeoutExpired:
                    pass
            assert tail.returncode == 1, tail.returncode
            said = tail.stderr.read()
            assert "standard output: No space left on device" in said, said
        finally:
            tail.kill()
            tail.wait()
            tail.stderr.close()
