"""A small run whose rows a small model soon learns: which town something goes to."""

import json
from pathlib import Path
from typing import Any

THINGS = ("lamp", "chair", "table", "clock", "mirror", "basket", "candle", "drawer")
TOWNS = ("Oslo", "Porto", "Leeds", "Graz", "Turin", "Lyon", "Gdansk", "Malmo")


def town_rows() -> list[dict[str, str]]:
    """64 rows, whose answer stands in the question."""
    return [
        {"prompt": f"Where does the {thing} of customer {i * j + 7} in {town} go?", "completion": town}
        for i, thing in enumerate(THINGS)
        for j, town in enumerate(TOWNS)
    ]


def write_run(folder: Path, name: str, model: Path, rows: list[dict[str, str]], **sections: Any) -> Path:
    """The config of a run over rows, which lie beside it. `sections`: what it says beside, or instead."""
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    path = folder / "config.yaml"
    path.write_text(json.dumps({
        "name": name,
        "ingest": {"sources": [{"name": "rows", "path": str(folder / "rows.jsonl"), "licence": "CC0-1.0"}]},
        "dedup": {"near": False},
        "split": {"test": 0.3, "validation": 0.1},
        "skip": ["judge", "screen", "leakcheck"],
        "scrub": {"demo_key": True},
        "base": {"model": str(model)},
        "gate": {"metric": "loss", "min_n": 5, "max_degenerate": None},
        "registry": {"name": f"{name}-model"},
        **sections,
    }))  # fmt: skip
    return path
