"""What `assay run` prints: text from configs and file names stays text."""

from pathlib import Path

import pytest

from ops.console import console
from ops.infra import InfraConfig
from ops.plan import Plan
from ops.summary import print_costs, print_plan
from pipelines.config import RunConfig
from pipelines.input_digests import Inputs
from pipelines.load import load_model
from pipelines.report.costs import Reason, StageCost

ROOT = Path(__file__).resolve().parents[2]
HOSTILE = "a[red]b[/nothing].jsonl\x1b[31m\u202e"


def test_a_plan_names_every_file_as_it_is_called(capsys: pytest.CaptureFixture[str]) -> None:
    config = load_model(RunConfig, ROOT / "configs" / "runs" / "smoke.yaml")
    reads = Inputs(
        digests={
            "ingest": {HOSTILE: "1" * 64, **{f"pages/{n}.txt": "4" * 64 for n in range(60)}},
            "review": {"decided.jsonl": "2" * 64},
            "screen": {"some/classifier": "3" * 40},
        }
    )
    print_plan(Plan(config, InfraConfig(stack="local"), "local", reads, ("ingest_step",), None), as_json=False)
    shown = capsys.readouterr().out
    for name, digest in (("a[red]b[/nothing].jsonl", "1"), ("decided.jsonl", "2"), ("some/classifier", "3")):
        assert name in shown and digest * 16 in shown
    assert "\x1b" not in shown and "\u202e" not in shown
    # A folder is one line.
    assert "pages: 60 files" in shown and "pages/1.txt" not in shown


def test_reasons_are_not_read_as_markup(capsys: pytest.CaptureFixture[str]) -> None:
    reasons = (Reason("dropped", HOSTILE, 3),)
    cost = StageCost(HOSTILE, 9, 0, 6, 3, 0, 0, 0, 0, reasons, 1.0, 1.0, 9.0, cached=False)
    print_costs(console(), [cost])
    shown = capsys.readouterr().out
    assert shown.count("a[red]b[/nothing].jsonl") == 3
    assert "\x1b" not in shown and "\u202e" not in shown


@pytest.mark.parametrize("width", [30, 60, 80])
def test_no_number_and_no_stage_is_cut_in_a_narrow_terminal(width: int, capsys: pytest.CaptureFixture[str]) -> None:
    cost = StageCost(
        "leakcheck", 123_456_789, 0, 112_345_678, 11_111_111, 0, 0, 0, 0, (), 1.0, 1.0, 9_876.0, cached=True
    )
    out = console()
    out.width = width
    print_costs(out, [cost])
    out.print("x" * 200)
    shown = capsys.readouterr().out
    assert "…" not in shown and all(n in shown for n in ("leakcheck", "123,456,789", "112,345,678", "9,876"))
    assert out.width == width


def test_what_a_person_should_look_at_is_said_after_the_reasons(capsys: pytest.CaptureFixture[str]) -> None:
    cost = StageCost("judge", 9, 0, 6, 3, 0, 0, 0, 0, (), 1.0, 1.0, 9.0, cached=False, warnings=(f"of {HOSTILE}",))
    print_costs(console(), [cost])
    shown = capsys.readouterr().out
    assert shown.splitlines()[-1].startswith("warning: judge: of a[red]b[/nothing].jsonl")
    assert "\x1b" not in shown and "\u202e" not in shown
