import pathlib
import select
import sys
import tempfile

from program import interrupt, started


def append(path, text):
    with open(path, 'a') as file:
        file.write(text)


with tempfile.TemporaryDirectory() as directory:
    log = pathlib.Path(directory) / 'log'
    log.write_text('old\n')
    with started(sys.argv[1], str(log)) as tail:
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
        status, rest = interrupt(tail)
        assert status == 130 and rest == 'KeyboardInterrupt\n', (status, rest)
