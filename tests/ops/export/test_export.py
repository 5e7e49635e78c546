"""Exports: what is written loads in `datasets` and TRL and reads back as the same content; nothing else is touched."""

import json
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from support import exported_run, sample_run
from support.exported_run import build, make, rows

from ops.export.files import write_files
from ops.export.folder import RECORD, REFUSED, read_record, whole_folder
from steps.contracts.context import StageContext
from steps.contracts.errors import ConfigError, InputError
from steps.contracts.records import message
from steps.ingest.ingest import ingest
from steps.ingest.quick import quick_config

ROOT = Path(__file__).resolve().parents[3]
ALL = {"conversations": 4, "preferences": 1, "documents": 2, "unpaired": 2}
CHAT = {
    "openai": {"conversations": 4, "preferences": 1, "unpaired": 2},
    "sharegpt": {"conversations": 4, "preferences": 1, "unpaired": 2},
    "alpaca": {"conversations": 2, "preferences": 1, "unpaired": 2},
}


def read_again(folder: Path, scratch: Path) -> Counter:
    got = ingest(
        None, quick_config(sorted(map(str, folder.glob("*/"))), {"split": "all"}), StageContext(scratch, Path.cwd())
    )
    assert got.report.dropped_by == {}
    return Counter(r["content_id"] for r in got.rows.iter_rows())


@pytest.mark.parametrize("to", ["openai", "sharegpt", "alpaca", "jsonl", "parquet", "hub"])
def test_what_is_exported_reads_back_as_the_same_content(shop, to, told):
    done = told("latest", "--to", to, "--out", f"out-{to}")
    found = Counter()
    for file in done["files"]:
        found[file["form"]] += file["rows"]
    wanted = CHAT.get(to, ALL)
    assert found == wanted and sum(done["refused"].values()) == len(rows()) - sum(wanted.values())
    kept = {r["content_id"] for r in rows() if r["record_id"] not in refused(Path(f"out-{to}"))}
    assert read_again(Path(f"out-{to}"), Path("again")) == Counter(kept)


def test_no_damaged_export_is_read_as_if_it_were_whole(shop, told):
    told("latest", "--to", "parquet", "--out", "o")
    (file,) = Path("o/documents").glob("train*.parquet")
    whole, texts = file.read_bytes(), pq.read_table(file)["text"].to_pylist()
    # Everything before the footer, in steps that meet every kind of byte.
    for at in range(4, len(whole) - 8 - int.from_bytes(whole[-8:-4], "little"), 17):
        file.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        try:
            got = ingest(None, quick_config([str(file)], {}), StageContext(Path("again"), Path.cwd()))
        except InputError as e:
            assert "damaged" in e.what, e.what
        else:
            assert [r["text"] for r in got.rows.iter_rows()] == texts, at


def refused(folder: Path) -> set[str]:
    file = folder / REFUSED
    return {json.loads(line)["record_id"] for line in file.read_text().splitlines()} if file.exists() else set()


def test_what_a_format_can_t_express_is_listed_and_counted(shop, invoke):
    result = invoke("shop", "--to", "alpaca", "--out", "a")
    assert result.exit_code == 0
    for said in ("1 rows that alpaca can't express: tools_not_expressible", "2 rows", "document_not_expressible"):
        assert said in result.stdout
    lines = [json.loads(line) for line in (Path("a") / REFUSED).read_text().splitlines()]
    assert [(x["record_id"], x["split"], x["reason"]) for x in lines][:2] == [
        (rows()[2]["record_id"], "test", "tools_not_expressible"),
        (rows()[4]["record_id"], "train", "document_not_expressible"),
    ]
    assert "order" not in (Path("a") / REFUSED).read_text()


def test_nothing_written_is_an_error_and_leaves_nothing(state, invoke):
    build(ROOT, state / "work", rows()[4:6])
    result = invoke("shop", "--to", "openai", "--out", "o")
    assert result.exit_code == 3 and "can't express any of 2 rows (document_not_expressible 2)" in result.stderr
    assert not Path("o").exists() and not list(Path().glob(".assay*"))


