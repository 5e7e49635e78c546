"""What is heard of a server's answers, over real HTTP: an answer that isn't whole is none."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from steps.contracts.errors import ServiceError
from steps.engines.completions.completer import Wanted
from steps.engines.completions.llama_cpp import LlamaCompleter

END = {"content": "", "tokens": [], "stop": True, "stop_type": "limit", "tokens_predicted": 2}
PIECES = [
    {"content": "a", "stop": False, "tokens_predicted": 1},
    {"content": "b", "stop": False, "tokens_predicted": 2},
]


@contextmanager
def server(body: bytes, status: int = 200, missing: int = 0) -> Iterator[LlamaCompleter]:
    """Answers everything with `body`, of which it has promised so many bytes more."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            assert self.headers["Authorization"] == "Bearer key"
            self.send_response(status)
            self.send_header("Content-Length", str(len(body) + missing))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    asked: list[dict] = []
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever, args=(0.01,))
        thread.start()
        try:
            completer = LlamaCompleter(f"http://127.0.0.1:{http.server_port}", "key", remembers=False)
            completer.asked = asked
            yield completer
        finally:
            http.shutdown()
            thread.join()


class Heard:
    def __init__(self, enough: int = 99) -> None:
        self.said, self.enough = [], enough

    def hear(self, token: int) -> bool:
        self.said.append(token)
        return len(self.said) >= self.enough

    def hear_text(self, text: str, tokens: int) -> bool:
        self.said.append((text, tokens))
        return len(self.said) >= self.enough


def complete(completer: LlamaCompleter, heard: Heard, gone=lambda: False, **more) -> list:
    completer.complete(Wanted("m", [5, 6], 2, **more), heard, gone)
    return heard.said


def stream(*events: object) -> bytes:
    return b"".join(b"data: " + json.dumps(e).encode() + b"\n\n" for e in events)


def test_a_whole_answer_without_what_ended_it() -> None:
    told = {"tokens": [7, 2], "stop": True, "stop_type": "eos", "tokens_predicted": 2}
    with server(json.dumps(told).encode()) as one:
        assert complete(one, Heard()) == [7]
        assert one.asked == [{"temperature": 0.0, "prompt": [5, 6], "n_predict": 2, "cache_prompt": False,
                              "return_tokens": True}]  # fmt: skip
    with server(json.dumps({**told, "stop_type": "limit"}).encode()) as one:
        assert complete(one, Heard()) == [7, 2] and complete(one, Heard(enough=1)) == [7]
        complete(one, Heard(), temperature=0.5, top_p=0.9, seed=-1)
        assert one.asked[-1] | {"prompt": 0} == {
            "temperature": 0.5, "top_p": 0.9, "seed": 2**32 - 2, "samplers": ["temperature", "top_p"], "prompt": 0,
            "n_predict": 2, "cache_prompt": False, "return_tokens": True,
        }  # fmt: skip


def test_pieces_as_they_come() -> None:
    with server(stream(*PIECES, END)) as one:
        assert complete(one, Heard(), piecewise=True) == [("a", 1), ("b", 1)]
        assert complete(one, Heard(enough=1), piecewise=True) == [("a", 1)]
        assert complete(one, Heard(), lambda: True, piecewise=True) == []
    with server(stream(PIECES[0], {**END, "stop_type": "eos"})) as one:
        assert complete(one, Heard(), piecewise=True) == [("a", 1)]


@pytest.mark.parametrize(
    ("body", "missing", "words"),
    [
        (stream(*PIECES), 0, "has no end"),
        (stream(*PIECES), 9, "has no end"),
        (stream(*PIECES)[:-9], 0, "has no end: JSONDecodeError"),
        (stream(PIECES[0], {"error": {"message": "no slot"}}), 0, "the answer failed: no slot"),
        (stream({**END, "tokens_predicted": 1}), 0, "was cut after 1 tokens"),
    ],
)
def test_half_a_stream_is_no_answer(body: bytes, missing: int, words: str) -> None:
    with server(body, missing=missing) as one, pytest.raises(ServiceError, match=words):
        complete(one, Heard(), piecewise=True)


@pytest.mark.parametrize(
    ("body", "status", "missing", "words"),
    [
        (b'{"tokens": [1], "stop": true, "stop_type": "limit"', 200, 9, "has no end: IncompleteRead"),
        (b'{"tokens": [1], "stop": true', 200, 0, "has no end: JSONDecodeError"),
        (b'{"tokens": [1], "stop": false}', 200, 0, "has no end"),
        (b'{"error": {"message": "too long"}}', 400, 0, "refuses it with 400: too long"),
        (b"<html>", 502, 0, "refuses it with 502: <html>"),
    ],
)
def test_half_an_answer_is_none(body: bytes, status: int, missing: int, words: str) -> None:
    with server(body, status, missing) as one, pytest.raises(ServiceError, match=words):
        complete(one, Heard())


def test_nobody_there() -> None:
    with server(b"") as one:
        pass
    with pytest.raises(ServiceError, match="the engine can't be reached"):
        complete(one, Heard())
