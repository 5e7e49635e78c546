import json
from datetime import UTC, datetime, timedelta, timezone

import pytest

from ops.preflight import checked
from pipelines.load import read
from pipelines.slots import filled, slot_of, with_slot
from steps.contracts.errors import ConfigError

SLOT = datetime(2026, 3, 1, 2, 30, tzinfo=timezone(timedelta(hours=1)))


def test_a_slot_has_its_own_day():
    assert filled("d/{slot:%Y-%m-%d}.jsonl", SLOT) == "d/2026-03-01.jsonl"
    assert filled("{slot:%Y/%m/%d}/{slot:%H%M}.csv", SLOT) == "2026/03/01/0230.csv"
    # By the slot's own clock: in UTC it is 01:30.
    assert filled("{slot-1d:%Y-%m-%d}", SLOT) == "2026-02-28"
    assert filled("{slot-3h:%d-%H}", SLOT) == "28-23"
    assert filled("{slot+30m:%H:%M}", SLOT) == "03:00"
    assert filled("plain/{other}.jsonl", None) == "plain/{other}.jsonl"


@pytest.mark.parametrize(
    ("path", "why"),
    [("{slot:%B}", "%B isn't known"), ("{slot}", "doesn't say how"), ("{slot:}", "doesn't say how"),
     ("{slot:%Y-%-d}", "%- isn't known"), ("{slot:%Y%}", "% isn't known")],
)  # fmt: skip
def test_forms_that_are_no_numbers_are_refused(path, why):
    with pytest.raises(ValueError, match=why):
        filled(path, SLOT)


def test_slots_as_they_are_written():
    assert slot_of("2026-03-29T02:30+01:00").isoformat() == "2026-03-29T02:30:00+01:00"
    assert slot_of("2026-03-29T01:30Z") == datetime(2026, 3, 29, 1, 30, tzinfo=UTC)
    assert slot_of("now").tzinfo is not None
    for wrong, why in (("2026-03-29T02:30", "offset"), ("tomorrow", "no time"), ("2026-02-30T00:00Z", "no time")):
        with pytest.raises(ConfigError, match=why):
            slot_of(wrong)


def config(tmp_path, path):
    file = tmp_path / "c.yaml"
    file.write_text(
        f"name: c\npipeline: curate\nskip: [scrub]\ningest:\n  sources:\n    - {{name: a, path: '{path}'}}\n"
    )
    return file


def test_a_path_that_wants_a_slot_is_refused_without_one_with_its_line(tmp_path):
    file = config(tmp_path, "{slot:%Y-%m-%d}.jsonl")
    with pytest.raises(ConfigError) as refused:
        checked(tmp_path, file)
    assert "1 mistake" in str(refused.value), "that the file isn't there follows from it"
    assert "line 6: ingest.sources.0.path: this path holds the slot of the run, and none is given" in str(refused.value)
    row = {"prompt": "Where is my order?", "completion": "On its way."}
    (tmp_path / "2026-03-01.jsonl").write_text(json.dumps(row) + "\n")
    found, _ = checked(tmp_path, file, slot=SLOT)
    assert found.ingest.sources[0].path == "2026-03-01.jsonl"


def test_a_slot_changes_nothing_where_no_path_holds_it(tmp_path):
    written = read(config(tmp_path, "a.jsonl"))
    assert with_slot(written, SLOT) == (written, {})
    assert with_slot(written, None) == (written, {})
