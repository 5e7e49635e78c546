"""Scores of found spans against labelled ones, by hand-made texts whose answers are known."""

import json
import random

import pytest

from steps.contracts.errors import InputError, InputNotFoundError
from steps.scrub.config import ScrubConfig
from steps.scrub.evaluation.evaluation import (
    ALL,
    LOOKED_FOR,
    evaluate,
    iou,
    joined,
    looked_for,
    matched,
    outermost,
    score,
)
from steps.scrub.evaluation.labelled import LABEL_NAMES, EntitySpan, Labelled, of_templates, read_labelled

WANTED = frozenset({"PERSON", "PHONE_NUMBER"})


def row(*spans: EntitySpan, template: int | None = None, length: int = 60) -> Labelled:
    return Labelled("line 1", "x" * length, tuple(spans), template)


def test_known_answers() -> None:
    rows = [
        row(EntitySpan(0, 10, "PERSON"), EntitySpan(20, 30, "PHONE_NUMBER")),
        row(EntitySpan(0, 10, "PERSON")),
        row(EntitySpan(0, 10, "PERSON")),
    ]
    found = [
        [EntitySpan(0, 10, "PERSON"), EntitySpan(22, 30, "PHONE_NUMBER")],  # right; right by overlap only
        [EntitySpan(0, 4, "PERSON")],  # partial: IoU .4
        [EntitySpan(30, 35, "PERSON")],  # missed, and wrong elsewhere
    ]
    done = score(rows, found, WANTED)
    person, phone = done.overlap["PERSON"], done.overlap["PHONE_NUMBER"]
    assert (person.labelled, person.found, person.right) == (3, 3, 1)
    assert person.precision and person.recall and person.f1 and person.f2
    assert (person.precision.value, person.recall.value, person.f1.value) == pytest.approx((1 / 3, 1 / 3, 1 / 3))
    assert (phone.right, done.exact["PHONE_NUMBER"].right) == (1, 0)
    both = done.overlap[ALL]
    assert (both.labelled, both.found, both.right) == (4, 4, 2)
    assert both.f1 and both.f1.value == 0.5
    assert [(m.kind, m.entity) for m in done.mistakes] == [
        ("partial", "PERSON"),
        ("missed", "PERSON"),
        ("wrong", "PERSON"),
    ]
    assert done.covered == {"PERSON": 14 / 30, "PHONE_NUMBER": 0.8, ALL: 22 / 40}


def test_f2_weighs_recall_more() -> None:
    done = score([row(EntitySpan(0, 5, "PERSON"), EntitySpan(6, 10, "PERSON"))], [[EntitySpan(0, 5, "PERSON")]], WANTED)
    scores = done.overlap["PERSON"]
    assert scores.f1 and scores.f2
    # P = 1, R = 1/2: F1 = 2/3, F2 = 5 P R / (4 P + R) = 5/9
    assert (scores.f1.value, scores.f2.value) == pytest.approx((2 / 3, 5 / 9))


def test_another_entity_in_the_same_place_is_wrong_and_missed() -> None:
    done = score([row(EntitySpan(0, 10, "PERSON"))], [[EntitySpan(0, 10, "PHONE_NUMBER")]], WANTED)
    assert [(m.kind, m.entity, m.other) for m in done.mistakes] == [
        ("missed", "PERSON", "PHONE_NUMBER"),
        ("wrong", "PHONE_NUMBER", "PERSON"),
    ]
    assert done.covered["PERSON"] == 1.0


def test_nested_labels_count_once() -> None:
    labels = (EntitySpan(0, 30, "STREET_ADDRESS"), EntitySpan(20, 30, "LOCATION"))
    assert outermost(labels) == ([labels[0]], [labels[1]])
    done = score([row(*labels)], [[EntitySpan(20, 30, "LOCATION")]], frozenset({"LOCATION", "STREET_ADDRESS"}))
    assert (done.overlap["LOCATION"].labelled, done.overlap["LOCATION"].found) == (0, 0)
    assert [(m.kind, m.entity) for m in done.mistakes] == [("missed", "STREET_ADDRESS")]


def test_a_value_in_pieces_counts_once() -> None:
    text = "12 Oak Street\n Apt 4, Rome and 7 Elm Road"
    pieces = [
        EntitySpan(0, 13, "STREET_ADDRESS"),
        EntitySpan(15, 20, "STREET_ADDRESS"),
        EntitySpan(31, 41, "STREET_ADDRESS"),
    ]
    assert joined(pieces, text) == [EntitySpan(0, 20, "STREET_ADDRESS"), pieces[2]]
    assert joined([pieces[0], EntitySpan(15, 20, "UNIT")], text) == [pieces[0], EntitySpan(15, 20, "UNIT")]
    done = score([Labelled("line 1", text, tuple(pieces))], [[EntitySpan(0, 20, "STREET_ADDRESS")]], WANTED)
    assert (done.exact["STREET_ADDRESS"].labelled, done.exact["STREET_ADDRESS"].right) == (2, 1)


def test_what_nobody_labelled_or_found_has_no_score() -> None:
    done = score([row()], [[]], WANTED)
    assert done.overlap["PERSON"].precision is None and done.overlap["PERSON"].f1 is None
    assert done.overlap[LOOKED_FOR].recall is None
    assert score([], [], WANTED).overlap[ALL].f1 is None


