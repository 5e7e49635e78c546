"""A person in everything that real runs write, erased, and looked for by means that are the test's own."""

import gzip
import json
import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import zstandard

ROOT = Path(__file__).resolve().parents[3]
pytestmark = pytest.mark.slow

NAME, EMAIL, PHONE = "Wilhelmina Quackenbush", "w.quackenbush@zoo.example.org", "+49 170 5550123"
VALUES = (NAME, EMAIL, PHONE)
# Where she stands: rows of the file, counted from 0.
IN_ROWS = (3, 17, 24, 25, 40, 41, 42, 43, 44, 45)
CONFIG: dict[str, Any] = {
    "name": "letters", "split": {"test": 0.3, "validation": 0.1}, "scrub": {"demo_key": True},
    "judge": {"signals": {"unrelated_to_prompt": "off", "no_word_of_prompt": "off"}},
    "train": {"max_steps": 2, "max_length": 512, "weights": {"kind": "lora", "r": 4}, "save_steps": 1},
    "evaluate": {"metrics": ["loss", "rouge_l"]}, "registry": {"name": "letters"},
    "gate": {"metric": "loss", "min_n": 5, "max_degenerate": None},
}  # fmt: skip
# What an erasure leaves by design, without a value in it.
BY_DESIGN = {"tombstones", "removed"}


def row(number: int) -> dict[str, str]:
    who = f" I am {NAME}, {EMAIL}, call me at {PHONE}." if number in IN_ROWS else ""
    said = 7 if number == 25 else number
    return {
        "prompt": f"Where is parcel {said} of {said * 37} pieces that left the harbour on day {said * 11}?{who}",
        "completion": f"Parcel {said} is in harbour {said * 13}, on shelf {said * 5}, waiting for its papers.{who}",
    }


def write(file: Path, rows: int) -> None:
    lines = [json.dumps(row(n)) for n in range(rows)]
    # One that can't be read, one that says what another does.
    lines += [json.dumps(row(3))[:-20], json.dumps(row(17))]
    file.write_text("\n".join(lines) + "\n")


@dataclass
class World:
    """A folder with a source, a state folder, an export and a copy."""

    folder: Path
    model: Path

    @property
    def state(self) -> Path:
        return self.folder / "state"

    def assay(self, *words: str, code: int = 0) -> str:
        environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("ZENML_", "MLFLOW_", "ASSAY_"))},
            "ASSAY_STATE": str(self.state), "ASSAY_ROOT": str(ROOT), "ASSAY_PROGRESS": "off",
            "ZENML_DISABLE_STEP_LOGS_STORAGE": "false", "ZENML_DISABLE_PIPELINE_LOGS_STORAGE": "false",
        }  # fmt: skip
        command = [sys.executable, "-m", "ops.main", *words]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == code, f"{words}\n{done.stdout}{done.stderr}"
        return done.stdout

    def run(self, **more: Any) -> dict[str, Any]:
        source = {"name": "post", "path": str(self.folder / "post.jsonl")}
        path = self.folder / "letters.yaml"
        base = {"base": {"model": str(self.model)}}
        path.write_text(
            json.dumps({**CONFIG, **base, "ingest": {"sources": [source], "max_reject_share": 0.5}, **more})
        )
        said: dict[str, Any] = json.loads(self.assay("run", str(path), "--json"))
        return said


def unpacked(file: Path) -> Iterator[bytes]:
    """What a file holds: as it lies, and opened."""
    data = file.read_bytes()
    yield data
    if file.suffix == ".parquet":
        yield repr(pq.read_table(file).to_pylist()).encode()
    elif data.startswith(b"SQLite format 3"):
        with closing(sqlite3.connect(file)) as db:
            yield "\n".join(db.iterdump()).encode("utf-8", "replace")
    elif data.startswith(b"\x1f\x8b"):
        yield gzip.decompress(data)
    elif data.startswith(b"\x28\xb5\x2f\xfd"):
        yield zstandard.ZstdDecompressor().decompressobj().decompress(data)


