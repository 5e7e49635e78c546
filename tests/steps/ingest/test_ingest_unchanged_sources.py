"""Sources that haven't changed aren't read again, and nobody can tell from the result."""

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from steps.contracts.context import StageContext
from steps.contracts.errors import InputError, IntegrityError
from steps.contracts.ledger import Ledger
from steps.contracts.outcome import Outcome
from steps.ingest import ingest as module
from steps.ingest.config import IngestConfig
from steps.ingest.ingest import ingest, input_digests

WORDS = ("lamp", "chair", "Grüße", "日本", "a\u2028b", "kettle")


def write_source(folder: Path, dice: random.Random) -> None:
    """One to three files of good and bad rows, chats, documents and message trees."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(dice.randint(1, 3)):
        rows = [json.dumps(row(dice), ensure_ascii=dice.random() < 0.5) for _ in range(dice.randint(8, 20))]
        if dice.random() < 0.6:
            rows.insert(dice.randint(0, len(rows)), '{"prompt": ' + dice.choice(["", "[", "1"]))
        (folder / f"part{number}.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
    if dice.random() < 0.5:
        (folder / "long.md").write_text("# Title\n\n" + " ".join(dice.choice(WORDS) for _ in range(900)))


def row(dice: random.Random) -> dict[str, Any]:
    said = " ".join(dice.choice(WORDS) for _ in range(dice.randint(1, 8)))
    extra = {"id": dice.randint(0, 99)} if dice.random() < 0.3 else {}
    return {"prompt": said, "completion": f"Yes, {said}\x00." if dice.random() < 0.2 else said, **extra}


def config_of(root: Path, names: list[str], dice: random.Random | None = None, **more: Any) -> IngestConfig:
    sources = [
        {"name": n, "path": str(root / n), "sample": 0.7 if n.endswith("2") else 1.0, "batch": int(n[1:])}
        for n in names
    ]
    if dice:
        dice.shuffle(sources)
    return IngestConfig.model_validate({"sources": sources, "max_reject_share": 0.9, **more})


def read(config: IngestConfig, folder: Path, earlier: Outcome | None = None, code: str = "") -> Outcome:
    digests = input_digests(config, Path("/"))
    left = {"ingested": earlier.rows, "ingest_ledger": earlier.ledger, **earlier.artifacts} if earlier else {}
    return ingest(None, config, StageContext(folder, Path("/"), inputs=digests, earlier=left, code=code))


def said(done: Outcome) -> dict[str, Any]:
    """Everything that a reading finds; what it took, and what was spared, left out."""
    report = done.report.model_dump(exclude={"seconds", "cpu_seconds", "notes"})
    rejects, sources = (done.artifacts[n].path.read_text(encoding="utf-8") for n in ("rejects", "ingest_sources"))
    return {
        "digest": done.rows.digest,
        "rows": Counter(map(str, done.rows.iter_rows())),
        "lines": Counter(map(str, done.ledger.read().to_pylist())),
        "rejects": Counter(rejects.split("\n")),
        "report": report,
        "sources": {n: (r["state"], r["counters"]) for n, r in json.loads(sources).items()},
    }


class Read:
    """Names of the files that were opened for reading rows."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.files: list[str] = []
        real = module.read_file

        def counting(file: Any, source: Any, *others: Any) -> Any:
            self.files.append(f"{source.name}/{file.relative}")
            return real(file, source, *others)

        monkeypatch.setattr(module, "read_file", counting)


