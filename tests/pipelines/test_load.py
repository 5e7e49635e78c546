"""Config files: all mistakes at once, with lines, allowed values and the nearest spelling."""

import time
from pathlib import Path
from typing import Literal

import pytest
from pydantic import Field

from pipelines.load import load_model
from steps.contracts.errors import ConfigError, InputNotFoundError, StorageError
from steps.contracts.reports import Frozen


class Source(Frozen):
    name: str
    weight: float = 1.0


class Inner(Frozen):
    threshold: float = Field(0.7, gt=0, le=1)
    mode: Literal["keep", "drop"] = "keep"
    sources: tuple[Source, ...] = ()


class Outer(Frozen):
    name: str
    dedup: Inner = Inner()
    maybe: Inner | None = None


def load(tmp_path: Path, text: str, *overrides: str) -> Outer:
    path = tmp_path / "run.yaml"
    path.write_text(text)
    return load_model(Outer, path, overrides)


def failure(tmp_path: Path, text: str, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text, *overrides)
    return str(caught.value)


def test_all_mistakes_at_once_with_their_lines(tmp_path: Path) -> None:
    sources = "  sources:\n    - {name: a}\n    - {nam: b}\n"
    text = f"name: x\ndedup:\n  treshold: 0.5\n  mode: both\n{sources}maybe: {{threshold: 7}}\n"
    message = failure(tmp_path, text)
    assert "4 mistakes" in message
    assert "line 3: dedup.treshold: unknown key; did you mean 'threshold'?" in message
    assert "line 4: dedup.mode: Input should be 'keep' or 'drop' (found 'both')" in message
    assert "line 7: dedup.sources.1.nam: unknown key; did you mean 'name'?" in message
    # The name is there, misspelt: that is one mistake.
    assert "Field required" not in message
    assert "line 8: maybe.threshold: Input should be less than or equal to 1 (found 7)" in message


def test_unknown_key_without_a_near_one_lists_those_there_are(tmp_path: Path) -> None:
    assert "known keys are dedup, maybe, name" in failure(tmp_path, "name: x\nzzz: 1\n")


def test_repeated_key_is_refused(tmp_path: Path) -> None:
    assert "line 3: key 'name' stands here a second time (first in line 1)" in failure(
        tmp_path, "name: x\ndedup: {}\nname: y\n"
    )


def test_a_mistake_of_an_option_is_told_by_the_option(tmp_path: Path) -> None:
    text = "name: x\ndedup:\n  threshold: 0.5\n  mode: both\n"
    message = failure(tmp_path, text, "dedup.threshold=7", "maybe.tresh=1", "dedup.sources=[{nam: a}]")
    assert "--set dedup.threshold=7: dedup.threshold: Input should be less than" in message
    assert "line 4: dedup.mode: " in message
    assert "--set maybe.tresh=1: maybe.tresh: unknown key; did you mean 'threshold'?" in message
    assert "--set dedup.sources=[{nam: a}]: dedup.sources.0.nam: unknown key" in message
    assert message.count("line ") == 1


def test_overrides_win_and_are_checked(tmp_path: Path) -> None:
    text = "name: x\ndedup:\n  sources:\n    - {name: a}\n"
    config = load(tmp_path, text, "dedup.threshold=0.9", "dedup.sources.0.name=b", "maybe.mode=drop")
    assert (config.dedup.threshold, config.dedup.sources[0].name) == (0.9, "b")
    assert config.maybe is not None
    assert config.maybe.mode == "drop"
    assert "dedup.threshold" in failure(tmp_path, text, "dedup.threshold=high")
    assert "position from 0 to 0" in failure(tmp_path, text, "dedup.sources.3.name=b")
    assert "single value" in failure(tmp_path, text, "name.deeper=1")
    assert "dotted.key=value" in failure(tmp_path, text, "dedup.threshold")


@pytest.mark.parametrize("text", ["- a\n- b\n", "name: [1\n", "just words"])
def test_what_is_no_mapping_is_refused(tmp_path: Path, text: str) -> None:
    assert "run.yaml" in failure(tmp_path, text)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputNotFoundError, match=r"nowhere\.yaml"):
        load_model(Outer, tmp_path / "nowhere.yaml")


BOMB = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 9))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (BOMB, "more than 100,000 values, those behind aliases counted each time"),
        ("x: &x [*x]", "nested too deeply, or an alias stands for itself"),
        ("x: &x {y: *x}", "nested too deeply, or an alias stands for itself"),
        ("[" * 100_000, "nested too deeply, or an alias stands for itself"),
        ("x: " + "{a: " * 50_000, "nested too deeply, or an alias stands for itself"),
    ],
    ids=["bomb", "itself", "itself in a mapping", "lists", "mappings"],
)
def test_a_few_hostile_lines_cost_nothing_and_are_refused(tmp_path: Path, text: str, why: str) -> None:
    started = time.process_time()
    assert failure(tmp_path, text).startswith(f"{tmp_path / 'run.yaml'}: {why}")
    assert time.process_time() - started < 20


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("name: x\nmaybe: 2024-02-30\n", "'2024-02-30' is no date that there is"),
        ("name: !!timestamp soon\n", "'soon' is no date that there is"),
        ("name: x\nmaybe: 2001-12-14t21:59:43+99:99\n", "is no date that there is"),
        ("name: x\nmaybe: " + "9" * 5000, "is no number that there is"),
        ("name: !!int four", "'four' is no number that there is"),
        ("name: x\n\x07: y", "the character #x0007 in line 2 isn't allowed"),
    ],
)
def test_dates_and_numbers_that_there_are_not_are_named_with_their_line(tmp_path: Path, text: str, why: str) -> None:
    said = failure(tmp_path, text)
    assert why in said and f"line {1 + text.count(chr(10), 0, -1)}" in said
    with pytest.raises(ConfigError, match="not valid YAML"):
        load(tmp_path, "name: x\n", "maybe=2024-02-30")


def test_a_file_that_is_far_too_long_is_not_parsed(tmp_path: Path) -> None:
    assert "longer than 1,048,576 bytes" in failure(tmp_path, "name: x\n" + "# \n" * 400_000)


def test_an_alias_is_read(tmp_path: Path) -> None:
    assert load(tmp_path, "name: x\ndedup: &d {threshold: 0.5}\nmaybe: *d\n").maybe == Inner(threshold=0.5)


def test_a_file_in_another_encoding_is_named(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_bytes("name: ä".encode("utf-16"))
    with pytest.raises(ConfigError, match="not UTF-8 text \\(byte 0, line 1\\)"):
        load_model(Outer, file)


def test_a_file_that_may_not_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("name: x\n")

    def refused(_path: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refused)
    with pytest.raises(StorageError, match=r"run\.yaml: this user may not read it"):
        load_model(Outer, file)
