"""Folders as people and the hub lay them out: which files are rows, and which split they belong to."""

import json
import os
import re

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from steps.contracts.errors import InputError
from steps.ingest.folders import pattern_of, split_of

CARD = "---\nlicense: mit\n{}---\n# Card\n\nUsage notes that nobody wants to train on.\n"


def rows(*names):
    return [{"prompt": f"q {n}", "completion": f"a {n}"} for n in names]


def asked(got):
    return sorted(r["messages"][0]["content"][2:] for r in got.rows.iter_rows())


def parquet(path, *names):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows(*names)), path)


@pytest.fixture
def clone(bench):
    """As a clone of the hub has it."""
    bench.write("d/README.md", CARD.format(""))
    bench.write("d/.gitattributes", "*.parquet filter=lfs")
    bench.write("d/.git/HEAD.json", "{}")
    bench.write("d/LICENSE.txt", "A licence.")
    for split in ("train", "test"):
        for shard in range(2):
            parquet(bench.root / f"d/data/{split}-0000{shard}-of-00002.parquet", f"{split}{shard}")
    return bench


def test_a_clone_of_the_hub(clone):
    got = clone.ingest("d")
    assert asked(got) == ["train0", "train1"]
    said = "\n".join(got.report.notes)
    assert "README.md" in said and "LICENSE.txt" in said and "2 files not read (of the split test" in said
    assert asked(clone.ingest("d", split="test")) == ["test0", "test1"]
    assert asked(clone.ingest("d", split="train+test")) == asked(clone.ingest("d", split="all"))
    with pytest.raises(InputError, match=r"no files of split dev; the folder has test, train\n.*set `split: test`"):
        clone.ingest("d", split="dev")


def test_the_card_says_which_files_are_which_split(clone):
    clone.write("d/extra/more.jsonl", rows("extra"))
    clone.write(
        "d/README.md",
        CARD.format(
            "configs:\n- config_name: one\n  data_files:\n  - split: train\n    path: data/test-*\n"
            '- config_name: two\n  data_files: "extra/*.jsonl"\n'
        ),
    )
    with pytest.raises(InputError, match=r"several subsets; the data set's card names one, two\n.*`subset: one`"):
        clone.ingest("d")
    assert asked(clone.ingest("d", subset="one")) == ["test0", "test1"]
    assert asked(clone.ingest("d", subset="two")) == ["extra"]


LAYOUTS = [
    ["train.jsonl", "test.jsonl"],
    ["train/a.jsonl", "validation/b.jsonl", "test/c.jsonl"],
    ["my_train_file.jsonl", "my-dev.jsonl"],
    ["data/train_sft-00000-of-00001.jsonl", "data/test_sft-00000-of-00001.jsonl"],
    ["evaluation/a.jsonl", "training/a.jsonl"],
    ["a.jsonl", "b.jsonl"],
]


@pytest.mark.parametrize("names", LAYOUTS, ids=lambda names: names[0])
def test_splits_are_those_that_the_hub_sees(bench, tmp_path, names):
    for name in names:
        bench.write(f"d/{name}", rows(name))
    truth = datasets.load_dataset(str(bench.root / "d"), cache_dir=str(tmp_path / "cache"))
    for split, found in truth.items():
        assert asked(bench.ingest("d", split=split)) == sorted(r["prompt"][2:] for r in found)
    assert {split_of(name) or "train" for name in names} == set(truth)


def test_only_one_split_that_is_not_train_is_read_with_a_note(bench):
    bench.write("d/test.jsonl", rows("x"))
    got = bench.ingest("d")
    assert asked(got) == ["x"] and any("all files are of the split test" in n for n in got.report.notes)


def test_saved_data_sets(bench):
    made = datasets.DatasetDict({s: datasets.Dataset.from_list(rows(s)) for s in ("train", "test")})
    made.save_to_disk(str(bench.root / "d"))
    made["train"].save_to_disk(str(bench.root / "one"))
    bench.write("one/cache-0123.arrow", b"what map left")
    assert asked(bench.ingest("d")) == ["train"] and asked(bench.ingest("d", split="test")) == ["test"]
    got = bench.ingest("one")
    assert asked(got) == ["train"] and any("a cache of a saved data set" in n for n in got.report.notes)
    (bench.root / "one/data-00000-of-00001.arrow").unlink()
    with pytest.raises(InputError, match=r"lacks its file data-00000-of-00001.arrow"):
        bench.ingest("one")


def test_what_is_passed_over_is_named(bench):
    names = ["_draft.jsonl", "a.jsonl~", "b.jsonl.bak", "~$c.xlsx", "dataset_info.json", "dataset_infos.json", "p.png"]
    for name in names:
        bench.write(f"d/{name}", "{}")
    bench.write("d/.hidden.jsonl", rows("hidden"))
    bench.write("d/pictures.jsonl", b"\x89PNG\r\n\x1a\n" + bytes(40))
    bench.write("d/a.jsonl", rows("a"))
    got = bench.ingest("d")
    assert asked(got) == ["a"]
    said = "\n".join(got.report.notes)
    assert all(name in said for name in [*names[:4], "dataset_info", "p.png", "pictures.jsonl: a picture (PNG)"])