def hits(folder: Path, words: tuple[str, ...]) -> dict[str, list[str]]:
    """Files below a folder that say one of the words, or are named so; in any case and spelling of blanks."""
    patterns = {
        w: re.compile(rb"[\W_]{1,3}".join(map(re.escape, re.findall(rb"\w+", w.lower().encode())))) for w in words
    }
    found: dict[str, list[str]] = {}
    for file in (p for p in folder.rglob("*") if p.is_file()):
        name = file.relative_to(folder).as_posix()
        if BY_DESIGN & set(name.split("/")):
            continue
        with suppress(FileNotFoundError):
            said = [
                w for w, p in patterns.items() for piece in (name.encode(), *unpacked(file)) if p.search(piece.lower())
            ]
            if said:
                found[name] = said
    return found


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, tiny_model: Any) -> World:
    """A whole run, one more over grown data, what was exported and copied of it; all with her."""
    found = World(tmp_path_factory.mktemp("everywhere"), tiny_model.path)
    write(found.folder / "post.jsonl", 60)
    found.run()
    write(found.folder / "post.jsonl", 80)
    found.run()
    found.assay(
        "export", "latest", "--stage", "ingest", "--to", "openai", "--out", str(found.folder / "export"), "--raw"
    )
    found.assay("copy", "run:letters", str(found.folder / "copy"))
    return found


def ids_of(world: World) -> tuple[str, ...]:
    """Record ids of her rows."""
    shards = (world.state / "artifacts" / "shards").glob("*.parquet")
    rows = [r for s in shards for r in pq.read_table(s).to_pylist()]
    return tuple({r["record_id"] for r in rows if EMAIL in json.dumps(r)})


def test_nothing_of_a_person_is_left_and_nothing_comes_back(world: World) -> None:
    mine = ids_of(world)
    before = {top: hits(world.folder / top, (*VALUES, *mine)) for top in ("state", "export", "copy")}
    assert all(before.values()) and len(mine) >= len(IN_ROWS) + 1, "the last line is another one when rows were added"
    kinds = {name.split("/")[-1] for name in before["state"]}
    assert {"rejects.jsonl", "ledger.parquet", "report.html"} <= kinds, kinds
    asked = [w for v in VALUES for w in ("--subject", v)]
    plan = json.loads(world.assay("erase", *asked, "--json"))
    assert plan["rows"] == len(mine) and not plan["not_searched"] and not plan["unread"]
    assert {top: hits(world.folder / top, VALUES) for top in before} == {
        top: {n: [w for w in said if w in VALUES] for n, said in of.items() if set(said) & set(VALUES)}
        for top, of in before.items()
    }, "a plan changes nothing"
    done = json.loads(world.assay("erase", *asked, "--yes", "--json"))
    assert done["holds"] and not done["left"] and done["rows"] == len(mine)
    assert {name for w in done["weights"] for name in w["registered"]} == {"letters/1", "letters/2"}
    assert not hits(world.folder / "state", (*VALUES, *mine))
    assert not hits(world.folder / "export", VALUES) and not hits(world.folder / "copy", (*VALUES, *mine))
    weights = list((world.state / "artifacts" / "train_step").glob("tuned/*/*/files/adapter_model.safetensors"))
    assert len(weights) == 2, "weights are never erased"
    kept = [*world.folder.rglob("removed/*.json"), *world.folder.rglob("tombstones/*.json")]
    assert len(kept) >= 4 and not [p for p in kept if any(v in p.read_text() for v in VALUES)]
    audit = json.loads(world.assay("audit", "letters", "--verify", "--json"))["verification"]
    assert audit["ok"] and {f["state"] for f in audit["findings"]} <= {"holds", "removed", "not checked"}
    again = world.run()
    assert again["registration"]["version"] == "3" and not hits(world.folder / "state", (*VALUES, *mine))
    report = world.assay("runs", "latest", "--json")
    assert '"erased"' in report
