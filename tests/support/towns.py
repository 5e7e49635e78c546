"""A small run whose rows a small model soon learns: which town something goes to."""

import json
from pathlib import Path
from typing import Any

THINGS = ("lamp", "chair", "table", "clock", "mirror", "basket", "candle", "drawer")
TOWNS = ("Oslo", "Porto", "Leeds", "Graz", "Turin", "Lyon", "Gdansk", "Malmo")
QUESTION = "Where does the {thing} of customer {customer} in {town} go?"


def write_run(folder: Path, name: str, model: Path, question: str = QUESTION, **sections: Any) -> Path:
    """The config of a run over 64 such rows, which lie beside it. `question`: of `thing`, `town`, `customer` and
    `week`; `sections`: what the config says beside, or instead.
    """
    rows = [
        {"prompt": question.format(thing=thing, town=town, customer=i * j + 7, week=i), "completion": town}
        for i, thing in enumerate(THINGS)
        for j, town in enumerate(TOWNS)
    ]
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
