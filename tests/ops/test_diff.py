"""`assay diff` against rows whose fate is known: what changed, and why."""

import json
import random
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from support import sample_run
from typer.testing import CliRunner

from ops.main import app
from ops.run_index import save_run
from ops.versions import compare, find_version
from steps.contracts.dataset import Dataset, DatasetWriter
from steps.contracts.errors import InputNotFoundError
from steps.contracts.ledger import LedgerWriter
from steps.contracts.records import SPLITS, Row, content_id_of, make_row
from steps.contracts.runs import ArtifactRecord

ROOT = Path(__file__).resolve().parents[2]
HOSTILE = "\x1b[31mred\u202e[bold]gone[/bold]"


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ASSAY_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("ASSAY_ROOT", str(ROOT))
    return tmp_path


def row(number: int, text: str | None = None) -> Row:
    source = f"s{number % 3}/x.jsonl"
    return make_row(
        kind="document", source=source, locator=f"line:{number}", raw=b"%d" % number, text=text or f"row {number}"
    )


class Fate:
    """What a run does with a row: dropped by dedup, set aside by screen, changed by scrub to another text, kept.

    `made` names the row out of which ingest made another; `evidence`: scrub's lines say to which text.
    """

    def __init__(
        self,
        dropped: set[int],
        aside: set[int],
        changed: dict[int, str],
        splits: dict[int, int],
        made: dict[int, int] | None = None,
        evidence: bool = True,
    ) -> None:
        self.dropped, self.aside, self.changed, self.splits = dropped, aside, changed, splits
        self.made, self.evidence = made or {}, evidence

    def rows(self, numbers: list[int]) -> dict[str, tuple[str, str]]:
        """record id -> (text, split) of the last version."""
        gone = self.dropped | self.aside
        return {
            row(n)["record_id"]: (self.changed.get(n, f"row {n}"), SPLITS[self.splits.get(n, 0)])
            for n in numbers if n not in gone
        }  # fmt: skip


def make_run(root: Path, work: Path, name: str, numbers: list[int], fate: Fate, scrub: bool = True) -> None:
    """A run with its artifacts on disk: ingest, dedup (with splits), scrub, screen."""
    artifacts: list[ArtifactRecord] = []
    store = work / "store"

    def keep(step: str, artifact: str, version: Dataset) -> None:
        folder = store / name / artifact
        folder.mkdir(parents=True)
        (store / "shards").mkdir(exist_ok=True)
        for path in version.shard_paths:
            if not (store / "shards" / path.name).is_file():
                shutil.copy(path, store / "shards" / path.name)
        for file in ("manifest.json", "selection.parquet"):
            if (version.folder / file).is_file():
                shutil.copy(version.folder / file, folder / file)
        artifacts.append(
            ArtifactRecord(step=step, name=artifact, type="dataset", uri=str(folder), digest=version.digest)
        )

    def ledger(stage: str, lines: list[tuple[int, str, str, dict[str, object]]]) -> None:
        folder = store / name / f"{stage}_ledger"
        with LedgerWriter(folder / "ledger.parquet", stage) as writer:
            for number, verdict, reason, evidence in lines:
                parents = [row(fate.made[number])["record_id"]] if verdict == "created" else []
                record_id = row(number)["record_id"]
                writer.add(record_id, verdict, reason, evidence=evidence, parents=parents)  # type: ignore[arg-type]
        artifacts.append(ArtifactRecord(step=f"{stage}_step", name=f"{stage}_ledger", type="ledger", uri=str(folder)))

    folder = work / name
    writer = DatasetWriter(folder / "in", "ingest")
    writer.write_rows([row(n) for n in numbers])
    version = writer.close()
    created = [(n, "created", "chunk", {}) for n in fate.made]
    ledger("ingest", created + [(n, "dropped", "made_into_chunks", {}) for n in set(fate.made.values())])
    keep("ingest_step", "ingested", version)
    codes = np.array([fate.splits.get(n, 0) for n in numbers], np.int8)
    stays = np.array([n not in fate.dropped for n in numbers])
    version = version.select(stays, folder / "dedup", "dedup", codes)
    ledger("dedup", [(n, "dropped", "near", {}) for n in numbers if n in fate.dropped])
    keep("dedup_step", "deduped", version)
    left = [n for n in numbers if n not in fate.dropped]
    if scrub:
        version = changed(version, folder / "scrub", fate.changed, left)
        ledger(
            "scrub",
            [
                (n, "changed", "pii", {"to": fate.changed[n] if fate.evidence else ""})
                for n in left
                if n in fate.changed
            ],
        )
        keep("scrub_step", "scrubbed", version)
    stays = np.array([n not in fate.aside for n in left])
    ledger("screen", [(n, "quarantined", "prompt_injection.override", {}) for n in left if n in fate.aside])
    keep("screen_step", "screen_quarantined", version.select(~stays, folder / "aside", "screen"))
    keep("screen_step", "screened", version.select(stays, folder / "screen", "screen"))
    update = {"name": name, "run_id": f"id-{name}", "artifact_store": str(store), "artifacts": tuple(artifacts),
              "started": f"2026-01-0{name[-1]}T00:00:00+00:00", "registration": None}  # fmt: skip
    save_run(root, sample_run.of_config(sample_run.record().model_copy(update=update), "name: x\n"), "name: x\n")


