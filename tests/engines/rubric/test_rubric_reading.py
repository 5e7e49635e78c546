"""Rubrics are files: assay's own are sound, and each mistake in another one is told with its line."""

from pathlib import Path

import pytest

from steps.contracts.errors import ConfigError, InputNotFoundError
from steps.engines.rubric.prompt import system_prompt
from steps.engines.rubric.reading import read_rubric, rubric_files
from steps.engines.rubric.rubric import KNOWN

TONE = """\
name: tone
version: 3
rows:
  conversation: The row is a conversation. Rate how the assistant speaks.
scale: [rude, curt, plain, friendly, warm]
criteria:
  warmth:
    conversation: does it speak as one would to a guest?
"""


def test_assays_own_rubrics_can_be_read() -> None:
    for name in KNOWN:
        rubric = read_rubric(name)
        assert rubric.name == name and rubric.all_criteria
        assert rubric.compares == (name == "preference")
        assert all(rubric.criteria_of(kind) for kind in rubric.rows)
    folder = Path(read_rubric.__code__.co_filename).parent
    assert {p.stem for p in folder.glob("*.yaml")} == set(KNOWN)
    assert rubric_files("quality", "mine/tone.yaml", "safety") == ("mine/tone.yaml",)


def test_a_rubric_of_ones_own_is_told_in_its_own_words(tmp_path: Path) -> None:
    (tmp_path / "tone.yaml").write_text(TONE)
    rubric = read_rubric("tone.yaml", lambda name: tmp_path / name)
    orders = system_prompt(rubric, "unpaired_preference", "Guests are children.")
    assert "1 rude, 2 curt, 3 plain, 4 friendly, 5 warm" in orders
    assert "- warmth: does it speak as one would to a guest?" in orders and '{"warmth": {"reason"' in orders
    assert orders.endswith("For this data set in particular:\nGuests are children.")
    assert rubric.criteria_of("document") == ()


WRONG = {
    (
        "version: 3",
        "version: x",
    ): "line 2: version: Input should be a valid integer, unable to parse string as an integer",
    ("version: 3", "versoin: 3"): "line 2: versoin: unknown key; did you mean version?",
    (", warm]", "]"): "line 5: scale.4: Field required",
    ("rude, curt", "Plain, curt"): "line 5: scale: two points of the scale mean the same",
    ("  warmth:\n", "  share:\n"): "line 7: criteria.share: share is the name of something else in a verdict",
    ("    conversation: does", "    document: does"): "line 8: criteria.warmth.document: rows says nothing of document",
    ("    conversation: does", "    poem: does"): "line 8: criteria.warmth.poem: Input should be 'conversation',",
    ("  conversation: The", "  pair: The"): "line 8: criteria.warmth.conversation: rows says nothing of conversation",
    ("scale: [rude, curt, plain, friendly, warm]\n", ""): "line 3: rows: scale is missing",
    ("name: tone", "name: Tone!"): "line 1: name: String should match pattern",
    ("warmth:\n", "warmth:\n    conversation: twice\n"): "line 9: key 'conversation' stands here a second time",
}


@pytest.mark.parametrize("change", WRONG, ids=[new.strip() or "none" for _, new in WRONG])
def test_each_mistake_is_told_with_its_line(tmp_path: Path, change: tuple[str, str]) -> None:
    old, new = change
    assert old in TONE
    (tmp_path / "tone.yaml").write_text(TONE.replace(old, new, 1))
    with pytest.raises(ConfigError) as e:
        read_rubric("tone.yaml", lambda name: tmp_path / name)
    assert WRONG[change] in str(e.value) and "tone.yaml" in str(e.value)


@pytest.mark.parametrize("content", [b"\xff\xfe", b"- a\n- b\n", b"a: [1", b"", b"# " + b"x" * (1 << 20)])
def test_what_is_no_rubric_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "r.yaml").write_bytes(content)
    with pytest.raises(ConfigError, match=r"r\.yaml"):
        read_rubric("r.yaml", lambda name: tmp_path / name)
    with pytest.raises(InputNotFoundError, match="no such rubric"):
        read_rubric("qualty", lambda name: tmp_path / name)


def test_a_rubric_is_refused_for_what_it_cant_do() -> None:
    with pytest.raises(ConfigError, match="compares two answers, and here one is wanted that rates single rows"):
        read_rubric("preference").require("", compares=False, where="judge.rubric")
    with pytest.raises(ConfigError, match="domain_relevance needs instructions: the field that rows"):
        read_rubric("domain_relevance").require(" ", compares=False, where="judge.rubric")
    read_rubric("domain_relevance").require("Beekeeping.", compares=False, where="judge.rubric")
