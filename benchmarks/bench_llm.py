"""A model behind a server as judge: how much of its capacity the judge stage uses, and what it holds in memory.

    python benchmarks/bench_llm.py [--rows N]

A server in a process of its own answers 64 requests at once, each after 500 ms or 50 ms: its capacity is 128 and 1,280
replies a second. Measured is the whole stage, from rows on disk to verdicts on disk; beside it, in turns, a bare
aiohttp loop that sends the same bodies and throws the replies away. Then 100,000 rows by a server that answers at once:
the process's memory at a quarter of them and after it.
"""

import argparse
import asyncio
import json
import multiprocessing
import tempfile
import threading
import time
from pathlib import Path
from statistics import median
from typing import Any

import aiohttp
import psutil
import pyarrow as pa
from aiohttp import web
from measure import finish

from steps.contracts.context import StageContext
from steps.contracts.dataset import Dataset, DatasetWriter
from steps.contracts.records import SCHEMA, make_row, message
from steps.engines.llm.endpoint import Endpoint
from steps.engines.rubric.case import CRITERIA, case_of
from steps.engines.rubric.frame import framed
from steps.engines.rubric.prompt import system_prompt, verdict_schema
from steps.engines.rubric.reading import read_rubric
from steps.engines.rubric.rubric import QUALITY
from steps.judge.config import JudgeConfig
from steps.judge.judge import judge

SLOTS, SLOW, QUICK = 64, 0.5, 0.05
ROUNDS = 3
_SCORES = {c: {"reason": "fine", "score": 5} for c in CRITERIA}
_REPLY = json.dumps({
    "id": "x", "object": "chat.completion", "created": 0, "model": "m",
    "choices": [
        {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": json.dumps(_SCORES)}}
    ],
    "usage": {"prompt_tokens": 700, "completion_tokens": 80, "total_tokens": 780},
}).encode()  # fmt: skip


def serve(port: Any) -> None:
    """One address per delay: /500/v1 answers after 500 ms."""

    async def main() -> None:
        slots = asyncio.Semaphore(SLOTS)

        async def answer(request: web.Request) -> web.Response:
            await request.read()
            async with slots:
                await asyncio.sleep(int(request.match_info["ms"]) / 1000)
            return web.Response(body=_REPLY, content_type="application/json")

        app = web.Application(client_max_size=1 << 24)
        app.router.add_post("/{ms}/v1/chat/completions", answer)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port.put(site._server.sockets[0].getsockname()[1])
        await asyncio.Event().wait()

    asyncio.run(main())


def rows_of(folder: Path, count: int) -> Dataset:
    writer = DatasetWriter(folder, "ingest")
    for start in range(0, count, 8192):
        said = [
            make_row(
                kind="conversation", source="bench", locator=str(i), raw=str(i).encode(),
                messages=[message("user", f"What is lamp {i} for?"), message("assistant", f"Lamp {i} is lit. " * 20)],
            )
            for i in range(start, min(start + 8192, count))
        ]  # fmt: skip
        writer.write(pa.Table.from_pylist(said, schema=SCHEMA))
    return writer.close()


def judged(rows: Dataset, url: str, folder: Path) -> float:
    """Replies per second of the whole stage."""
    endpoint = Endpoint(base_url=url, model="m", concurrency=SLOTS)
    config = JudgeConfig(backend="llm", endpoint=endpoint)
    start = time.perf_counter()
    done = judge(rows, config, StageContext(folder, cache=folder / "cache", scrubbed=True, run="r"))
    assert done.report.kept == rows.rows
    return rows.rows / (time.perf_counter() - start)


def bare(rows: Dataset, url: str) -> float:
    """Replies per second of a loop that sends the same and keeps nothing."""
    schema = {"name": "verdict", "schema": verdict_schema(CRITERIA), "strict": True}
    system = system_prompt(read_rubric(QUALITY), "conversation", "")
    bodies = [
        {"model": "m", "messages": [{"role": "system", "content": system},
                                    {"role": "user", "content": framed(case_of(row))}],
         "max_tokens": 800, "temperature": 0.0, "response_format": {"type": "json_schema", "json_schema": schema}}
        for chunk in rows.chunks() for row in chunk.table.to_pylist()
    ]  # fmt: skip

    async def main() -> None:
        waiting = iter(bodies)
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

            async def work() -> None:
                for body in waiting:
                    async with session.post(f"{url}/chat/completions", json=body) as reply:
                        await reply.json()

            await asyncio.gather(*(work() for _ in range(SLOTS)))

    start = time.perf_counter()
    asyncio.run(main())
    return len(bodies) / (time.perf_counter() - start)


def memory(folder: Path, url: str, count: int) -> tuple[float, float]:
    """MB of this process at a quarter of so many rows, and the most after it."""
    rows, process = rows_of(folder / "in", count), psutil.Process()
    seen: list[tuple[int, float]] = []
    ended = threading.Event()

    def watch() -> None:
        file = folder / "out" / "cache" / "judge_replies.sqlite"
        while not ended.wait(0.5):
            size = file.stat().st_size if file.exists() else 0
            seen.append((size, process.memory_info().rss / 1e6))

    watcher = threading.Thread(target=watch)
    watcher.start()
    judged(rows, url, folder / "out")
    ended.set()
    watcher.join()
    quarter = next(mb for size, mb in seen if size >= seen[-1][0] / 4)
    return quarter, max(mb for size, mb in seen if size >= seen[-1][0] / 4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000, help="rows whose memory is watched")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    args = parser.parse_args()
    port = multiprocessing.Queue()
    server = multiprocessing.Process(target=serve, args=(port,), daemon=True)
    server.start()
    host = f"http://127.0.0.1:{port.get()}"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        slow, quick = rows_of(folder / "slow", SLOTS * 100), rows_of(folder / "quick", 20_000)
        used = judged(slow, f"{host}/500/v1", folder / "s") * SLOW / SLOTS
        print(f"500 ms: {100 * used:.1f} % of the server's capacity", flush=True)
        shares = []
        for n in range(args.rounds):
            of_bare = bare(quick, f"{host}/50/v1")
            ours = judged(quick, f"{host}/50/v1", folder / f"q{n}")
            shares.append(ours / of_bare)
            print(f"50 ms: {ours:.0f} replies a second, bare loop {of_bare:.0f}: {100 * shares[-1]:.1f} %", flush=True)
        quarter, most = memory(folder, f"{host}/0/v1", args.rows) if args.rows else (0.0, 0.0)
        print(f"{args.rows:,} rows: {quarter:.0f} MB at a quarter, {most:.0f} MB at most after it", flush=True)
    server.terminate()
    figures = {"of_capacity_500ms": used, "of_bare_50ms": median(shares), "mb_quarter": quarter, "mb_most": most}
    checks = {"500 ms": used >= 0.95, "50 ms": median(shares) >= 0.8, "memory": most <= 1.1 * quarter + 20}
    finish("llm", figures, checks)


if __name__ == "__main__":
    main()