def test_splits_are_files_and_can_be_chosen(shop, invoke, told):
    done = told("shop", "--to", "jsonl", "--out", "all")
    assert {(f["path"], f["rows"]) for f in done["files"]} == {
        ("conversations/train.jsonl", 2), ("conversations/test.jsonl", 2), ("unpaired/train.jsonl", 2),
        ("preferences/train.jsonl", 1),
        ("documents/train.jsonl", 1), ("documents/test.jsonl", 1),
    }  # fmt: skip
    done = told("shop", "--to", "jsonl", "--out", "test", "--split", "test")
    assert {f["path"] for f in done["files"]} == {"conversations/test.jsonl", "documents/test.jsonl"}
    result = invoke("shop", "--to", "jsonl", "--out", "v", "--split", "validation")
    assert result.exit_code == 3 and "there are test, train" in result.stderr


def test_rows_that_were_never_split_are_train(state, invoke, told):
    build(ROOT, state / "work", rows(), splits=False)
    done = told("shop", "--to", "parquet", "--out", "o")
    assert {f["path"] for f in done["files"]} == {f"{form}/train-00000.parquet" for form in ALL}
    result = invoke("shop", "--to", "jsonl", "--out", "t", "--split", "train")
    assert result.exit_code == 3 and "never split" in result.stderr


@pytest.mark.parametrize("to", ["openai", "jsonl", "parquet", "hub"])
def test_datasets_and_trl_read_an_export(shop, to, told):
    from datasets import load_dataset
    from trl.data_utils import is_conversational, maybe_apply_chat_template

    told("shop", "--to", to, "--out", "d")
    loaded = load_dataset("d", "conversations")
    assert {name: part.num_rows for name, part in loaded.items()} == {"train": 2, "test": 2}
    tokenizer = Template()
    first = loaded["train"][0]
    assert is_conversational(first)
    assert maybe_apply_chat_template({"messages": first["messages"]}, tokenizer) == {
        "text": "system:Be kind.|user:Where is my order?\n\nNumber 7.|assistant:On its way.|"
    }
    called, thought = loaded["test"]
    function = called["messages"][1]["tool_calls"][0]["function"]
    columnar = to in ("parquet", "hub")
    assert function["arguments"] == (json.loads(exported_run.ARGUMENTS) if columnar else exported_run.ARGUMENTS)
    assert called["tools"] == json.loads(exported_run.TOOLS)
    answers = [m for m in thought["messages"] if m["role"] == "assistant"]
    assert [(m["weight"], m["reasoning_content"]) for m in answers] == [(0, None), (1, "It is the one of Monday.")]
    unpaired = load_dataset("d", "unpaired", split="train")
    assert unpaired["label"] == [True, False] and is_conversational(unpaired[0])
    said = maybe_apply_chat_template({k: unpaired[0][k] for k in ("prompt", "completion", "label")}, tokenizer)
    assert said["completion"] == "assistant:Yes.|"
    [pair] = load_dataset("d", "preferences", split="train")
    assert is_conversational(pair)
    rendered = maybe_apply_chat_template({k: pair[k] for k in ("prompt", "chosen", "rejected")}, tokenizer)
    assert rendered["chosen"] == "assistant:Yes: é.|" and rendered["rejected"] == "assistant:No.|"
    if to != "openai":
        assert [r["text"] for r in load_dataset("d", "documents", split="test")] == ["Another page."]
        assert first["record_id"] == rows()[0]["record_id"]


@pytest.mark.parametrize("to", ["sharegpt", "alpaca"])
def test_datasets_read_chat_formats(shop, told, to):
    from datasets import load_dataset

    told("shop", "--to", to, "--out", "d")
    pair = load_dataset("d", "preferences", split="train")[0]
    answer = {"sharegpt": {"from": "gpt", "value": "Yes: é.", "tool_call_id": None}, "alpaca": "Yes: é."}[to]
    assert pair["chosen"] == answer
    assert load_dataset("d", "unpaired", split="train")["label"] == [True, False]
    assert sum(part.num_rows for part in load_dataset("d", "conversations").values()) == CHAT[to]["conversations"]


class Template:
    """Just what TRL calls of a tokenizer: messages as `role:content|`."""

    name_or_path = "template"
    chat_template = "{% for m in messages %}{{ m.role }}:{{ m.content }}|{% endfor %}"

    def apply_chat_template(self, messages, tools=None, tokenize=False, **_):
        return "".join(f"{m['role']}:{m['content']}|" for m in messages)