def test_matching_is_one_to_one_and_no_worse_than_any_other() -> None:
    """Against all assignments of small random spans: greedy by overlap finds as many pairs where spans are disjoint."""
    rng = random.Random(3)
    compared = 0
    for _ in range(400):
        sides = [sorted(rng.sample(range(30), 6)) for _ in range(2)]
        labels, found = ([EntitySpan(s[i], s[i + 1], "PERSON") for i in (0, 2, 4)] for s in sides)
        pairs = matched(labels, found, lambda value: value >= 0.5)
        assert len(set(pairs.values())) == len(pairs)
        partners = {f: [x for x in labels if iou(x, f) >= 0.5] for f in found}
        best = max(
            len({c for c in (a, b, c) if c})
            for a in [None, *partners[found[0]]]
            for b in [None, *partners[found[1]]]
            for c in [None, *partners[found[2]]]
        )
        assert len(pairs) == best
        compared += best > 0
    assert compared > 50


def test_texts_of_one_template_stand_and_fall_together() -> None:
    """Ten right and ten wrong texts: as two templates the interval is far wider than as twenty texts."""
    label = EntitySpan(0, 10, "PERSON")
    found = [[label]] * 10 + [[]] * 10
    alone = score([row(label) for _ in found], found, WANTED).overlap["PERSON"].f1
    together = score([row(label, template=n // 10) for n in range(20)], found, WANTED)
    wide = together.overlap["PERSON"].f1
    assert together.templates == 2
    assert alone and wide and wide.high - wide.low > 1.5 * (alone.high - alone.low)


def test_the_detectors_of_a_config_are_run() -> None:
    config = ScrubConfig(entities=("EMAIL_ADDRESS",), patterns={"STAFF_ID": r"E-\d{4}"})
    rows = [
        Labelled(
            "line 1", "E-1234 is jane@example.org", (EntitySpan(0, 6, "STAFF"), EntitySpan(10, 26, "EMAIL_ADDRESS"))
        )
    ]
    done = evaluate(rows, config, {"STAFF_ID": "STAFF"})
    assert done.looked_for == {"EMAIL_ADDRESS", "STAFF"} == looked_for(config, {"STAFF_ID": "STAFF"})
    assert done.exact[LOOKED_FOR].right == 2 and not done.mistakes
    ignored = evaluate(rows, config, {"STAFF_ID": "-"})
    assert ignored.overlap["STAFF"].found == 0


def test_both_formats(tmp_path) -> None:
    plain = tmp_path / "a.jsonl"
    plain.write_text('\n{"text": "Zoë here", "spans": [{"start": 0, "end": 3, "label": "PER"}]}\n\n')
    research = tmp_path / "a.json"
    span = {"entity_type": "PER", "entity_value": "Zoë", "start_position": 0, "end_position": 3}
    research.write_text(json.dumps([{"full_text": "Zoë here", "spans": [span], "template_id": 4, "metadata": None}]))
    (one,), (other,) = read_labelled(plain), read_labelled(research)
    assert one == Labelled("a.jsonl line 2", "Zoë here", (EntitySpan(0, 3, "PERSON"),))
    assert other == Labelled("a.json item 1", "Zoë here", (EntitySpan(0, 3, "PERSON"),), 4)
    assert read_labelled(plain, {**LABEL_NAMES, "PER": "-"})[0].spans == ()


SECRET = "jane@example.org"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "no rows"),
        (b"\xff\xfe{}", "not UTF-8"),
        (b"[", "not valid JSON"),
        (b"[" * 100_000, "not valid JSON"),
        (b'{"text": "jane@example.org"', "line 1"),
        (b'{"text": "jane@example.org"}', "no list of spans"),
        (b'["jane@example.org"]', "no text"),
        (b'{"text": 3, "spans": []}', "no text"),
        (b'{"text": "jane@example.org", "spans": [3]}', "span 1: the span is not an object"),
        (b'{"text": "jane@example.org", "spans": [{"start": 0, "end": 4}]}', "label"),
        (b'{"text": "jane@example.org", "spans": [{"start": -1, "end": 4, "label": "X"}]}', "whole numbers"),
        (b'{"text": "jane@example.org", "spans": [{"start": true, "end": 4, "label": "X"}]}', "whole numbers"),
        (b'{"text": "jane@example.org", "spans": [{"start": 4, "end": 4, "label": "X"}]}', "empty"),
        (b'{"text": "jane@example.org", "spans": [{"start": 4, "end": 40, "label": "X"}]}', "leaves its text"),
        (
            b'{"text": "jane@example.org", "spans": [{"start": 0, "end": 4, "label": "X", "value": "ane"}]}',
            "is not the",
        ),
        (b'{"text": "jane@example.org", "spans": [], "template_id": "4"}', "template_id"),
    ],
)
def test_bad_files_are_told_without_their_text(tmp_path, content: bytes, said: str) -> None:
    path = tmp_path / "labels.jsonl"
    path.write_bytes(content)
    with pytest.raises(InputError) as error:
        read_labelled(path)
    assert said in str(error.value) and "labels.jsonl" in str(error.value) and SECRET not in str(error.value)


def test_halves_need_template_ids(tmp_path) -> None:
    rows = [row(template=1), row(template=3)]
    assert of_templates(rows, "odd", "f") == rows
    with pytest.raises(InputError, match="even"):
        of_templates(rows, "even", "f")
    with pytest.raises(InputError, match="template_id"):
        of_templates([row()], "odd", "f")
    with pytest.raises(InputNotFoundError):
        read_labelled(tmp_path / "absent.json")
