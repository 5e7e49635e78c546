"""A model as judge: what a reply costs the process that asks, and what shares of the rows and a limit on cost add.

    python benchmarks/bench_judge_shares.py

A server in a process of its own answers each request at once, so that nothing but the asking is measured: CPU seconds
of the processes that ask, start-up left out. A core that does nothing else sets the most replies per second that one
step can take; above it another share helps.
"""

import json
import multiprocessing
import tempfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pyarrow as pa
from measure import finish, own_cpu

from steps.contracts.context import StageContext
from steps.contracts.dataset import Dataset, DatasetWriter
from steps.contracts.records import SCHEMA, make_row, message
from steps.engines.llm.endpoint import Endpoint
from steps.engines.rowwise.share import Share
from steps.judge.config import JudgeConfig
from steps.judge.judge import judge, judge_share

ROWS, SHARES = 500, 4
_SCORES = {c: {"reason": "fine", "score": 5} for c in ("relevance", "clarity", "completeness", "accuracy")}
_MESSAGE = {"role": "assistant", "content": json.dumps(_SCORES)}
_REPLY = json.dumps({
    "id": "x", "object": "chat.completion", "created": 0, "model": "m",
    "choices": [{"index": 0, "finish_reason": "stop", "message": _MESSAGE}],
    "usage": {"prompt_tokens": 700, "completion_tokens": 80, "total_tokens": 780},
}).encode()  # fmt: skip


class Answering(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(_REPLY)))
        self.end_headers()
        self.wfile.write(_REPLY)

    def log_message(self, *_: Any) -> None:
        pass


def serve(port: Any) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
    port.put(server.server_address[1])
    server.serve_forever()


def rows_of(folder: Path) -> Dataset:
    writer = DatasetWriter(folder, "ingest")
    texts = ((f"What is lamp {i} for?", f"Lamp {i} lights the hall. " * 20) for i in range(ROWS))
    said = [
        make_row(
            kind="conversation", source="bench", locator=str(i), raw=question.encode(),
            messages=[message("user", question), message("assistant", answer)],
        )
        for i, (question, answer) in enumerate(texts)
    ]  # fmt: skip
    writer.write(pa.Table.from_pylist(said, schema=SCHEMA))
    return writer.close()


def judged(rows: Dataset, config: JudgeConfig, folder: Path, run: str, shares: int = 0) -> tuple[float, str]:
    """CPU seconds, and the dataset's digest. `run`: "" where nobody accounts for what it pays."""
    before = own_cpu()

    def ctx(part: str, **given: Any) -> StageContext:
        return StageContext(folder / part, cache=folder / "cache", scrubbed=True, run=run, **given)

    made = [judge_share(rows, config, ctx(f"share {n}"), Share(n, shares)) for n in range(shares)]
    done = judge(rows, config, ctx("own", shares=made))
    return own_cpu() - before, done.rows.digest


def main() -> None:
    port = multiprocessing.Queue()
    server = multiprocessing.Process(target=serve, args=(port,), daemon=True)
    server.start()
    endpoint = Endpoint(base_url=f"http://127.0.0.1:{port.get()}/v1", model="m", concurrency=8)
    free = JudgeConfig(backend="llm", endpoint=endpoint)
    prices = {"price_per_million_input": 1.0, "price_per_million_output": 1.0, "max_cost": 1e6}
    limited = JudgeConfig(backend="llm", endpoint=endpoint, **prices)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = rows_of(folder / "in")
        judged(rows, free, folder / "warm", "")
        found = {
            "no run": judged(rows, free, folder / "plain", ""),
            "in a run": judged(rows, free, folder / "run", "r1"),
            "with max_cost": judged(rows, limited, folder / "limited", "r1"),
            f"with max_cost, {SHARES} shares": judged(rows, limited, folder / "shares", "r1", SHARES),
        }
    server.terminate()
    for what, (seconds, _) in found.items():
        print(f"{what}: {1000 * seconds / ROWS:.2f} CPU ms a reply", flush=True)
    figures = {what: round(1000 * seconds / ROWS, 2) for what, (seconds, _) in found.items()}
    equal = len({digest for _, digest in found.values()}) == 1
    finish("judge_shares", {"cpu_ms_per_reply": figures}, {"equal": equal})


if __name__ == "__main__":
    main()