def test_columns_are_those_that_the_version_needs(state, told):
    build(ROOT, state / "work", rows()[:1])
    told("shop", "--to", "parquet", "--out", "plain")
    schema = pq.read_schema("plain/conversations/train-00000.parquet")
    assert schema.names == ["messages", "record_id"]
    assert schema.field("messages").type.value_type.names == ["role", "content"]
    build(ROOT, state / "more", rows())
    told("shop", "--to", "parquet", "--out", "all")
    sides = pq.read_schema("all/preferences/train-00000.parquet")
    assert sides.names == ["prompt", "chosen", "rejected", "record_id"]
    assert sides.field("chosen").type.value_type.names == ["role", "content"]


def test_the_card_says_how_it_was_made(shop, told):
    told("shop", "--to", "hub", "--out", "h")
    text = Path("h/README.md").read_text()
    _, front, body = text.split("---\n", 2)
    meta = yaml.safe_load(front)
    assert meta["license"] == "other" and meta["size_categories"] == ["n<1K"]
    assert [(c["config_name"], c.get("default", False)) for c in meta["configs"]] == [
        ("conversations", True), ("documents", False), ("preferences", False), ("unpaired", False),
    ]  # fmt: skip
    assert meta["configs"][0]["data_files"][0] == {"split": "train", "path": ["conversations/train-00000.parquet"]}
    digest = read_record(Path("h")).dataset
    for said in (
        f"`{shop.name}`", digest, shop.config_digest, "| scrub | 10 | 0 | 9 | 1 | 0 | 0 | dropped: broken\\_json 1 |",
        "Scrubbed: found and replaced were EMAIL\\_ADDRESS 3", "| chats |  | Apache-2.0 | 7 |",
        "| pages | acme/pages\\@0123456789012345678901234567890123456789 | CC-BY-4.0 | 2 |",
    ):  # fmt: skip
        assert said in body
    assert "order" not in text and str(Path.cwd()) not in text


def test_one_licence_is_the_hub_s_name_for_it(state, told):
    build(ROOT, state / "work", rows()[:2])
    told("shop", "--to", "hub", "--out", "h")
    assert yaml.safe_load(Path("h/README.md").read_text().split("---\n")[1])["license"] == "apache-2.0"


def test_unscrubbed_rows_don_t_become_a_data_set_for_the_hub(state, invoke, told):
    build(ROOT, state / "work", rows(), scrubbed=False)
    result = invoke("shop", "--to", "hub", "--out", "h")
    assert result.exit_code == 2 and "never scrubbed" in result.stderr and not Path("h").exists()
    told("shop", "--to", "hub", "--out", "h", "--raw")
    assert "**Not scrubbed**" in Path("h/README.md").read_text()
    assert "never scrubbed" in invoke("shop", "--to", "jsonl", "--out", "j").stdout


def test_a_stage_names_the_version_that_it_left(shop, invoke, told):
    assert told("shop", "--to", "jsonl", "--out", "i", "--stage", "ingest")["stage"] == "ingest"
    result = invoke("shop", "--to", "jsonl", "--out", "j", "--stage", "judge")
    assert result.exit_code == 3 and "one of ingest, scrub" in result.stderr


def test_the_same_export_again_is_the_same_bytes(shop, told):
    one, two = (told("shop", "--to", "parquet", "--out", name)["files"] for name in ("x", "y"))
    assert [f["sha256"] for f in one] == [f["sha256"] for f in two]
    before = {p: p.read_bytes() for p in sorted(Path("x").rglob("*")) if p.is_file()}
    told("shop", "--to", "parquet", "--out", "x")
    assert before == {p: p.read_bytes() for p in sorted(Path("x").rglob("*")) if p.is_file()}


def test_only_an_earlier_export_is_replaced(shop, invoke, told):
    told("shop", "--to", "jsonl", "--out", "o")
    told("shop", "--to", "parquet", "--out", "o")
    assert not list(Path("o").rglob("*.jsonl"))
    Path("o/notes.txt").write_text("mine")
    result = invoke("shop", "--to", "jsonl", "--out", "o")
    assert result.exit_code == 2 and "would be lost: notes.txt" in result.stderr
    Path("f").write_text("mine")
    Path("mine").mkdir()
    Path("mine/a").write_text("x")
    for place, said in (("f", "a file"), ("mine", "would be lost: a")):
        result = invoke("shop", "--to", "jsonl", "--out", place)
        assert result.exit_code == 2 and said in result.stderr
    assert Path("f").read_text() == "mine" and Path("o/notes.txt").read_text() == "mine"


