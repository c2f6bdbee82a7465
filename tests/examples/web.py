"""A web server for the examples, in a thread of this process."""
import contextlib
import http.server
import socket
import threading


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'

    def do_GET(self):
        self.server.answer(self)

    def log_message(self, *_):
        pass

    def reply(self, body, status=200, length=None, **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header('Content-Length', str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)


class _Server(http.server.ThreadingHTTPServer):
    request_queue_size = 128  # many connect at once

    def handle_error(self, *_):  # clients that go in the middle
        pass


@contextlib.contextmanager
def serving(answer):
    """Calls answer(request) for each GET, in a thread; gives the URL without a last slash."""
    server = _Server(('127.0.0.1', 0), _Handler)
    server.answer = answer
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f'http://127.0.0.1:{server.server_address[1]}'
    finally:
        server.shutdown()
        server.server_close()


def refusing():
    """The URL of a port where nobody listens."""
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return f'http://127.0.0.1:{s.getsockname()[1]}'