def test_an_object_that_is_no_row_is_named_and_its_neighbours_are_read(bench):
    bench.write("d/config.json", '{"lr": 0.1}')
    bench.write("d/a.jsonl", rows("a"))
    got = bench.ingest("d")
    assert asked(got) == ["a"] and any("config.json" in n and "no row" in n for n in got.report.notes)
    bench.write("d/strange.jsonl", '{"x": 1}\n{"x": 2}\n')
    with pytest.raises(InputError, match=r"s/strange.jsonl: no known row format"):
        bench.ingest("d")
    with pytest.raises(InputError, match=r"no known row format"):
        bench.ingest("d/config.json")


def test_include_and_exclude(bench):
    for name in ("a.jsonl", "b.jsonl", "deep/a.jsonl", "deep/er/c.jsonl", "_d.jsonl", "README.md"):
        bench.write(f"d/{name}", rows(name) if name.endswith("l") else "# Words")
    every = ["a.jsonl", "b.jsonl", "deep/a.jsonl", "deep/er/c.jsonl"]
    assert asked(bench.ingest("d")) == every
    assert asked(bench.ingest("d", exclude=["a.jsonl"])) == ["b.jsonl", "deep/er/c.jsonl"]
    assert asked(bench.ingest("d", exclude=["deep/*"])) == ["a.jsonl", "b.jsonl", "deep/er/c.jsonl"]
    assert asked(bench.ingest("d", include=["deep/**", "_d.jsonl"])) == ["_d.jsonl", *every[2:]]
    with pytest.raises(InputError, match=r"no file of a known type: .*not in `include`"):
        bench.ingest("d", include=["nothing*"])


def test_a_folder_of_documents_keeps_its_readme(bench):
    for name in ("README.md", "guide.md", "testing/dev.md"):
        bench.write(f"d/{name}", f"# {name}\n\nWords.\n")
    got = bench.ingest("d")
    assert got.report.kept == 3 and any("README.md is read as a document" in n for n in got.report.notes)
    bench.write("d/rows.jsonl", [{"text": "row"}])
    got = bench.ingest("d")
    assert got.report.kept == 3 and any("describes the data set" in n for n in got.report.notes)


def test_links_are_followed_and_no_folder_is_read_twice(bench):
    bench.write("d/one/a.jsonl", rows("a"))
    bench.write("elsewhere/b.jsonl", rows("b"))
    for link, target in (("d/two", "one"), ("d/one/up", ".."), ("d/out", "../elsewhere"), ("d/lost.jsonl", "nowhere"),
                         ("d/c.jsonl", "../elsewhere/b.jsonl")):  # fmt: skip
        (bench.root / link).symlink_to(target)
    got = bench.ingest("d")
    assert asked(got) == ["a", "b", "b"]


@pytest.mark.parametrize(
    "name", ["with space", "a[1]", 'quo"te', "new\nline", "tab\t", "\x1b[31mred", "ü", b"\xff\xfe"]
)
def test_odd_names(bench, name):
    name = os.fsdecode(name)
    (bench.root / f"d{name}").mkdir()
    path = bench.root / f"d{name}" / f"{name}.jsonl"
    path.write_text(json.dumps(rows("x")[0]))
    for given in (f"d{name}", str(path.relative_to(bench.root))):
        [row] = bench.ingest(given).rows.iter_rows()
        assert row["source"].isprintable() and row["source"].startswith("s/")


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("jane.roe@example.org.jsonl", r"hidden-[0-9a-f]{12}@example\.org\.jsonl"),
        ("to jane.roe%40example.org/a.jsonl", r"to hidden-[0-9a-f]{12}%40example\.org/a\.jsonl"),
        ("call +49 (30) 901820.jsonl", r"call hidden-[0-9a-f]{12}\.jsonl"),
        ("run+20260501.jsonl", r"run\+20260501\.jsonl"),
    ],
)
def test_whom_a_file_is_named_after_is_a_digest(bench, name, shown):
    bench.write(f"d/{name}", rows("x"))
    bench.write(f"d/{name}.odd", rows("y"))
    got = bench.ingest("d")
    [row] = got.rows.iter_rows()
    assert re.fullmatch(shown, row["source"].removeprefix("s/"))
    assert name == "run+20260501.jsonl" or name not in "".join(got.report.notes)


def test_globs_below_a_folder_with_brackets(bench):
    root = bench.root
    bench.root = root / "run[1]"
    bench.write("d/a.jsonl", rows("a"))
    assert asked(bench.ingest("d/*.jsonl")) == ["a"]


@pytest.mark.parametrize(
    ("glob", "fits", "not_fits"),
    [("*.jsonl", ["a.jsonl"], ["d/a.jsonl", "a.json"]), ("**/*.jsonl", ["a.jsonl", "d/e/a.jsonl"], ["a.json"]),
     ("d/**", ["d/a", "d/e/a"], ["e/a"]), ("data/train-*", ["data/train-1.x"], ["data/train/a"]),
     ("[ab].c", ["a.c"], ["c.c"]), ("[!ab].c", ["c.c"], ["a.c"]), ("a+b?.c", ["a+bc.c"], ["aab.c"]),
     ("[", ["["], ["a"])],
)  # fmt: skip
def test_globs(glob, fits, not_fits):
    assert all(pattern_of(glob).fullmatch(name) for name in fits)
    assert not any(pattern_of(glob).fullmatch(name) for name in not_fits)
