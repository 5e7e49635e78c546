"""A real HTTP server with OpenAI's calls for files and batches, whose batches end when a test says so."""

import json
import re
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from engines.llm.scripted_server import completion

# The custom_id and body of a request to the line of output, of errors (under "error"), or nothing.
Answer = Callable[[str, dict[str, Any]], dict[str, Any] | None]


def said(key: str, body: dict[str, Any]) -> dict[str, Any]:
    text = f"answer to {body['messages'][-1]['content']}"
    response = {"status_code": 200, "body": json.loads(completion(text).body)}
    return {"custom_id": key, "response": response, "error": None}


def failed(key: str, status: int) -> dict[str, Any]:
    return {"custom_id": key, "response": {"status_code": status, "body": {"error": {"message": "no"}}}, "error": {}}


class BatchServer:
    """`polls`: looks at a batch that find it under way. `end`: how a batch ends, by its number (from 0)."""

    def __init__(
        self,
        answer: Answer = said,
        polls: int = 1,
        end: Callable[[int], dict[str, Any]] = lambda n: {"status": "completed"},
    ) -> None:
        self.files: dict[str, bytes] = {}
        self.batches: dict[str, dict[str, Any]] = {}
        self.single: list[dict[str, Any]] = []
        self.requests: list[str] = []
        self.looks: dict[str, int] = {}
        self.refuse_create: list[int] = []
        self.answer, self.polls, self.end = answer, polls, end
        self._lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                data = self.rfile.read(int(self.headers["content-length"]))
                with outer._lock:
                    status, reply = outer.post(self.path, data, self.headers.get("content-type", ""))
                self._send(status, reply)

            def do_GET(self) -> None:
                with outer._lock:
                    status, reply = outer.get(self.path)
                self._send(status, reply)

            def _send(self, status: int, reply: Any) -> None:
                raw = reply if isinstance(reply, bytes) else json.dumps(reply).encode()
                self.send_response(status)
                self.send_header("content-length", str(len(raw)))
                self.end_headers()
                self.wfile.write(raw)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def post(self, path: str, data: bytes, kind: str) -> tuple[int, Any]:
        self.requests.append(f"POST {path}")
        if path == "/v1/chat/completions":
            body = json.loads(data)
            self.single.append(body)
            return 200, said("", body)["response"]["body"]
        if path == "/v1/files":
            boundary = re.search("boundary=(.*)", kind)
            assert boundary is not None
            parts = data.split(b"--" + boundary[1].encode())
            fields = {re.search(rb'name="(\w+)"', p)[1]: p.split(b"\r\n\r\n", 1)[1][:-2] for p in parts[1:-1]}  # type: ignore[index]
            assert fields[b"purpose"] == b"batch"
            name = f"file-{len(self.files)}"
            self.files[name] = fields[b"file"]
            return 200, {"id": name}
        if self.refuse_create:
            return self.refuse_create.pop(0), {"error": {"message": "no"}}
        body = json.loads(data)
        assert body["endpoint"] == "/v1/chat/completions"
        made = {"id": f"batch-{len(self.batches)}", "status": "in_progress", **body}
        self.batches[made["id"]] = made
        return 200, made

    def get(self, path: str) -> tuple[int, Any]:
        self.requests.append(f"GET {path}")
        if path.startswith("/v1/batches?"):
            return 200, {"data": list(self.batches.values())}
        name = path.split("/")[3]
        if path.startswith("/v1/files/"):
            return 200, self.files[name]
        batch = self.batches[name]
        self.looks[name] = self.looks.get(name, 0) + 1
        if self.looks[name] > self.polls and batch["status"] == "in_progress":
            batch |= self.end(int(name.split("-")[1]))
            self._write(batch)
        return 200, batch

    def _write(self, batch: dict[str, Any]) -> None:
        lines = [json.loads(line) for line in self.files[batch["input_file_id"]].splitlines()]
        answers = [a for line in lines if (a := self.answer(line["custom_id"], line["body"])) is not None]
        for name, wanted in (("output_file_id", True), ("error_file_id", False)):
            content = b"".join(
                json.dumps(a).encode() + b"\n" for a in answers if (a["response"]["status_code"] == 200) == wanted
            )
            if content and batch["status"] != "failed":
                batch[name] = f"{batch['id']}-{name}"
                self.files[batch[name]] = content

    def asked(self) -> list[str]:
        """What was asked in batches, of all that were made."""
        files = [self.files[b["input_file_id"]] for b in self.batches.values()]
        return [json.loads(line)["body"]["messages"][-1]["content"] for f in files for line in f.splitlines()]

    def __enter__(self) -> "BatchServer":
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._server.shutdown()
        self._server.server_close()
