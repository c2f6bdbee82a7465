import os
import pty
import re
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

from program import interrupt, run, started
from web import refusing, serving

program = sys.argv[1]
picture_server = os.path.join(os.path.dirname(program), 'picture_server')


def contents(folder):
    found = {}
    for name in os.listdir(folder):
        with open(os.path.join(folder, name), 'rb') as file:
            found[name] = file.read()
    return found


def without_tries(out):
    """The lines of the pictures, without their counts: they end in any order."""
    return sorted(re.sub(r'^\d+/\d+ ', '', line) for line in out.splitlines()
                  if re.match(r'\d+/\d+ |FAILED', line))


def pictures(folder):
    """With the server that comes with it."""
    with started(picture_server, '7', '20') as server:
        urls = []
        while (line := server.stdout.readline()) != '\n':
            urls.append(line.strip())
        assert len(urls) == 7, urls
        with open(folder + '/list', 'w') as file:
            file.write('# holiday\r\n\r\n  \n' + ' \r\n\t'.join(urls[1:]) + '\r\n')
        out = run(program, '--folder', folder + '/saved', '--list', folder + '/list', urls[0])
        assert '7 of 7 pictures in ' in out, out
        assert '(the sum of their times)' in out, out
        # Each third one was refused once.
        assert out.count('again in 200 ms: ') == 2 and out.count('503') == 2, out
        assert without_tries(out) == [f'{i}.bmp, 76.9 kB' for i in range(1, 8)], out
        saved = contents(folder + '/saved')
        assert sorted(saved) == [f'{i}.bmp' for i in range(1, 8)], list(saved)
        assert len(set(saved.values())) == 7
        for url in urls:
            with urllib.request.urlopen(url) as answer:
                assert saved[url.rsplit('/', 1)[1]] == answer.read(), url
        # The same names again: nothing is replaced that one did not ask for.
        out = run(program, '--folder', folder + '/saved', *urls, status=1)
        assert out.count('it is there already') == 7 and 'times as long' not in out, out
        # --compare leaves nothing behind, and leaves alone what is the user's.
        os.mkdir(folder + '/saved/.compare')
        out = run(program, '--folder', folder + '/saved', '--overwrite', '--compare', *urls)
        os.rmdir(folder + '/saved/.compare')
        assert out.count('7/7 ') >= 2 and '(measured)' in out, out
        assert contents(folder + '/saved') == saved
        # What there is not is no reason to try again.
        missing = urls[0].replace('1.bmp', '99.bmp')
        out = run(program, '--folder', folder + '/other', urls[0], missing, status=1)
        assert '1 of 2 pictures in ' in out and 'again' not in out, out
        assert 'FAILED 99.bmp: ' in out and '404' in out, out
        assert sorted(contents(folder + '/other')) == ['1.bmp']
        status, rest = interrupt(server)
        assert status == 130, (status, rest)


def failures(folder):
    """Servers that do not do as they should."""
    def answer(request):
        name = request.path.rsplit('/', 1)[1]
        if name == 'short.png':
            request.reply(b'only half', length=20)
            request.close_connection = True
        elif name == 'slow.png':
            over.wait(20)
        elif name == 'busy.png':
            busy.append(name)
            request.reply(b'', status=503)
        elif name == 'moved.png':
            request.reply(b'', status=302, Location='/good.png')
        elif name == 'away.png':
            request.reply(b'', status=302, Location='file:///etc/passwd')
        else:
            request.reply(request.path.encode())

    over = threading.Event()
    busy = []
    with serving(answer) as url:
        begin = time.monotonic()
        out = run(program, '--folder', folder, '--timeout', '1', '--retries', '1',
                  url + '/good.png', url + '/a/good.png', url + '/moved.png', url + '/short.png',
                  url + '/slow.png', url + '/busy.png', url + '/away.png', url + '/%2e%2e%2fevil',
                  url + '/..', refusing() + '/nobody.png', 'file:///etc/passwd',
                  'http://127.0.0.1:0/zero.png', status=1)
        over.set()
        assert time.monotonic() - begin < 15, out
    for name, why in (('short.png', ''), ('slow.png', '1'), ('busy.png', '503'),
                      ('away.png', ''), ('nobody.png', "Couldn't connect"), ('passwd', 'file')):
        assert re.search(rf'^FAILED {name}: .*{why}', out, re.M), (name, out)
    assert len(busy) == 2 and out.count('again in 200 ms') >= 2, (busy, out)
    found = contents(folder)
    # Names that are taken get a number; none leads out of the folder; nothing is left of failures.
    assert found.pop('moved.png') == b'/good.png'
    good = sorted(name for name, data in found.items() if b'good.png' in data)
    assert len(good) == 2 and 'good.png' in good, found
    assert {found.pop(name) for name in good} == {b'/good.png', b'/a/good.png'}
    assert all(not name.startswith('.') for name in found) and len(found) == 2, found
    assert '5 of 12 pictures in ' in out, out
    assert sorted(os.listdir(os.path.dirname(folder))) == sorted(before | {'failures'})


