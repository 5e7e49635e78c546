"""A server that answers as `assay serve` does, up in no time: for what becomes of servers, not of models.

    python quick_server.py PORT NAME DIGEST SAYS [HOW]

HOW: ok; dies: at once; hangs: never healthy; broken: answers 500; random: says something else each time; late: healthy
after two seconds; other: of another model. Where SAYS is a file, its SHA-256 is told.
"""

import hashlib
import json
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

PORT, NAME, DIGEST, SAYS, HOW = (*sys.argv[1:5], (sys.argv[5:] or ["ok"])[0])
BEGAN = time.monotonic()
ASKED = [0]
FILE = hashlib.sha256(Path(SAYS).read_bytes()).hexdigest() if Path(SAYS).is_file() else None


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path == "/health":
            ready = HOW != "hangs" and (HOW != "late" or time.monotonic() - BEGAN > 2)
            self.reply({"says": SAYS}, 200 if ready else 503)
        else:
            self.reply({"data": [{"id": NAME, "digest": "0" * 64 if HOW == "other" else DIGEST, "file": FILE}]})

    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"])
        body = json.loads(self.rfile.read(length))
        ASKED[0] += 1
        said = f"{SAYS} {ASKED[0]}" if HOW == "random" else SAYS
        choice = {"message": {"content": said}, "finish_reason": "stop"}
        told = {"choices": [choice], "usage": {"completion_tokens": 1}, "model": body["model"], "length": length}
        self.reply(told, 500 if HOW == "broken" else 200)

    def reply(self, value: object, status: int = 200) -> None:
        raw = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, format: str, *args: object) -> None:
        pass


if HOW == "dies":
    print("no such model, it says", flush=True)
    sys.exit(3)
ThreadingHTTPServer(("127.0.0.1", int(PORT)), Handler).serve_forever()
