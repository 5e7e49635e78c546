"""The first look over columns: what it leaves out holds nothing that the detectors find."""

import json
import random
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from support.growing import same
from support.near_pii import VALUES, generated
from support.textrows import dataset

from steps.contracts.context import StageContext
from steps.contracts.outcome import Outcome
from steps.contracts.records import SCHEMA, Row, make_row, message
from steps.engines.scan.visible import VisibleText
from steps.scrub.config import ScrubConfig
from steps.scrub.detector import Detector
from steps.scrub.prescan import Prescan
from steps.scrub.scrub import scrub

EVERYTHING: dict[str, Any] = {
    "profile": ("hipaa", "pci", "secrets"),
    "entities": (*ScrubConfig().entities, "AGE", "TITLE", "DATE_TIME"),
    "accept_uncovered": ("PERSON", "LOCATION"),
    "locales": ("en_US", "en_GB", "de", "fr", "es"),
    "patterns": {"STAFF_ID": r"\A[A-Z]{2}-\d{4}\z", "LAST": r"(?i)\bstop$"},
    "deny": {"CODENAME": ("Blue Heron", "C++", "straße")},
}
OWN_VALUES = (
    "AB-1234", "please STOP", "blue heron", "we use C++.", "STRASSE straße", "12 Oak Street, Springfield, IL 62704",
    "Hauptstraße 12, 10115 Berlin", "12 rue de la Paix, 75002 Paris", "MRN: 4471902", "CVV 123", "aged 45",
    "Dr. Jane Roe", "on 5 May 2021", "AKIAIOSFODNN7EXAMPLE", "password: s3cr3T!pass", "ｊane＠example．org",
    "j\u200bane@example.org", "\ud83d jane@example.org", "zip code 62704", "Springfield 62704",
)  # fmt: skip


def row(number: int, dice: random.Random, texts: list[str]) -> Row:
    """Texts at random places: messages, names, arguments of calls, tools, meta, documents."""
    texts = [t.encode("utf-8", "ignore").decode() for t in texts]
    place, raw = dice.randrange(7), b"%d" % number
    arguments = json.dumps({"to": texts, "n": 1}, ensure_ascii=dice.random() < 0.5)
    call = json.dumps([{"id": "1", "type": "function", "function": {"name": "f", "arguments": arguments}}])
    if place == 0:
        return make_row(kind="document", source="s", locator=str(number), raw=raw, text="\n".join(texts) or "-")
    said = [message("user", "hi", name=texts[0] if place == 1 and texts else None)]
    said += [message("assistant", t) for t in texts if place == 2]
    said += [message("assistant", "", tool_calls=call)] if place == 3 else []
    said += [message("assistant", "so", reasoning=" ".join(texts))] if place == 6 else []
    tools = json.dumps([{"type": "function", "function": {"name": "f", "description": " ".join(texts)}}])
    return make_row(
        kind="conversation", source="s", locator=str(number), raw=raw, messages=said,
        tools=tools if place == 4 else None, meta={"said": texts, "key ⟶": "x"} if place == 5 else {"n": number},
    )  # fmt: skip


def rows(seed: int, n: int) -> list[Row]:
    dice = random.Random(seed)
    texts = [*generated(300, seed, most_words=6), *OWN_VALUES, *(f"so: {v}, ok" for v in (*VALUES, *OWN_VALUES))]
    return [row(i, dice, dice.sample(texts, dice.randrange(4))) for i in range(n)]


def run(data: list[Row], folder: Path, settings: dict[str, Any]) -> Outcome:
    return scrub(dataset(data, folder / "in"), ScrubConfig(demo_key=True, **settings), StageContext(folder / "out"))


@pytest.mark.parametrize("settings", [{}, EVERYTHING], ids=["default", "everything"])
@pytest.mark.slow
def test_the_result_is_that_of_searching_every_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any]
) -> None:
    data = rows(3, 700)
    done = run(data, tmp_path / "looked", settings)
    left_out = []

    def every_row(prescan: Prescan, table: pa.Table) -> np.ndarray[Any, np.dtype[np.bool_]]:
        left_out.append(int((~look(prescan, table)).sum()))
        return np.ones(len(table), bool)

    look = Prescan.rows
    monkeypatch.setattr(Prescan, "rows", every_row)
    same(done, run(data, tmp_path / "all", settings))
    assert done.report.changed > 100 and sum(left_out) > 100


def opened(texts: list[str], conditions: Any) -> list[bool]:
    made = [make_row(kind="document", source="s", locator=str(i), raw=b"r", text=t) for i, t in enumerate(texts)]
    found: list[bool] = Prescan(conditions).rows(pa.Table.from_pylist(made, schema=SCHEMA)).tolist()
    return found


@pytest.mark.slow
def test_a_text_that_looks_otherwise_is_searched_as_it_looks() -> None:
    characters = [chr(c) for c in range(sys.maxunicode + 1) if not 0xD800 <= c < 0xE000]
    texts = [f"{before}{c}{behind}" for c in characters for before, behind in (("a", "b"), ("1", "2"))]
    changed = [t for t in texts if VisibleText(t).changed]
    assert len(changed) > 1000 and all(opened(changed, []))


@pytest.mark.slow
def test_a_detector_of_which_nothing_is_known_sees_every_row() -> None:
    config = ScrubConfig(patterns={"PAIR": r"\p{Lu}\p{Lu}-7"})
    assert Detector(config).conditions is None
    assert opened(["nothing", "here"], None) == [True, True]
    assert opened(["nothing", "here"], Detector(ScrubConfig()).conditions) == [False, False]


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{}, EVERYTHING, {"mode": "redact", "profile": ("gdpr",), "entities": ()}])
def test_every_pattern_of_ours_is_read(settings: dict[str, Any]) -> None:
    accepted = ("PERSON", "LOCATION", "ORGANIZATION")
    conditions = Detector(ScrubConfig(**({"accept_uncovered": accepted} | settings))).conditions
    assert conditions is not None and any(conditions)
