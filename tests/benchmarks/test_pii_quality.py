import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

import pii_quality
from pii_quality import Flag, verdict, wrong_flags


def flag(entity, value, before="", row=0):
    return Flag(row, entity, value, before)


@pytest.mark.parametrize(
    ("entity", "value", "right"),
    [
        ("EMAIL_ADDRESS", "jane@example.org", True),
        ("EMAIL_ADDRESS", "popper.js@1.16.1", False),
        ("IP_ADDRESS", "192.0.2.7", True),
        ("IP_ADDRESS", "2001:db8::1", True),
        ("IP_ADDRESS", "1.2.3.456", False),
        ("PHONE_NUMBER", "(212) 555-0142", True),
        ("PHONE_NUMBER", "6.2.9200.16384", False),
        ("PHONE_NUMBER", "123 4567", None),
        ("STREET_ADDRESS", "12 Oak Street", None),
    ],
)
def test_rules(entity, value, right):
    assert verdict(flag(entity, value), {}) is right


def test_a_judged_finding_is_known_by_its_words_and_those_before():
    judged = {flag("STREET_ADDRESS", "12 Oak Street", "lives at\n").key: True}
    assert verdict(flag("STREET_ADDRESS", "12 Oak Street", "lives  at", row=9), judged) is True
    assert verdict(flag("STREET_ADDRESS", "12 Oak Street", "the film"), judged) is None


def test_the_list_holds_digests_only():
    judged = json.loads(pii_quality.JUDGED.read_text())
    assert judged and all(
        len(key) == 16 and int(key, 16) >= 0 and value in (True, False) for key, value in judged.items()
    )


def test_what_nobody_judged_counts_as_wrong(capsys):
    rows = [["write to jane@example.org"], ["she lives at 12 Oak Street"], ["nothing"], ["ring 212-555-0142"]]
    (line, _), most = wrong_flags(rows, show_unknown=True)
    assert line[:3] == ["first 4", "3", "1"] and line[-1] == "STREET_ADDRESS 1"
    assert most > 2500
    assert "12 Oak Street" in capsys.readouterr().out
