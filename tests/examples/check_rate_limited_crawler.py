import sys
import threading
import time

from program import interrupt, run, started
from web import refusing, serving

crawler = sys.argv[1]

PAGES = {
    '/': ['a', '/b', 'sub/c?x=1', 'missing', 'away', '#here', 'a#there', 'mailto:me@example.org',
          '//other.example/', 'http://other.example/', 'a', 'broken'],
    '/a': ['b', '../b', '/'],
    '/b': [],
    '/sub/c?x=1': ['../d', 'e'],
    '/d': [],
    '/sub/e': [],
    '/elsewhere': ['never'],
}


def page(links):
    return ''.join(f'<p><a href="{link}">there</a>' for link in links).encode()


def whole_site():
    seen = []

    def answer(request):
        seen.append((time.monotonic(), request.path))
        if request.path == '/away':  # on another host: its links are not followed
            request.reply(b'', status=302, Location=other + '/elsewhere')
        elif request.path == '/broken':
            request.reply(b'half', length=100)
            request.close_connection = True
        elif request.path in PAGES:
            request.reply(page(PAGES[request.path]))
        else:
            request.reply(b'not here', status=404)

    with serving(lambda r: r.reply(page(PAGES['/elsewhere']))) as other, serving(answer) as url:
        out = run(crawler, url + '/', '50', '20')
    paths = [path for _, path in seen]
    assert sorted(paths) == sorted(['/', '/a', '/b', '/sub/c?x=1', '/d', '/sub/e', '/missing',
                                    '/away', '/broken']), paths
    times = [when for when, _ in seen]
    # Nine requests at twenty a second: the ninth comes 0.4 s after the first.
    assert times[-1] - times[0] > 0.35, times
    assert '9 pages seen\n' in out, out
    assert f'404        8 {url}/missing\n' in out, out
    assert f'200        0 {url}/b\n' in out, out
    assert f'{other}/elsewhere\n' in out and 'never' not in out, out
    # One line for what failed.
    assert len(out.splitlines()) == 10, out
    return out


def no_more_than_asked():
    count = []

    def answer(request):
        count.append(request.path)
        request.reply(page([f'{len(count)}{i}' for i in range(50)]))

    with serving(answer) as url:
        out = run(crawler, url, '7', '1000')
    assert len(count) == 7 and '7 pages seen\n' in out, (count, out)


def ctrl_c():
    asked = threading.Event()
    over = threading.Event()

    def answer(request):
        asked.set()
        over.wait(20)

    with serving(answer) as url:
        with started(crawler, url) as process:
            assert asked.wait(20)
            status, rest = interrupt(process)
            assert status == 130 and 'pages seen' not in rest, (status, rest)
        over.set()


whole_site()
no_more_than_asked()
out = run(crawler, refusing(), status=1)
assert "Couldn't connect" in out and '1 pages seen' in out, out
ctrl_c()
for words in ((), ('http://a/', '0'), ('http://a/', '1', '0'), ('http://a/', '1', 'fast')):
    assert 'usage' in run(crawler, *words, status=2)
