"""docs/sizes.md says what the arithmetic says."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

import sizes


def between(name: str) -> str:
    return sizes.PAGE.read_text().split(f"<!-- {name} -->\n")[1].split("\n<!-- end -->")[0]


def test_rows_are_those_of_the_page() -> None:
    assert between("curation") == "\n".join(sizes.curation())


@pytest.mark.slow
def test_models_are_those_of_the_page() -> None:
    assert between("models") == "\n".join(sizes.models())


def test_a_table_takes_the_place_of_the_one_before() -> None:
    page = "a\n<!-- x -->\nold\n<!-- end -->\nb"
    assert sizes.written(page, {"x": "new", "y": "none"}) == "a\n<!-- x -->\nnew\n<!-- end -->\nb"
