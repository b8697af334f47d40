"""A small proxy before a real server, which answers wrongly while it is told to."""

import http.client
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.study.servers import free_port

MODES = ("500", "429", "slow", "half", "late_500")
"""`half`: the request is served, and the answer breaks off. `late_500`: it is served, and 500 is said."""
SLOW_S = 2.0
_NOT_PASSED_ON = {"connection", "transfer-encoding", "content-length", "server", "date"}


class FaultyProxy:
    """Listens on a port of its own until it is closed."""

    def __init__(self, target_port: int) -> None:
        self.port = free_port()
        self.mode = ""
        self.num_spoilt = 0
        """Requests that were answered wrongly."""
        self._target_port = target_port
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True
            wbufsize = -1

            def log_message(self, *_: Any) -> None:
                """Nothing."""

            def handle_one_request(self) -> None:
                with suppress(ConnectionError):
                    super().handle_one_request()

            def __getattr__(self, name: str) -> Any:
                if name.startswith("do_"):
                    return lambda: proxy.answer(self)
                raise AttributeError(name)

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 1024
            """With five, clients of a crowd wait on connections that nobody has taken."""

        self._server = Server(("127.0.0.1", self.port), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def uri(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    def close(self) -> None:
        """Listen no more."""
        self._server.shutdown()
        self._server.server_close()

    @contextmanager
    def answering(self, mode: str) -> Iterator[None]:
        """Answer wrongly for the duration of a block."""
        self.mode = mode
        try:
            yield
        finally:
            self.mode = ""

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        """Serve one request as the mode says."""
        mode = self.mode
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        self.num_spoilt += bool(mode)
        if mode in {"500", "429"}:
            _send(handler, int(mode), b'{"error_code": "INTERNAL_ERROR", "message": "planted"}', {})
            return
        if mode == "slow":
            time.sleep(SLOW_S)
        try:
            status, headers, content = self._passed_on(handler, body)
        except OSError:
            handler.close_connection = True  # nobody is behind: end as a refused connection would
            return
        if mode == "late_500":
            _send(handler, 500, b'{"error_code": "INTERNAL_ERROR", "message": "planted"}', {})
        else:
            _send(handler, status, content, headers, is_half=mode == "half")

    def _passed_on(self, handler: BaseHTTPRequestHandler, body: bytes) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self._target_port, timeout=60)
        try:
            headers = {name: text for name, text in handler.headers.items() if name.lower() != "host"}
            connection.request(handler.command, handler.path, body or None, headers)
            reply = connection.getresponse()
            return reply.status, dict(reply.getheaders()), reply.read()
        except http.client.HTTPException as error:
            raise OSError(str(error)) from error
        finally:
            connection.close()


def _send(
    handler: BaseHTTPRequestHandler,
    status: int,
    content: bytes,
    headers: dict[str, str],
    *,
    is_half: bool = False,
) -> None:
    handler.send_response(status)
    for name, text in headers.items():
        if name.lower() not in _NOT_PASSED_ON:
            handler.send_header(name, text)
    handler.send_header("Content-Length", str(len(content)))
    handler.end_headers()
    if handler.command != "HEAD":
        handler.wfile.write(content[: len(content) // 2] if is_half else content)
    handler.wfile.flush()
    if is_half:
        handler.close_connection = True