@pytest.mark.parametrize("seed", range(8))
def test_growing_sources_give_what_reading_everything_gives(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    dice = random.Random(seed)
    earlier: Outcome | None = None
    names: list[str] = []
    spared = 0
    for turn in range(4):
        names += [f"s{len(names) + n}" for n in range(dice.randint(1, 2))]
        fresh = names[-2:]
        for name in [n for n in fresh if not (tmp_path / "data" / n).exists()]:
            write_source(tmp_path / "data" / name, dice)
        if turn and dice.random() < 0.5:
            changed = dice.choice(names)
            with (tmp_path / "data" / changed / "part0.jsonl").open("a") as f:
                f.write(json.dumps(row(dice)) + "\n")
        config = config_of(tmp_path / "data", names, dice)
        with monkeypatch.context() as patched:
            opened = Read(patched)
            grown = read(config, tmp_path / f"grown{turn}", earlier)
            grown_files = len(opened.files)
            whole = read(config, tmp_path / f"whole{turn}")
            spared += len(opened.files) - 2 * grown_files
        assert said(grown) == said(whole)
        earlier = grown
    assert spared > 3


def test_only_new_and_changed_sources_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dice = random.Random(1)
    for name in ("s0", "s1", "s3"):
        write_source(tmp_path / name, dice)
    first = read(config_of(tmp_path, ["s0", "s1"]), tmp_path / "first")
    (tmp_path / "s1" / "part0.jsonl").write_text(json.dumps({"prompt": "new", "completion": "new"}) + "\n")
    opened = Read(monkeypatch)
    done = read(config_of(tmp_path, ["s0", "s1", "s3"]), tmp_path / "second", first)
    assert {f.split("/")[0] for f in opened.files} == {"s1", "s3"}
    rows = first.report.counts["rows read per source"]["s0"]
    assert f"source s0 not read: {rows} rows taken from the earlier run" in done.report.notes
    assert "source s1 read again, because its files changed since the earlier run" in done.report.notes
    shared = {s.sha256 for s in first.rows.manifest.shards}
    assert shared & {s.sha256 for s in done.rows.manifest.shards}


@pytest.mark.parametrize(
    ("change", "code", "why"),
    [({"seed": 5}, "", "settings"), ({"meta_columns": []}, "", "settings"), ({}, "new", "code of ingest")],
)
def test_other_settings_or_code_read_everything(tmp_path: Path, change: Any, code: str, why: str) -> None:
    write_source(tmp_path / "s2", random.Random(2))
    first = read(config_of(tmp_path, ["s2"]), tmp_path / "first")
    config = config_of(tmp_path, ["s2"], **change)
    done = read(config, tmp_path / "second", first, code)
    assert said(done) == said(read(config, tmp_path / "whole", None, code))
    assert any("read again" in n and why in n for n in done.report.notes)


def test_a_source_may_move(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_source(tmp_path / "a" / "s0", random.Random(3))
    first = read(config_of(tmp_path / "a", ["s0"]), tmp_path / "first")
    (tmp_path / "a").rename(tmp_path / "b")
    opened = Read(monkeypatch)
    assert read(config_of(tmp_path / "b", ["s0"]), tmp_path / "second", first).rows.digest
    assert opened.files == []


def test_mixing_by_weight_reads_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("s0", "s1"):
        write_source(tmp_path / name, random.Random(int(name[1])))
    config = IngestConfig.model_validate({
        "sources": [{"name": n, "path": str(tmp_path / n), "weight": w} for n, w in (("s0", 1), ("s1", 2))],
        "max_reject_share": 0.9,
    })  # fmt: skip
    first = read(config, tmp_path / "first")
    opened = Read(monkeypatch)
    assert said(read(config, tmp_path / "second", first)) == said(first)
    assert {f.split("/")[0] for f in opened.files} == {"s0", "s1"}


def test_too_many_rejects_are_still_too_many(tmp_path: Path) -> None:
    (tmp_path / "s0").mkdir()
    rows = [json.dumps({"prompt": "a", "completion": str(i)}) for i in range(5)]
    (tmp_path / "s0" / "x.jsonl").write_text("\n".join([*rows, "{"]) + "\n")
    first = read(config_of(tmp_path, ["s0"]), tmp_path / "first")
    with pytest.raises(
        InputError, match=r"max_reject_share .*The first of each reason:\n  s0/x.jsonl line 6 \(line:6\): broken_json"
    ):
        read(config_of(tmp_path, ["s0"], max_reject_share=0.1), tmp_path / "second", first)


def test_the_ledger_is_read_once_for_all_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"s{n}" for n in (0, 1, 3, 4)]
    for name in names:
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.jsonl").write_text('{"prompt": "a", "completion": "b\\u0000"}\n')
    first = read(config_of(tmp_path, names), tmp_path / "first")
    opened: list[Ledger] = []
    real = Ledger.read
    monkeypatch.setattr(Ledger, "read", lambda ledger: opened.append(ledger) or real(ledger))
    assert read(config_of(tmp_path, names), tmp_path / "second", first).ledger.rows == 4
    assert len(opened) == 1


def test_a_damaged_record_is_an_error_with_a_way_out(tmp_path: Path) -> None:
    write_source(tmp_path / "s0", random.Random(4))
    first = read(config_of(tmp_path, ["s0"]), tmp_path / "first")
    first.artifacts["ingest_sources"].path.write_text('{"s0": 1}')
    with pytest.raises(IntegrityError, match="way out"):
        read(config_of(tmp_path, ["s0"]), tmp_path / "second", first)
