"""The committed example data against its generator, and the planted truth against second implementations."""

import csv
import importlib
import ipaddress
import itertools
import json
import re
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from examples.toy_base.english import is_held_out

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
QUICKSTART = EXAMPLES / "quickstart"
Place = tuple[str, str]


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    sys.path.insert(0, str(EXAMPLES))
    try:
        return importlib.import_module("generate")
    finally:
        sys.path.remove(str(EXAMPLES))


@pytest.fixture(scope="module")
def planted() -> dict[Place, dict[str, Any]]:
    lines = (QUICKSTART / "planted.jsonl").read_text().splitlines()
    return {(p["file"], p["locator"]): p for p in map(json.loads, lines)}


def _pairs(line: str) -> tuple[str, str]:
    row = json.loads(line)
    turns, key = (row["messages"], "content") if "messages" in row else (row["conversations"], "value")
    return turns[0][key], turns[1][key]


@pytest.fixture(scope="module")
def rows(planted: dict[Place, dict[str, Any]]) -> dict[Place, tuple[str, str]]:
    """(prompt, answer) per place, read by the formats' own rules; broken lines left out."""
    found: dict[Place, tuple[str, str]] = {}
    for name in ("messages.jsonl", "sharegpt.jsonl"):
        for number, line in enumerate((QUICKSTART / name).read_text().splitlines(), 1):
            place = (name, f"line:{number}")
            if planted.get(place, {}).get("kind") != "broken_line":
                found[place] = _pairs(line)
    for number, row in enumerate(json.loads((QUICKSTART / "alpaca.json").read_text()), 1):
        found["alpaca.json", f"row:{number}"] = (f"{row['instruction']}\n\n{row['input']}", row["output"])
    with (QUICKSTART / "pairs.csv").open(newline="") as f:
        reader = csv.reader(f)
        next(reader)
        at = reader.line_num
        for prompt, completion in reader:
            found["pairs.csv", f"line:{at + 1}"] = (prompt, completion)
            at = reader.line_num
    return found


def _bits(texts: list[str]) -> list[int]:
    """Word 3-grams of each text as a set of bits of one integer."""
    number: dict[tuple[str, ...], int] = {}
    sets = []
    for text in texts:
        words = re.findall(r"\w+", text.lower())
        bits = 0
        for gram in zip(words, words[1:], words[2:], strict=False):
            bits |= 1 << number.setdefault(gram, len(number))
        sets.append(bits)
    return sets


def _jaccard(a: int, b: int) -> float:
    return (a & b).bit_count() / max(1, (a | b).bit_count())


def test_committed_files_are_what_the_generator_writes(generator: ModuleType) -> None:
    written = generator.contents()
    assert len(written) == 7
    for name, text in written.items():
        assert (EXAMPLES / name).read_bytes() == text.encode(), name
    assert sum(len(t.encode()) for t in written.values()) < 2_500_000


def test_every_kind_of_flaw_is_there(planted: dict[Place, dict[str, Any]], rows: dict[Place, Any]) -> None:
    kinds = Counter(p["kind"] for p in planted.values())
    assert set(kinds) == {
        *("exact_copy", "near_copy", "pii", "injection", "script", "profanity", "junk", "contradiction", "broken_line")
    }
    assert min(kinds.values()) >= 20
    assert all(place in rows for place, p in planted.items() if p["kind"] != "broken_line")
    assert len(rows) + kinds["broken_line"] >= 3_000


@pytest.mark.slow
def test_no_pair_is_alike_that_is_not_planted(
    planted: dict[Place, dict[str, Any]], rows: dict[Place, tuple[str, str]]
) -> None:
    """Brute force over the rows that aren't planted copies: 1,800 of them and more survive any honest dedup."""
    copies = {"exact_copy", "near_copy", "contradiction"}
    # Planted sentences (personal data, attacks) repeat, so their rows are compared with the same bound.
    places = [p for p in rows if planted.get(p, {}).get("kind") not in copies]
    bits = _bits(["\n\n".join(rows[p]) for p in places])
    sizes = [b.bit_count() for b in bits]
    worst = 0.0
    for a, b in itertools.combinations(range(len(bits)), 2):
        shared = (bits[a] & bits[b]).bit_count()
        if shared > 0.4 * sizes[a]:
            worst = max(worst, shared / (sizes[a] + sizes[b] - shared))
    assert len(places) > 2_700
    assert 0.3 < worst < 0.7