def changed(version: Dataset, folder: Path, texts: dict[int, str], numbers: list[int]) -> Dataset:
    writer = version.rewriter(folder, "scrub")
    for chunk in version.chunks():
        rows = chunk.table.to_pylist()
        for number, one in zip(numbers[chunk.start :], rows, strict=False):
            if number in texts:
                one["text"] = texts[number]
                one["content_id"] = content_id_of(one)
        writer.put(chunk, pa.Table.from_pylist(rows, schema=chunk.table.schema))
    return writer.close()


def random_fate(dice: random.Random, numbers: list[int]) -> Fate:
    picked = {n: dice.random() for n in numbers}
    return Fate(
        dropped={n for n, p in picked.items() if p < 0.15},
        aside={n for n, p in picked.items() if 0.15 <= p < 0.25},
        changed={n: f"clean {n} {dice.randint(0, 1)}" for n, p in picked.items() if p > 0.8},
        splits={n: dice.choice([0, 0, 2]) for n in numbers},
    )


@pytest.mark.parametrize("seed", range(5))
def test_every_difference_is_counted_with_its_reason(state: Path, seed: int) -> None:
    dice = random.Random(seed)
    everything = list(range(120))
    sides = {}
    for name in ("run-1", "run-2"):
        numbers = dice.sample(everything, 90)
        sides[name] = (numbers, random_fate(dice, numbers))
        make_run(ROOT, state / "work", name, *sides[name])
    (numbers_a, fate_a), (numbers_b, fate_b) = sides.values()
    a, b = fate_a.rows(numbers_a), fate_b.rows(numbers_b)
    ids = {row(n)["record_id"]: n for n in everything}

    def end(number: int, numbers: list[int], fate: Fate) -> str | None:
        if number not in numbers:
            return None
        near, aside = "dropped by dedup: near", "quarantined by screen: prompt_injection.override"
        return near if number in fate.dropped else aside

    why: Counter[tuple[str, str]] = Counter()
    for record_id in a.keys() | b.keys():
        number = ids[record_id]
        if record_id not in b:
            why["removed", end(number, numbers_b, fate_b) or "no longer in the sources"] += 1
        elif record_id not in a:
            ended = end(number, numbers_a, fate_a)
            why["added", f"before: {ended}" if ended else "new in the sources"] += 1
        elif a[record_id][0] != b[record_id][0]:
            why["changed", "scrub: pii"] += 1
        elif a[record_id][1] != b[record_id][1]:
            why["changed", f"split: {a[record_id][1]} to {b[record_id][1]}"] += 1
    found = compare(ROOT, find_version(ROOT, "run-1"), find_version(ROOT, "run-2"), 3)
    assert {(c, w): n for c, w, n in found.why} == why
    assert len(why) >= 6
    for change, total in found.totals.items():
        assert total == sum(n for (c, _), n in why.items() if c == change)
    columns = list(zip(*found.by_source, strict=True))
    assert columns[0] == ("s0", "s1", "s2")
    assert [sum(c) for c in columns[1:]] == [found.totals[c] for c in ("added", "removed", "changed")]
    assert [sum(c) for c in list(zip(*found.by_split, strict=True))[1:]] == [sum(c) for c in columns[1:]]
    back = compare(ROOT, find_version(ROOT, "run-2"), find_version(ROOT, "run-1"), 0)
    assert (back.totals["added"], back.totals["removed"]) == (found.totals["removed"], found.totals["added"])


def nothing() -> Fate:
    return Fate(set(), set(), {}, {})


def invoke(*arguments: str) -> str:
    done = CliRunner().invoke(app, ["diff", *arguments])
    assert done.exit_code == 0, done.stderr
    return done.stdout


