import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from steps.contracts.context import StageContext
from steps.contracts.outcome import Outcome
from steps.contracts.records import Row
from steps.ingest.config import IngestConfig
from steps.ingest.ingest import ingest


class Bench:
    """Writes input files and ingests them; the counters are balanced by `ingest` itself."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "in"
        self.root.mkdir()
        self.out = folder / "out"

    def write(self, name: str, content: str | bytes | list[Any]) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, list):
            content = "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in content)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def ingest(self, path: str, *, most: float = 0.0, top: dict[str, Any] | None = None, **source: Any) -> Outcome:
        config = IngestConfig(sources=[{"name": "s", "path": path, **source}], max_reject_share=most, **(top or {}))
        return ingest(None, config, StageContext(self.out, self.root))

    def rows(self, content: list[Any], *, name: str = "a.jsonl", **kwargs: Any) -> list[Row]:
        self.write(name, content)
        return list(self.ingest(name, **kwargs).rows.iter_rows())

    def rejects(self) -> list[Row]:
        return [json.loads(line) for line in (self.out / "rejects.jsonl").read_text().splitlines()]

    def ledger(self, got: Outcome) -> list[Row]:
        return list(got.ledger.read().to_pylist())


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.fixture
def said() -> Callable[[list[Row]], list[tuple[str, str]]]:
    return lambda messages: [(m["role"], m["content"]) for m in messages]