def ctrl_c(folder):
    """Nothing unfinished is left."""
    def answer(request):
        if request.path == '/good.png':
            return request.reply(b'good')
        request.reply(b'the begin', length=1_000_000)
        request.wfile.flush()
        begun.set()
        over.wait(20)

    begun = threading.Event()
    over = threading.Event()
    with serving(answer) as url:
        with started(program, '--folder', folder, url + '/good.png', url + '/long.png') as process:
            assert '1/2 good.png' in process.stdout.readline()
            assert begun.wait(20)
            deadline = time.monotonic() + 20
            while '.long.png' not in os.listdir(folder) and time.monotonic() < deadline:
                time.sleep(0.01)
            status, rest = interrupt(process)
            assert status == 130 and 'Error' not in rest, (status, rest)
        over.set()
    assert contents(folder) == {'good.png': b'good'}, contents(folder)


def pauses(folder):
    """A pause before another attempt leaves its place to others."""
    refused = set()

    def answer(request):
        if request.path in refused:
            return request.reply(b'good')
        refused.add(request.path)
        request.reply(b'', status=503)

    with serving(answer) as url:
        begin = time.monotonic()
        run(program, '--folder', folder, '--at-once', '2', *[f'{url}/{i}' for i in range(40)])
        # One after the other in two places: 20 x 200 ms.
        assert time.monotonic() - begin < 3, time.monotonic() - begin


def full_disk(folder):
    """The reason is said, and nothing else is tried."""
    os.mkdir(folder)
    asked = []

    def answer(request):
        asked.append(request.path)
        request.reply(b'x' * 200_000)

    with serving(answer) as url:
        # As a full disk has it: no file may grow beyond 64 KiB.
        out = run('sh', '-c', 'trap "" XFSZ; ulimit -f 64; exec "$@"', 'sh', program, '--folder', folder,
                  '--at-once', '1', *[f'{url}/{i}' for i in range(20)], status=1)
    assert 'cannot write' in out and 'File too large' in out and 'again' not in out, out
    assert len(asked) <= 3 and os.listdir(folder) == [], (asked, os.listdir(folder))


def on_a_terminal(folder):
    """There a bar is drawn again and again: how much, how fast, how long it will take."""
    def answer(request):
        request.reply(b'half', length=8)
        request.wfile.flush()
        time.sleep(0.5)
        request.wfile.write(b'half')

    ours, theirs = pty.openpty()
    with serving(answer) as url:
        process = subprocess.Popen([program, '--folder', folder, url + '/a.png', url + '/b.png'],
                                   stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs)
        os.close(theirs)
        shown = b''
        try:
            while data := os.read(ours, 4096):
                shown += data
        except OSError:  # the terminal has gone with its last program
            pass
        os.close(ours)
        assert process.wait(20) == 0, shown
    text = shown.decode()
    drawn = text.split('\r\x1b[K')
    assert len(drawn) > 4, text
    assert re.search(r'\[#{12}-{12}\] 0/2  0\.0 kB  0\.0 kB/s  1 s left', text), text
    assert re.search(r'\[#{24}\] 2/2  0\.0 kB  0\.0 kB/s\r\n', text), text
    assert '2 of 2 pictures in ' in drawn[-1], text


with tempfile.TemporaryDirectory() as folder:
    pictures(folder)
    on_a_terminal(folder + '/terminal')
    before = set(os.listdir(folder))
    failures(folder + '/failures')
    ctrl_c(folder + '/interrupted')
    pauses(folder + '/pauses')
    full_disk(folder + '/full')
    for words, why in (((), 'no URLs'), (('--what',), 'unknown'), (('--list', folder + '/none'), 'cannot read'),
                       (('--at-once', '0', 'http://a/'), 'from 1 to'),
                       (('--retries', 'x', 'http://a/'), 'from 0 to'), (('--folder',), 'wants a value')):
        out = run(program, *words, status=2)
        assert why in out, (words, out)
