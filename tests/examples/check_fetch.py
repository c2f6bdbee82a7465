import sys

from program import run
from web import refusing, serving

fetch = sys.argv[1]


def answer(request):
    if request.path == '/missing':
        request.reply(b'not here', status=404)
    elif request.path == '/half':
        request.reply(b'half', length=100)
        request.close_connection = True
    else:
        request.reply(b'what is there\n', Greeting='hello \x1b[31m')


with serving(answer) as url:
    out = run(fetch, url + '/')
    assert out.startswith(f'200 {url}/\n') and out.endswith('what is there\n'), out
    assert 'hello \\x1b[31m\n' in out, out
    run(fetch, url + '/missing', status=1)
    run(fetch, url + '/half', status=1)
run(fetch, refusing() + '/', status=1)
run(fetch, 'no url', status=1)
