"""What an erasure removes, what stays, and what its certificate says; searched for by means of its own."""

import gzip
import html
import json
import os
import signal
import sqlite3
import subprocess
import sys
import unicodedata
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from support.growing_runs import CONFIG, ROOT, Growing, address, phrase, row

from materializers.artifacts import going_on
from ops.copies import note_copy
from ops.erasure import erase as erasing
from ops.erasure.erase import alone, erase, go_on, planned, unfinished
from ops.erasure.places import Place
from ops.erasure.plan import Plan
from ops.erasure.rows import Request
from ops.export.folder import RECORD, ExportRecord
from ops.export.made import note_export
from ops.run_index import artifacts_of, save_run
from steps.contracts import removal
from steps.contracts.digests import canonical_json, file_digest, folder_digests
from steps.contracts.errors import InputError, InputNotFoundError, StorageError
from steps.contracts.removal import Removal
from steps.contracts.runs import ArtifactRecord
from steps.contracts.tombstones import Tombstone, Tombstones
from steps.engines.llm.cache import ReplyCache
from steps.engines.llm.client import Reply
from steps.engines.signing.keys import Signature, holds

# Of rows of the first run changed by scrub, in both runs; of the second run alone; with a value of their own.
CHANGED, LATER = 31, 231
OWN = {"tombstones", "removed", "locks"}


EXPORTED = ExportRecord(
    to="openai", run="run01", dataset="0" * 64, stage="leakcheck", scrubbed=True, files=(), refused={}
)


def everything(state: Path) -> str:
    """All text below a folder, Parquet opened, and all file names; without what an erasure leaves by design."""
    said = []
    for file in (p for p in state.rglob("*") if p.is_file()):
        if not OWN & set(file.relative_to(state).parts[:2]):
            text = (
                str(pq.read_table(file).to_pylist())
                if file.suffix == ".parquet"
                else file.read_bytes().decode("latin1")
            )
            said.append(f"{file}\n{text}")
    return "\n".join(said)


def certificate(grown: Growing, erasure: str = "*") -> Removal:
    """The one that lies in the artifact store."""
    (file,) = (grown.store / removal.FOLDER).glob(f"{erasure}.json")
    signed = Signature.model_validate_json(file.with_name(file.name + removal.SIGNATURE).read_bytes())
    assert holds(signed, removal.PURPOSE, file.read_text())
    return Removal.model_validate_json(file.read_bytes())


def test_a_row_by_its_id_is_gone_from_everything(grown: Growing) -> None:
    mine = grown.record_id(CHANGED)
    raw = row(CHANGED, 0)
    assert all(w in everything(grown.state) for w in (mine, raw["content_id"], phrase(CHANGED), address(CHANGED)))
    plan = planned(ROOT, Request(records=(mine,)))
    assert plan.rows == 1 and plan.sources == (f"mails/00.jsonl line:{CHANGED + 1}",)
    assert mine in everything(grown.state)
    done = erase(ROOT, Request(records=(mine,)))
    assert done.holds and done == certificate(grown)
    left = everything(grown.state)
    assert not [w for w in (mine, raw["content_id"], phrase(CHANGED), address(CHANGED)) if w in left]
    assert {w.registered for w in done.weights} == {("support/1",), ("support/2",)} and all(
        w.sure for w in done.weights
    )
    assert len(list(grown.store.glob("train_step/tuned/*/*/files/adapter_model.safetensors"))) == 2
    assert unfinished(ROOT) is None


def test_a_row_by_its_words(grown: Growing) -> None:
    done = erase(ROOT, Request(rows=(phrase(LATER).lower(),)))
    assert done.holds and done.rows == 1 and phrase(LATER) not in everything(grown.state)


def test_what_has_nothing_to_do_with_the_row_is_as_it_was(grown: Growing) -> None:
    (before,) = [r for r in grown.catalogue.runs if r.name == "run00"]
    files = {a.uri: folder_digests(Path(a.uri)) for a in before.artifacts}
    done = erase(ROOT, Request(records=(grown.record_id(LATER),)))
    assert done.runs == ("run01",) and [w.registered for w in done.weights] == [("support/2",)]
    assert {a.uri: folder_digests(Path(a.uri)) for a in before.artifacts} == files
    store = artifacts_of(ROOT, before)
    assert next(store.dataset(a).rows for a in going_on(before)) == 200