def test_the_command_names_versions_counts_and_rows(state: Path) -> None:
    make_run(ROOT, state / "work", "run-1", [0, 1, 2, 3], nothing())
    make_run(ROOT, state / "work", "run-2", [0, 1, 2, 4], Fate({1}, set(), {2: f"row {HOSTILE}"}, {}))
    text = invoke("run-1", "--rows", "2")
    assert "run-1 to run-2" in text and "1 added, 2 removed, 1 changed" in text
    assert "dropped by dedup: near" in text and "no longer in the sources" in text and "scrub: pii" in text
    assert row(4)["record_id"] in text and "b: row 4" in text and "a: row 3" in text and "[bold]gone" in text
    assert "\x1b" not in text and "\u202e" not in text
    told = json.loads(invoke("run-1", "latest", "--rows", "2", "--json"))
    assert told["totals"] == {"added": 1, "removed": 2, "changed": 1} and told["same"] is False
    assert told["a"]["rows"] == 4 and told["b"]["run"] == "run-2"
    assert {e["change"]: list(e["text"]) for e in told["examples"]} == {
        "added": ["b"], "removed": ["a"], "changed": ["a", "b"]
    }  # fmt: skip
    assert "the same rows in both" in invoke("run-1", "run-1")


def test_versions_are_found_by_digest_too(state: Path) -> None:
    make_run(ROOT, state / "work", "run-1", [0, 1, 2], Fate({1}, set(), {}, {}))
    last = find_version(ROOT, "latest")
    assert find_version(ROOT, last.dataset.digest[:10]).dataset.digest == last.dataset.digest
    first = next(a for a in last.run.artifacts if a.name == "ingested")
    told = json.loads(invoke(str(first.digest)[:12], "run-1", "--json"))
    assert told["a"]["version"] == "ingested"
    with pytest.raises(InputNotFoundError):
        find_version(ROOT, "0123456789")
    make_run(ROOT, state / "work", "run-2", [0, 1, 2, 3], nothing())
    assert find_version(ROOT, "run").run.name == "run-2"


def test_latest_alone_is_held_against_the_one_before(state: Path) -> None:
    make_run(ROOT, state / "work", "run-1", [0, 1], nothing())
    alone = CliRunner().invoke(app, ["diff", "latest"])
    assert alone.exit_code == 3 and "first run of its config" in alone.output
    make_run(ROOT, state / "work", "run-2", [0, 1, 2], nothing())
    told = json.loads(invoke("latest", "--json"))
    assert (told["a"]["run"], told["b"]["run"], told["totals"]["added"]) == ("run-1", "run-2", 1)


def test_text_that_was_never_scrubbed_is_not_shown(state: Path) -> None:
    for name, numbers in (("run-1", [0, 1]), ("run-2", [0, 2])):
        make_run(ROOT, state / "work", name, numbers, nothing(), scrub=False)
    text = invoke("run-1", "run-2", "--rows", "5")
    assert "not scrubbed: not shown" in text and "row 1" not in text and "row 2" not in text
    told = json.loads(invoke("run-1", "run-2", "--rows", "5", "--json"))
    assert {t for e in told["examples"] for t in e["text"].values()} == {None}


def test_a_row_that_moved_says_the_same(state: Path) -> None:
    make_run(ROOT, state / "work", "run-1", [0, 1, 2], Fate(set(), set(), {1: "same", 2: "more"}, {}))
    make_run(ROOT, state / "work", "run-2", [0, 4, 5], Fate(set(), set(), {4: "same"}, {}))
    found = compare(ROOT, find_version(ROOT, "run-1"), find_version(ROOT, "run-2"), 9)
    assert found.totals == {"added": 2, "removed": 2, "changed": 0} and found.moved == {"added": 1, "removed": 1}
    assert {e.record_id for e in found.examples if e.same_text} == {row(1)["record_id"], row(4)["record_id"]}
    assert "of the added rows 1 say what a row of a says" in invoke("run-1", "run-2")


def test_rows_that_are_made_of_others(state: Path) -> None:
    make_run(ROOT, state / "work", "run-1", [0, 1, 2], Fate(set(), set(), {}, {}, made={1: 100, 2: 101}))
    make_run(ROOT, state / "work", "run-2", [0, 3, 4], Fate(set(), set(), {}, {}, made={3: 100, 4: 102}))
    found = compare(ROOT, find_version(ROOT, "run-1"), find_version(ROOT, "run-2"), 0)
    assert sorted(found.why) == [
        ("added", "new in the sources", 1),
        ("added", "newly made by ingest: chunk", 1),
        ("removed", "no longer in the sources", 1),
        ("removed", "no longer made by ingest: chunk", 1),
    ]


def test_another_text_of_which_the_ledgers_say_the_same(state: Path) -> None:
    make_run(ROOT, state / "work", "run-1", [0, 1], Fate(set(), set(), {1: "call A"}, {}, evidence=False))
    make_run(ROOT, state / "work", "run-2", [0, 1], Fate(set(), set(), {1: "call B"}, {}, evidence=False))
    found = compare(ROOT, find_version(ROOT, "run-1"), find_version(ROOT, "run-2"), 0)
    assert found.why == [("changed", "another text by scrub: pii", 1)]


def test_no_runs(state: Path) -> None:
    with pytest.raises(InputNotFoundError, match="no run has made a dataset"):
        find_version(ROOT, "latest")
