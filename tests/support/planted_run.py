"""A run whose inputs are full of canaries, and the search through all that it wrote.

What may hold them is marked so by the project itself, and told from that here: file artifacts whose description says
`raw`, files whose lines all say `"raw_data": true`, and shards that only dataset versions name which
`ops.versions` doesn't call scrubbed.
"""

import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support import outcomes
from support.canaries import Canaries, Canary
from support.canary_sources import Sources
from support.processes import command, python
from support.unpacked import contents

from materializers import layout
from ops.versions import find_version
from steps.contracts.runs import RunRecord

PROFILES = ["gdpr", "hipaa", "pci", "secrets"]
# Left by the run: the key of the store, the system's locks. Not the run's words.
PRIVATE = {"secrets.key", "signing.key"}


@dataclass
class Planted:
    """A run's inputs and where it writes."""

    folder: Path
    canaries: Canaries
    config: dict[str, Any]

    @property
    def state(self) -> Path:
        return self.folder / "state"

    def run(self, *arguments: str, status: int = 0, **environment: str) -> str:
        """All that `assay run` says, on both streams."""
        file = self.folder / "config.yaml"
        file.write_text(json.dumps(self.config))
        events = {"OPENLINEAGE_URL": str(self.folder / "written" / "events.jsonl"), "ASSAY_PROGRESS": "on"}
        done = outcomes.assay(self.state, "run", str(file), *arguments, **{**events, **environment})
        assert done.returncode == status, done.stdout[-2000:] + done.stderr[-6000:]
        return done.stdout + done.stderr

    def faulty(self) -> str:
        """What is said where a stage has a fault, and the error shows the row that it came upon."""
        before = (
            "import steps.dedup.dedup as d\n"
            "def faulty(rows, *_): raise ValueError(str(next(rows.iter_rows())))\n"
            "d.dedup = faulty\n"
        )
        code = command("run", str(self.folder / "config.yaml"), "--no-cache", before=before)
        process = python(code, self.state)
        out, err = process.communicate(timeout=600)
        assert process.returncode == 1, err
        return out + err

    def found(self, *said: str, also: Sequence[Path] = (), raw: Collection[Path] | None = None) -> dict[str, set[str]]:
        """Kinds of canaries by where they were found, in what was written and isn't marked as raw, and in `said`."""
        needles = {needle: canary for canary in self.canaries.planted for needle in canary.needles()}
        files = [f for root in (self.state, self.folder / "written", *also) for f in root.rglob("*") if f.is_file()]
        raw = set(marked_raw(self.state, files)) if raw is None else raw
        found: dict[str, set[str]] = {}
        for where, text in [*((f"output {n}", text.encode()) for n, text in enumerate(said)), *_texts(files, raw)]:
            for canary in _seen(text, needles):
                found.setdefault(where, set()).add(f"{canary.kind} in {canary.place}")
        return found


def _texts(files: Sequence[Path], raw: Collection[Path]) -> Iterator[tuple[str, bytes]]:
    for file in files:
        yield f"the name {file}", str(file).encode()
        if file not in raw and file.name not in PRIVATE:
            yield from ((str(file), content) for content in contents(file))


def _seen(text: bytes, needles: dict[bytes, Canary]) -> Iterator[Canary]:
    lower = text.lower()
    return (canary for needle, canary in needles.items() if needle in lower)


def marked_raw(state: Path, files: Sequence[Path]) -> Iterator[Path]:
    """Those of the files that the project itself marks as unscrubbed, copies included."""
    shards = {f"{sha}.parquet" for sha in _raw_shards(state)}
    for file in files:
        if file.name == layout.ABOUT and file.read_text().split("\n")[2] == "raw":
            yield file.with_name(file.read_text().split("\n")[0])
        elif file.name in shards or is_raw(file):
            yield file


def _raw_shards(state: Path) -> set[str]:
    shards: dict[bool, set[str]] = {True: set(), False: set()}
    for run in (RunRecord.model_validate_json(f.read_bytes()) for f in state.glob("runs/*/run.json")):
        for artifact in run.of_type("dataset"):
            version = find_version(outcomes.ROOT, f"dataset:{artifact.digest}")
            shards[version.scrubbed].update(entry.sha256 for entry in version.dataset.manifest.shards)
    return shards[False] - shards[True]


def is_raw(file: Path) -> bool:
    """Whether every line says so, as those of rejected rows do."""
    if file.suffix != ".jsonl":
        return False
    lines = file.read_text("utf-8").splitlines()
    return bool(lines) and all(json.loads(line).get("raw_data") is True for line in lines)


def plant(folder: Path) -> Planted:
    """Inputs below the folder, and a config that curates them."""
    canaries = Canaries()
    sources = Sources(folder / "data", canaries).write()
    names = folder / "names.txt"
    names.write_text("\n".join(c.value for c in canaries.planted if c.kind == "PERSON"))
    scrub = {
        "demo_key": True, "profile": PROFILES, "accept_uncovered": ["PERSON", "LOCATION"],
        "deny_files": {"PERSON": str(names)},
    }  # fmt: skip
    ingest = {"sources": sources, "max_reject_share": 1}
    config = {"name": "canaries", "pipeline": "curate", "ingest": ingest, "scrub": scrub}
    return Planted(folder, canaries, config)