def test_more_texts_than_can_be_looked_for_are_said(grown: Growing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ops.erasure.rows.MOST_TEXTS", 399)
    done = erase(ROOT, Request(sources=("mails/01.jsonl",)))
    assert done.holds and "what 200 rows say: too many texts; their ids were looked for" in done.not_searched
    assert phrase(LATER) not in everything(grown.state)


def test_a_person_by_a_value_and_where_the_key_made_a_pseudonym_of_it(grown: Growing) -> None:
    # What is raw was removed before: the pseudonym alone leads to the row.
    for ingested in grown.store.glob("shards/*.parquet"):
        if address(CHANGED) in str(pq.read_table(ingested).to_pylist()):
            ingested.unlink()
    done = erase(ROOT, Request(values=(address(CHANGED).upper(),)))
    assert done.holds and done.rows == 1 and grown.record_id(CHANGED) not in everything(grown.state)
    (stone,) = [Tombstone.model_validate_json(f.read_bytes()) for f in (grown.store / "tombstones").glob("*.json")]
    assert address(CHANGED) not in stone.model_dump_json() and address(CHANGED) not in done.model_dump_json()
    refusing = Tombstones((stone,)).refusing
    assert refusing(row(CHANGED, 0)) == refusing(row(CHANGED + 5_000, 7)) == done.id
    assert refusing(row(CHANGED + 1, 0)) == ""


def test_a_source_goes_with_every_run_that_read_it(grown: Growing) -> None:
    done = erase(ROOT, Request(sources=("mails/01.jsonl",)))
    assert done.rows == 200 and done.holds and done.runs == ("run01",)
    assert "mails/01.jsonl" not in str([pq.read_table(p)["source"] for p in grown.store.glob("shards/*.parquet")])


def sqlite(file: Path, text: str) -> None:
    """A row that was deleted, so that its bytes are in a free page only, and one in the write-ahead log."""
    with closing(sqlite3.connect(file, isolation_level=None)) as db:
        db.execute("PRAGMA secure_delete=OFF")
        db.execute("CREATE TABLE t (a TEXT, b TEXT)")
        db.executemany("INSERT INTO t VALUES (?, ?)", [("x" * 900, f"{text} {i}") for i in range(40)])
        db.execute("DELETE FROM t WHERE b LIKE '% 7'")
        db.execute("INSERT INTO t VALUES ('kept', 'nothing')")


FORMS: dict[str, Callable[[Path, str], object]] = {
    "a.log": lambda p, t: p.write_text(f"said: {t}"),
    "a.json": lambda p, t: p.write_text(json.dumps({"a": t})),
    "a.html": lambda p, t: p.write_text(html.escape(t)),
    "a.url": lambda p, t: p.write_text(t.replace("@", "%40")),
    "a.gz": lambda p, t: p.write_bytes(gzip.compress(t.encode())),
    "a.zst": lambda p, t: p.write_bytes(zstandard.compress(t.encode())),
    "a.parquet": lambda p, t: pq.write_table(pa.table({"x": [[{"y": t}]]}), p, compression="zstd"),
    "jane.doe@zoo.example.txt": lambda p, t: p.write_text("nothing"),
    "replies.sqlite": sqlite,
}


def test_a_value_is_found_in_files_of_every_form(grown: Growing) -> None:
    (grown.state / "logs").mkdir()
    files = {name: grown.state / "logs" / name for name in FORMS}
    for name, form in FORMS.items():
        form(files[name], "Jane.Doe@zoo.example")
    done = erase(ROOT, Request(values=("jane.doe@zoo.example",)))
    assert done.holds and done.rows == 0 and "doe" not in done.model_dump_json().lower()
    database = files["replies.sqlite"]
    assert [f for f in files.values() if f.exists()] == [database]
    assert b"Jane.Doe" not in database.read_bytes() and not database.with_name(f"{database.name}-wal").exists()
    with closing(sqlite3.connect(database)) as db:
        assert db.execute("SELECT * FROM t").fetchall() == [("kept", "nothing")]


@pytest.mark.parametrize("place", ["state/artifacts/mlflow.db", "state/zenml/zenml.db", "backup/own.db"])
def test_rows_of_others_databases_are_named_and_left_to_their_keepers(
    grown: Growing, tmp_path: Path, place: str
) -> None:
    file = tmp_path / place
    file.parent.mkdir(parents=True, exist_ok=True)
    sqlite(file, "Jane.Doe@zoo.example")
    asked = Request(values=("jane.doe@zoo.example",))
    done = erase(ROOT, asked, [str(tmp_path / "backup")])
    assert not done.holds and any(file.name in said for said in done.left)
    with closing(sqlite3.connect(file)) as db:
        assert db.execute("SELECT count(*) FROM t").fetchone() == (40,)
        db.execute("DELETE FROM t")
        db.commit()
        db.execute("VACUUM")
    assert go_on(ROOT, asked.values).holds


def test_exports_and_copies_are_searched_where_they_went(grown: Growing, tmp_path: Path) -> None:
    for name in ("export", "copy", "elsewhere"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "train.jsonl.gz").write_bytes(gzip.compress(f"said: {phrase(LATER)}, ".encode() * 9))
        (tmp_path / name / "other.jsonl").write_text(phrase(LATER + 1))
    (tmp_path / "export" / RECORD).write_text(EXPORTED.model_dump_json())
    note_export(ROOT, str(tmp_path / "export"), EXPORTED, ())
    note_copy(ROOT, str(tmp_path / "copy"))
    note_export(ROOT, "https://hub.example/datasets/mails", EXPORTED, ())
    done = erase(ROOT, Request(values=(phrase(LATER),)))
    assert done.holds and done.not_searched == ("export https://hub.example/datasets/mails",)
    left = {p.parent.name: p.name for p in tmp_path.glob("*/*.gz")}
    assert left == {"elsewhere": "train.jsonl.gz"}, "what nobody named isn't ours"
    assert len(list(tmp_path.glob("*/other.jsonl"))) == 3
    again = erase(ROOT, Request(values=(phrase(LATER),)), [str(tmp_path / "elsewhere")])
    assert again.holds and not list(tmp_path.glob("*/*.gz"))


def test_what_a_judge_answered_about_the_row_goes_and_the_rest_stays(grown: Growing) -> None:
    (run,) = [r for r in grown.catalogue.runs if r.name == "run01"]
    mine, other = grown.record_id(LATER), grown.record_id(LATER + 1)
    folder = grown.store / "judge_step" / "verdicts" / "run01" / "00000000"
    folder.mkdir(parents=True)
    said = {"record_id": [mine, other], "raw_reply": ['{"score": 4}', '{"score": 5, "why": "good"}']}
    pq.write_table(pa.table(said), folder / "verdicts.parquet")
    sha256 = file_digest(folder / "verdicts.parquet")
    (folder / "about.txt").write_text(f"verdicts.parquet\n{sha256}\nclean")
    made = ArtifactRecord(step="judge_step", name="verdicts", type="file", uri=str(folder), sha256=sha256)
    save_run(ROOT, run.model_copy(update={"artifacts": (*run.artifacts, made)}), canonical_json(CONFIG))
    file = grown.state / "judge" / "model" / "replies.sqlite"
    with ReplyCache(file) as cache:
        for n, text in enumerate(said["raw_reply"]):
            cache.put([(f"key{n}", Reply(text, "stop", False, 1, 1, 0.1, "json_schema", 1))])
    lines = grown.state / "judge" / "model" / "replies" / f"{'0' * 64}.lines"
    lines.parent.mkdir()
    lines.write_text(json.dumps(["key0", said["raw_reply"][0], "stop"]) + "\n")
    assert erase(ROOT, Request(records=(mine,))).holds
    with ReplyCache(file) as cache:
        assert cache.get_many(["key0", "key1"]).keys() == {"key1"}
    assert b'"score": 4' not in file.read_bytes() and not lines.exists() and not folder.exists()


def test_names_of_what_an_erasure_leaves_hide_nothing_else(grown: Growing) -> None:
    names = ("removed/notes.json", "runs/removed/run.json", "artifacts/tombstones/a.parquet", "locks/a.lock",
             "erasures/notes.json", "tombstones/0.json")  # fmt: skip
    for name in names:
        (grown.state / name).parent.mkdir(parents=True, exist_ok=True)
        (grown.state / name).write_text("said by Jane.Doe@zoo.example")
    done = erase(ROOT, Request(values=("jane.doe@zoo.example",)))
    assert done.holds and not [n for n in names if (grown.state / n).exists()]


def test_a_store_behind_a_link_is_covered_as_records_name_it(grown: Growing, tmp_path: Path) -> None:
    grown.store.rename(tmp_path / "disk")
    grown.store.symlink_to(tmp_path / "disk")
    (run,) = [r for r in grown.catalogue.runs if r.name == "run01"]
    mine = grown.record_id(LATER)
    assert run.artifact_store == str(grown.store) and mine in everything(tmp_path / "disk")
    done = erase(ROOT, Request(records=(mine,)))
    assert done.holds and mine not in everything(tmp_path / "disk")
    (ingested,) = [a for a in run.artifacts if a.name == "ingested"]
    assert done.covers(f"{ingested.uri}/manifest.json") and not Path(ingested.uri).exists()


def test_folders_behind_links_are_searched_and_caches_there_go(grown: Growing, tmp_path: Path) -> None:
    for name in ("logs", "tokens", "runs/run01/more"):
        (tmp_path / "disk" / name).mkdir(parents=True)
        (grown.state / name).symlink_to(tmp_path / "disk" / name)
        (tmp_path / "disk" / name / "file").write_text(phrase(LATER) if name != "tokens" else "17 4 9")
    # Round in a circle.
    (tmp_path / "disk" / "logs" / "up").symlink_to(grown.state)
    assert erase(ROOT, Request(values=(phrase(LATER),))).holds
    assert not list((tmp_path / "disk").glob("**/file"))


HOSTILE = (
    "O'Neil-Smith", "Łukasz Żółć", "王小明", "J. (Bob) [R.] *Doe+", "ÄNNE GROẞ", "Renée D’Arc", "+49 (0)170/55 50-123",
    "a" * 5_000,
)  # fmt: skip


def test_values_of_any_letters_are_found_as_people_and_programs_write_them(grown: Growing) -> None:
    folder = grown.state / "logs"
    folder.mkdir()
    for n, value in enumerate(HOSTILE):
        forms = {"plain": value, "lower": value.lower(), "upper": value.upper(), "json": json.dumps(value),
                 "html": html.escape(value), "url": quote(value), "nfd": unicodedata.normalize("NFD", value),
                 "blanks": value.replace(" ", "  "), "lines": value.replace(" ", "\n")}  # fmt: skip
        for name, text in forms.items():
            (folder / f"{n}-{name}").write_text(f"<p>{text}</p>")
    (folder / "other").write_text("<p>Jane Doe</p>")
    done = erase(ROOT, Request(values=HOSTILE))
    assert done.holds and [p.name for p in folder.iterdir()] == ["other"]


def test_lines_of_decisions_go_and_the_others_stay(grown: Growing) -> None:
    file = grown.state / "runs" / "run01" / "decisions.jsonl"
    lines = [json.dumps({"record_id": grown.record_id(n), "decision": "keep"}) + "\n" for n in (150, 151)]
    file.write_text("".join(lines))
    assert erase(ROOT, Request(records=(grown.record_id(150),))).holds
    assert file.read_text() == lines[1]


class Killed(BaseException):
    """In the place of SIGKILL, where a process of its own would take too long."""


@pytest.mark.parametrize(
    ("where", "at"),
    [("_leave_tombstone", 0), ("_forget", 0), ("remove", 0), ("remove", 7), ("remove", 30), ("_drop_lines", 0),
     ("_clean_database", 0), ("keep_removal", 0), ("_close", 0)],
)  # fmt: skip
def test_who_is_stopped_goes_on_from_there(
    grown: Growing, monkeypatch: pytest.MonkeyPatch, where: str, at: int
) -> None:
    mine, value = grown.record_id(CHANGED), address(CHANGED)
    sqlite(grown.state / "other.sqlite", value)
    (grown.state / "runs" / "run01" / "decisions.jsonl").write_text(json.dumps({"record_id": mine}) + "\n")
    (grown.state / f"{value}.log").write_text("nothing else")
    left = iter(range(at))

    def die(*given: object) -> None:
        if next(left, None) is None:
            raise Killed
        remove(*given)  # type: ignore[arg-type]

    remove = Place.remove
    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(*((Place, "remove") if where == "remove" else (erasing, where)), die)
        erase(ROOT, Request(values=(value,)))
    with pytest.raises(StorageError, match="begun and not finished"):
        erase(ROOT, Request(records=(grown.record_id(LATER),)))
    (journal,) = (grown.state / "erasures").glob("*/plan.json")
    assert value not in journal.read_text(), "a value is written down nowhere"
    for wrong in ((), ("jane.doe@zoo.example",), (value, "more")):
        with pytest.raises(InputError, match="begun with 1 value"):
            go_on(ROOT, wrong)
    done = go_on(ROOT, (value.upper(),))
    assert done.holds and done.rows == 1 and value not in done.model_dump_json()
    assert not [w for w in (mine, phrase(CHANGED), value) if w in everything(grown.state)]
    with pytest.raises(InputNotFoundError, match="no erasure was begun"):
        go_on(ROOT)


KILLED = """
import os, signal, sys
from ops.erasure.places import Place
from ops.erasure.plan import Plan
from ops.main import app

left, remove = [int(sys.argv.pop(1))], Place.remove

def die(place, name):
    left[0] -= 1
    if left[0] < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    remove(place, name)

Place.remove = die
app()
"""


@pytest.mark.slow
@pytest.mark.parametrize("at", [0, 25])
def test_a_command_that_is_killed_is_finished_by_the_next(tmp_path: Path, at: int) -> None:
    grown = Growing(tmp_path / "state", rows=400).make(tmp_path / "scratch")
    mine = grown.record_id(CHANGED)
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith(("ZENML", "ASSAY", "MLFLOW"))},
        "ASSAY_STATE": str(grown.state), "ASSAY_ROOT": str(ROOT),
    }  # fmt: skip

    def assay(*words: str, code: tuple[str, ...] = ("-m", "ops.main")) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, *code, *words]
        return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)

    killed = assay(str(at), "erase", phrase(CHANGED), "--yes", code=("-c", KILLED))
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    refused = assay("erase", grown.record_id(LATER))
    assert refused.returncode == 6 and "--continue finishes it" in refused.stderr
    assert assay("erase", "--continue").returncode == 0
    assert not [w for w in (mine, phrase(CHANGED), address(CHANGED)) if w in everything(grown.state)]


