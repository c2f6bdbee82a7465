"""What holds for every example: wrong arguments give the usage and status 2, a standard output that does not take
what is printed is an error, and Ctrl-C ends the program though it was started with SIGINT ignored.

  command_lines.py FOLDER_OF_PROGRAMS
"""
import os
import signal
import subprocess
import sys
import tempfile
import time

FOLDER = os.path.abspath(sys.argv[1])

# Arguments that must be refused.
BAD = {
    'chat_server': [['0', '1'], ['port'], ['65536'], ['-1'], ['80 '], ['']],
    'echo_server': [['0', '1'], ['port'], ['65536'], ['-1'], ['99999999999999999999']],
    'http_hello': [['0', '1', '2'], ['x'], ['0', 'soon'], ['0', '0'], ['0', '-1'], ['0', 'nan'], ['0', 'inf']],
    'port_scanner': [['h', '0'], ['h', '1', '65536'], ['h', '5', '4'], ['h', 'x'], ['h', '1', '2', '3']],
    'process_pool': [[], ['a', 'b']],
    'udp_time': [['what'], ['serve', 'x'], ['serve', '1', '2'], ['ask'], ['ask', 'h', '0'], ['ask', 'h', '1', '2']],
    'unix_rpc': [[], ['what'], ['demo', 'x'], ['server'], ['call', 'p'], ['call', 'p', 'a\nb']],
    'tls_echo': [[], ['what'], ['server', 'c'], ['server', 'c', 'k', 'x'], ['client', 'a', 'h'],
                 ['client', 'a', 'h', '0'], ['client', 'a', 'h', '1', 't', 'u']],
    'signals': [['x']],
    'metrics_server': [['0', '1'], ['port'], ['65536'], ['-1']],
    'picture_server': [['x'], ['0'], ['1', '-1'], ['1', '1', '1']],
    'parallel_commands': [['-j'], ['-j', '0', 'true'], ['-j', 'x', 'true'], ['--what', 'true']],
    'rate_limited_crawler': [[], ['u', '0'], ['u', '1', '0'], ['u', '1', 'fast'], ['u', '1', '1', '1']],
    'download_pictures': [[], ['--what'], ['--folder'], ['--at-once', '0', 'u'], ['--list', '/none']],
    'tail_follow': [[], ['a', 'b']],
    'fetch': [[], ['a', 'b']],
}
# Programs that print something soon, with these arguments.
PRINTS = {
    'chat_server': ['0'], 'echo_server': ['0'], 'http_hello': ['0'], 'metrics_server': ['0'], 'udp_time': [],
    'signals': [],
    'picture_server': ['1', '0'], 'unix_rpc': ['demo'], 'parallel_commands': ['true'],
    'port_scanner': ['127.0.0.1', '1', '2'],
}
# Programs that run until they are stopped, with these arguments.
SERVES = {'chat_server': ['0'], 'echo_server': ['0'], 'http_hello': ['0'], 'metrics_server': ['0'], 'signals': [],
          'picture_server': ['1'],
          'udp_time': ['serve', '0'], 'parallel_commands': ['sleep 30']}


def path(name):
    return os.path.join(FOLDER, name)


def run(name, words, **options):
    return subprocess.run([path(name), *words], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=30,
                          **options)


def wrong_arguments(name, bad):
    for words in [['--help'], ['-h'], *bad]:
        done = run(name, words, stdout=subprocess.PIPE)
        text = done.stderr.decode()
        assert done.returncode == 2, (name, words, done.returncode, text)
        assert f'usage: {name}' in text and not done.stdout, (name, words, text)


def no_standard_output(name, words):
    with open('/dev/full', 'wb') as full:
        done = run(name, words, stdout=full)
    assert done.returncode == 1 and b'No space left on device' in done.stderr, (name, 'full', done)
    done = subprocess.run(['sh', '-c', 'exec "$@" >&-', 'sh', path(name), *words], stdin=subprocess.DEVNULL,
                          stderr=subprocess.PIPE, timeout=30)
    assert done.returncode == 1 and b'Bad file descriptor' in done.stderr, (name, 'closed', done)


def interrupted(name, words):
    process = subprocess.Popen([path(name), *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE,
                               preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN))
    try:
        if name == 'parallel_commands':
            time.sleep(0.5)
        else:
            process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=20)
        assert process.returncode == 130 and b'Error' not in errors, (name, process.returncode, errors)
    finally:
        process.kill()
        process.wait()


os.chdir(tempfile.mkdtemp())
programs = [name for name in BAD if os.path.exists(path(name))]
assert len(programs) >= 11, programs
for program in programs:
    wrong_arguments(program, BAD[program])
    if program in PRINTS:
        no_standard_output(program, PRINTS[program])
    if program in SERVES:
        interrupted(program, SERVES[program])
print(len(programs), 'programs')
