"""The page of a training on this machine's own address, rendered anew whenever it is asked for."""

from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from steps.contracts.errors import ServiceError

_HOST = "127.0.0.1"
# What a browser is told of every page: it may run nothing, load nothing, and stand in no other page.
_HEADERS = {
    "Content-Type": "text/html; charset=utf-8",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
}


def page_server(render: Callable[[], str], port: int) -> ThreadingHTTPServer:
    """A server that answers `/` with what `render` gives. `port` 0: any that is free.

    Requests under another name than this machine's own are refused: a page elsewhere that was given this address by
    its own name server would read along.

    Raises:
        ServiceError: the port is taken.
    """

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            """One page, whatever is asked for below it isn't there."""
            name = (self.headers.get("Host") or "").rsplit(":", 1)[0]
            if name not in (_HOST, "localhost"):
                self.send_error(421)
            elif self.path != "/":
                self.send_error(404)
            else:
                self._put(render().encode())

        def _put(self, body: bytes) -> None:
            self.send_response(200)
            for header, value in {**_HEADERS, "Content-Length": str(len(body))}.items():
                self.send_header(header, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Nothing is said of requests."""

    try:
        return ThreadingHTTPServer((_HOST, port), Page)
    except OSError as e:
        raise ServiceError(f"can't listen on port {port}: {e.strerror}", hint="name another: --port 0 takes any") from e