@pytest.mark.parametrize(
    ("found", "said"), [("unfinished", "runs go on that store where"), ("others_runs", "another user")]
)
def test_runs_that_go_on_and_runs_of_others_stop_it(
    grown: Growing, monkeypatch: pytest.MonkeyPatch, refuse_others: Callable[[Plan], None], found: str, said: str
) -> None:
    from steps.zenml_runtime import garbage

    for name in ("unfinished", "others_runs"):
        monkeypatch.setattr(garbage, name, lambda _, name=name: ["theirs"] if name == found else [])
    monkeypatch.setattr(erasing, "_refuse_others", refuse_others)
    before = everything(grown.store)
    with pytest.raises(StorageError, match=said):
        erase(ROOT, Request(records=(grown.record_id(CHANGED),)))
    assert everything(grown.store) == before and unfinished(ROOT) is None


def test_two_at_once_are_refused(grown: Growing) -> None:
    with alone(ROOT), pytest.raises(StorageError, match="another erasure is on its way"):
        erase(ROOT, Request(records=(grown.record_id(CHANGED),)))


def test_the_certificate_is_false_when_something_is_left(grown: Growing, monkeypatch: pytest.MonkeyPatch) -> None:
    remove = Place.remove
    kept = []

    def forget_one(place: Place, name: str) -> None:
        kept.append(name)
        if len(kept) > 1:
            remove(place, name)

    monkeypatch.setattr(Place, "remove", forget_one)
    done = erase(ROOT, Request(records=(grown.record_id(CHANGED),)))
    assert not done.holds and any(kept[0] in one for one in done.left) and not certificate(grown).holds


