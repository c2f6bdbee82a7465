"""Starts an example and talks to it; whatever happens, it is stopped."""
import contextlib
import signal
import subprocess


@contextlib.contextmanager
def started(*command):
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def run(*command, status=0, timeout=30):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          timeout=timeout)
    assert done.returncode == status, f'{command}: status {done.returncode}\n{done.stdout}'
    return done.stdout


def interrupt(process, timeout=10):
    """Ctrl-C; returns the status and what is left of the output."""
    process.send_signal(signal.SIGINT)
    rest, _ = process.communicate(timeout=timeout)
    return process.returncode, rest


def sanitized(program):
    """Whether it has the undefined behaviour sanitizer, whose check of types needs descriptors."""
    with open(program, 'rb') as file:
        return b'__ubsan_' in file.read()


def port_of(process):
    """The port of a line like: listening on ('127.0.0.1', 8080)."""
    line = process.stdout.readline()
    assert " on (" in line, line
    return line.split("', ")[1].split(',')[0].strip().rstrip(')')