def test_copies_are_as_alike_as_they_say(
    planted: dict[Place, dict[str, Any]], rows: dict[Place, tuple[str, str]]
) -> None:
    checked: Counter[str] = Counter()
    for place, p in planted.items():
        if "original_locator" not in p:
            continue
        original = rows[p["original_file"], p["original_locator"]]
        first, second = _bits(["\n\n".join(rows[place]), "\n\n".join(original)])
        assert _jaccard(first, second) == pytest.approx(p["jaccard"], abs=1e-4)
        assert (rows[place] == original) == (p["kind"] == "exact_copy")
        assert (rows[place][0] == original[0]) == (p["kind"] != "near_copy")
        checked["above" if p["jaccard"] >= 0.7 else "below"] += 1
    assert checked["above"] >= 300 and checked["below"] >= 60


def test_personal_data_is_well_formed_and_belongs_to_nobody(
    planted: dict[Place, dict[str, Any]], rows: dict[Place, tuple[str, str]]
) -> None:
    seen: Counter[str] = Counter()
    reserved = [ipaddress.ip_network(n) for n in ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24")]
    for place, p in planted.items():
        for entity in p.get("entities", ()):
            value, kind = entity["value"], entity["type"]
            seen[kind] += 1
            assert value in rows[place][0]
            digits = [int(c) for c in value if c.isdigit()]
            if kind == "CREDIT_CARD":
                assert len(digits) == 16
                assert sum(d if i % 2 else sum(divmod(2 * d, 10)) for i, d in enumerate(digits)) % 10 == 0
            elif kind == "IBAN_CODE":
                assert int("".join(str(int(c, 36)) for c in value[4:] + value[:4])) % 97 == 1
            elif kind == "IP_ADDRESS":
                assert any(ipaddress.ip_address(value) in n for n in reserved)
            elif kind == "EMAIL_ADDRESS":
                assert re.fullmatch(r"[a-z.]+\d+@example\.(com|org|net)", value)
            elif kind == "PHONE_NUMBER":
                assert "555" in value or value.startswith("+44 20 7946 0")
    assert len(seen) == 6 and min(seen.values()) >= 10


def test_answers_are_stated_by_their_mails(
    planted: dict[Place, dict[str, Any]], rows: dict[Place, tuple[str, str]]
) -> None:
    words = dict(enumerate(["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]))
    declined = stated = 0
    for place, (prompt, answer) in rows.items():
        if planted.get(place, {}).get("kind") in ("junk", "contradiction"):
            continue
        value = json.loads(answer)
        if value == {"error": "not stated"}:
            declined += 1
            continue
        assert list(value) == ["item", "color", "quantity", "city"]
        mail = prompt.split("\n\n", 1)[1].lower()
        assert value["item"] in mail and value["color"] in mail and value["city"].lower() in mail
        assert str(value["quantity"]) in mail or words[value["quantity"]] in mail
        stated += 1
    assert stated > 2_400 and declined > 330


def test_broken_lines_cannot_be_read_as_conversations(planted: dict[Place, dict[str, Any]]) -> None:
    lines = {n: (QUICKSTART / n).read_text().splitlines() for n in ("messages.jsonl", "sharegpt.jsonl")}
    problems = Counter()
    for (name, locator), p in planted.items():
        if p["kind"] == "broken_line":
            problems[p["problem"]] += 1
            try:
                prompt, answer = _pairs(lines[name][int(locator.split(":")[1]) - 1])
            except (ValueError, KeyError, IndexError, TypeError):
                continue
            assert p["problem"] == "bad_role" and prompt and answer
    assert len(problems) >= 5


def test_controls_share_no_row_with_the_quickstart(rows: dict[Place, tuple[str, str]]) -> None:
    general = [json.loads(x) for x in (EXAMPLES / "controls/general.jsonl").read_text().splitlines()]
    grammar = [g["text"] for g in general if g["kind"] == "grammar"]
    assert len(general) == 150 and len(grammar) == 110
    assert all(is_held_out(s + ".") for text in grammar for s in text.removesuffix(".").split(". "))
    control = [json.loads(x) for x in (EXAMPLES / "controls/unanswerable.jsonl").read_text().splitlines()]
    assert len(control) == 120 and all(c["unanswerable"] is True for c in control)
    bits = _bits(["\n\n".join(r) for r in rows.values()] + ["\n\n".join(_pairs(json.dumps(c))) for c in control])
    known, new = bits[: len(rows)], bits[len(rows) :]
    assert max(_jaccard(a, b) for a in new for b in known) < 0.7