def test_what_cannot_be_looked_into_makes_the_certificate_false_until_it_is_gone(grown: Growing) -> None:
    half = grown.state / "logs" / "half.gz"
    half.parent.mkdir()
    half.write_bytes(gzip.compress(bytes(range(256)) * 40)[:100])
    mine = Request(records=(grown.record_id(CHANGED),))
    assert any("half.gz" in one for one in planned(ROOT, mine).unread)
    done = erase(ROOT, mine)
    assert not done.holds and "half.gz" in done.left[0] and not certificate(grown).holds
    assert erase(ROOT, Request(records=(grown.record_id(LATER),))).left, "others can be asked for meanwhile"
    half.unlink()
    assert go_on(ROOT).holds and go_on(ROOT).holds and certificate(grown, done.id).holds
    with pytest.raises(InputNotFoundError, match="no erasure was begun"):
        go_on(ROOT)


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        (Request(), "nothing is asked for"),
        (Request(rows=("a b",)), "fewer than 3 letters"),
        (Request(values=("a?",)), "fewer than 3 letters"),
        (Request(values=("???",)), "fewer than 3 letters"),
    ],
)
def test_what_cannot_be_understood_is_refused(grown: Growing, request_: Request, said: str) -> None:
    with pytest.raises(InputError, match=said):
        planned(ROOT, request_)


def test_nothing_found_is_said(grown: Growing) -> None:
    with pytest.raises(InputNotFoundError, match="no stored row"):
        planned(ROOT, Request(rows=("0" * 32,)))
    assert erasing.unfinished(ROOT) is None
