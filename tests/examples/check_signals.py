import signal
import sys

from program import started

with started(sys.argv[1]) as service:
    assert service.stdout.readline() == 'started\n'

    def next_line(text):
        for line in service.stdout:
            if text in line:
                return line
        raise AssertionError(f'never said: {text}')

    service.send_signal(signal.SIGHUP)
    next_line('reload: configuration')
    service.send_signal(signal.SIGUSR1)
    next_line('status: ')
    service.send_signal(signal.SIGTERM)
    next_line('finishing: TERM')
    assert service.wait(timeout=20) == 0
