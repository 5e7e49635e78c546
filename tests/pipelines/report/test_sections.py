"""Sections of one's own: named by import path, made of a run's artifacts, on the page and in the record."""

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from support import sample_run, stored_run

from examples import planted
from ops.run_index import artifacts_of
from pipelines.report.page import render_page
from pipelines.report.sections import load_section, make_sections
from steps.contracts.errors import ConfigError


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of modules of one's own."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("ASSAY_STATE", str(tmp_path / "state"))
    yield tmp_path
    for name in ("mine_good", "mine_bad"):
        sys.modules.pop(name, None)


def test_sections_are_made_in_order_of_artifacts_and_config(mine: Path) -> None:
    (mine / "mine_good.py").write_text(
        "from steps.contracts.reports import Table\n"
        "from steps.contracts.errors import InputError\n"
        "def counted(artifacts, config):\n"
        "    n = sum(artifacts.report(a).dropped for a in artifacts.run.of_type('stage_report'))\n"
        "    return Table(title='<b>mine</b>', columns=(config['name'],), rows=((n,),))\n"
        "def nothing(artifacts, config):\n"
        "    return None\n"
        "def broken(artifacts, config):\n"
        "    raise InputError('no list', where='here')\n"
    )
    run = stored_run.build(mine, mine / "work")
    paths = ["mine_good:nothing", "mine_good:broken", "mine_good:counted"]
    broken, counted = make_sections(paths, artifacts_of(mine, run.record), {"name": "quick"})
    assert (counted.columns, counted.rows) == (("quick",), ((1,),))
    assert broken.title == "mine_good:broken" and "no list" in str(broken.rows[0][0])
    page = sample_run.page()
    html = render_page(replace(page, record=page.record.model_copy(update={"sections": (counted,)})))
    assert 'id="section-1"' in html and "&lt;b&gt;mine&lt;/b&gt;" in html and "<b>mine</b>" not in html


@pytest.mark.parametrize(
    "path", ["no.such:f", "examples.planted:no_such", "examples.planted", "", "examples.planted:COLUMNS"]
)
def test_a_function_that_is_none_is_named_before_anything_runs(path: str) -> None:
    with pytest.raises(ConfigError) as found:
        load_section(path)
    assert found.value.where == "report.sections"


def test_the_quickstart_names_its_own() -> None:
    assert load_section("examples.planted:section") is planted.section
    assert "examples.planted:section" in (Path(__file__).parents[3] / "configs/runs/quickstart.yaml").read_text()