def test_an_export_that_ends_early_leaves_what_was_there(shop, monkeypatch, invoke, told):
    told("shop", "--to", "jsonl", "--out", "o")
    before = (Path("o") / RECORD).read_bytes()
    monkeypatch.setattr("ops.export.export.files_of", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
    for place in ("o", "new"):
        assert invoke("shop", "--to", "parquet", "--out", place).exit_code == 130
    assert (Path("o") / RECORD).read_bytes() == before and not Path("new").exists()
    assert not list(Path().glob(".assay-export-*"))


def test_a_folder_is_not_there_before_it_is_whole(tmp_path):
    with whole_folder(tmp_path / "a" / "b") as folder:
        (folder / "file").write_text("x")
        assert not (tmp_path / "a" / "b").exists()
        assert list((tmp_path / "a").glob("[!.]*")) == []
    assert (tmp_path / "a" / "b" / "file").read_text() == "x"
    (tmp_path / "link").symlink_to(tmp_path / "a")
    with pytest.raises(ConfigError, match="a link"), whole_folder(tmp_path / "link"):
        pass


def test_large_splits_are_several_files(tmp_path, monkeypatch):
    from steps.contracts.dataset import DatasetWriter

    monkeypatch.setattr("ops.export.files._FILE_BYTES", 1)
    monkeypatch.setattr("ops.export.files._GROUP_ROWS", 2)
    writer = DatasetWriter(tmp_path / "v", "ingest")
    writer.write_rows([make("s", f"line:{i}", kind="document", text=f"page {i}") for i in range(5)])
    with (tmp_path / "refused").open("w") as lines:
        write_files(writer.close(), "parquet", tmp_path / "o", (), lines)
    files = sorted((tmp_path / "o/documents").iterdir())
    assert [f.name for f in files] == [f"train-{n:05}.parquet" for n in range(3)]
    texts = pa.concat_tables([pq.read_table(f) for f in files])["text"].to_pylist()
    assert texts == [f"page {i}" for i in range(5)]


def test_no_card_is_made_from_a_changed_config(state, invoke, shop):
    file = state / "state" / "runs" / shop.name / "config.yaml"
    file.write_text(file.read_text().replace("name: shop", "name: other"))
    result = invoke("latest", "--to", "jsonl", "--out", "o")
    assert result.exit_code == 7 and result.stderr.startswith(f"error: {file}: not the config that the run had")


def test_a_name_that_fits_a_run_and_a_dataset_must_say_which(state, invoke, told):
    record = build(ROOT, state / "work", rows())
    digest = record.of_type("dataset")[-1].digest
    twin = record.model_copy(update={"name": digest[:9], "run_id": "2" * 36, "config_name": "other"})
    from ops.run_index import save_run

    save_run(ROOT, sample_run.of_config(twin, "name: other\n"), "name: other\n")
    result = invoke(digest[:6], "--to", "jsonl", "--out", "o")
    assert result.exit_code == 3 and f"say which: run:{digest[:6]} or dataset:{digest[:6]}" in result.stderr
    assert told(f"run:{digest[:6]}", "--to", "jsonl", "--out", "o")["run"] == twin.name
    assert told(f"dataset:{digest[:6]}", "--to", "jsonl", "--out", "o")["dataset"] == digest
    for query, said in (
        ("model:shop", "is a run or a dataset"),
        ("dataset:abc", "no dataset version"),
        ("run:", "no run"),
    ):
        assert said in invoke(query, "--to", "jsonl", "--out", "o").stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--to", "yaml", "--out", "o"), "one of openai, sharegpt"),
        (("--to", "jsonl"), "--out FOLDER"),
        (("--to", "jsonl", "--out", "o", "--repo", "a/b"), "only --to hub"),
    ],
)
def test_what_can_t_be_meant_is_refused(shop, arguments, said, invoke):
    result = invoke("shop", *arguments)
    assert result.exit_code == 2 and said in result.stderr


def test_a_file_is_converted_and_not_exported(shop, invoke):
    Path("rows.jsonl").write_text("{}")
    result = invoke("rows.jsonl", "--to", "openai", "--out", "o")
    assert result.exit_code == 3 and "assay convert rows.jsonl OUT" in result.stderr


def test_marks_that_training_rows_have_no_place_for_are_refused(state, told):
    turns = [message("user", "q"), message("assistant", "a")]
    build(ROOT, state / "work", [make("s", "line:1", messages=turns, score=0.5), *rows()[:1]])
    assert told("shop", "--to", "jsonl", "--out", "o")["refused"] == {"marks_not_expressible": 1}
