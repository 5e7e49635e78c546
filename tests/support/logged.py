"""Logs of a shop's production, made up: order mails as the quickstart's generator draws them, and what differs."""

import json
import random
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from examples import order_mails
from steps.contracts.dataset import Dataset, DatasetWriter
from steps.contracts.records import SCHEMA, SPLITS, make_row, message

# 2026-11-01T00:00Z.
BEGAN = 1_793_491_200.0
SECRET = "jane.roe@example.org"
DIGEST = "ab" * 32
PSEUDONYM = "<EMAIL_ADDRESS_K7Q2M4XA7DTR>"
Change = Callable[[random.Random, dict[str, Any]], dict[str, Any]]


def line(
    n: int, asked: str, answer: str | None, *, created: float | None = None, model: str = DIGEST, **more: Any
) -> dict[str, Any]:
    """One request as `assay serve` logs it; `answer` None: it failed."""
    choice = {"index": 0, "message": {"role": "assistant", "content": answer}, "finish_reason": "stop"}
    response = {"id": f"chatcmpl-{n:06d}", "choices": [choice], "usage": {"prompt_tokens": 40, "completion_tokens": 20}}
    return {
        "id": f"chatcmpl-{n:06d}", "created": BEGAN + 60.0 * n if created is None else created, "latency": 0.5 + n % 10,
        "model_digest": model, "request": {"model": "shop", "messages": [{"role": "user", "content": asked}]},
        **({"response": response} if answer is not None else {"error": {"code": "server_error"}, "status": 500}),
        **more,
    }  # fmt: skip


def orders(count: int, seed: int = 0, change: Change | None = None) -> list[dict[str, Any]]:
    """Requests of the quickstart's own kind, answered rightly; `change` may make them others."""
    rng, found = random.Random(f"production {seed}"), []
    for n in range(count):
        mail = order_mails.order(rng)
        one = line(n, mail.prompt, mail.answer)
        found.append(change(rng, one) if change is not None else one)
    return found


def asking(one: dict[str, Any], text: str) -> dict[str, Any]:
    """The same with another question."""
    return {**one, "request": {**one["request"], "messages": [{"role": "user", "content": text}]}}


def write(path: Path, lines: Iterable[dict[str, Any] | str | bytes]) -> Path:
    """A log; what is no object stands there as it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    raw = (v if isinstance(v, bytes) else (v if isinstance(v, str) else json.dumps(v)).encode() for v in lines)
    path.write_bytes(b"".join(one + b"\n" for one in raw))
    return path


def training_rows(folder: Path, count: int = 800, marked: float = 0.05) -> Dataset:
    """Order mails of which so large a share holds personal data; every tenth row is a test row."""
    rng, rows = random.Random("training"), []
    for n in range(count):
        mail = order_mails.order(rng)
        asked = f"{mail.prompt} {PSEUDONYM}" if rng.random() < marked else mail.prompt
        said = [message("user", asked), message("assistant", mail.answer)]
        rows.append(make_row(kind="conversation", source="s", locator=f"line:{n}", raw=asked.encode(), messages=said))
    writer = DatasetWriter(folder / "training", "ingest")
    writer.write(pa.Table.from_pylist(rows, schema=SCHEMA))
    codes = np.array([SPLITS.index("test" if n % 10 == 0 else "train") for n in range(count)], np.int8)
    return writer.close().select(np.ones(count, bool), folder / "split", "split", codes)
