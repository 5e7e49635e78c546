from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from steps.contracts.context import StageContext
from steps.contracts.dataset import DatasetWriter
from steps.contracts.errors import ConfigError
from steps.contracts.outcome import Outcome
from steps.contracts.records import Row, make_row, message
from steps.screen.config import LanguageConfig, ScreenConfig
from steps.screen.language import UNDECIDED, Identified, Languages
from steps.screen.screen import screen

SENTENCES = {
    "en": "The heron flew slowly over the old pond and waited there for the evening.",
    "de": "Der Reiher flog langsam über den alten Teich und wartete dort auf den Abend.",
    "fr": "Le héron survola lentement le vieil étang et y attendit le soir.",
    "es": "La garza voló despacio sobre el viejo estanque y esperó allí la noche.",
    "ru": "Цапля медленно летела над старым прудом и ждала там вечера.",
    "ar": "طار مالك الحزين ببطء فوق البركة القديمة وانتظر هناك حتى المساء.",
    "he": "האנפה עפה לאט מעל הבריכה הישנה וחיכתה שם עד הערב.",
    "zh": "苍鹭慢慢地飞过古老的池塘，在那里等待夜晚的到来，然后飞回家去了。",
    "ja": "サギは古い池の上をゆっくりと飛び、そこで夕暮れを待っていました。",
}


def row(text: str, answer: str = "", number: int = 0) -> Row:
    messages = [message("user", text), message("assistant", answer or text)]
    return make_row(kind="conversation", source="s", locator=f"{number}", raw=b"", messages=messages)


@pytest.fixture(scope="module")
def languages() -> Languages:
    return Languages(LanguageConfig(keep=("en", "de")))


@pytest.mark.parametrize("code", sorted(SENTENCES))
def test_sentences_are_heard(languages: Languages, code: str) -> None:
    identified = languages.identify(row(SENTENCES[code]))
    assert identified.language == code and identified.probability >= 0.5


@pytest.mark.parametrize("text", ["", "Hi there", "12345 67890 + 12 = 99", "\0" * 50, "👍" * 30, "\ud800 \u200f"])
def test_too_few_letters_are_undecided(languages: Languages, text: str) -> None:
    assert languages.identify(row(text)) == Identified(UNDECIDED, 0.0)


@pytest.mark.parametrize(
    ("ranked", "expected"),
    [
        ({"en": 0.51, "fr": 0.49}, Identified("en", 0.51)),
        # The kept ones count together, the likeliest of them is named.
        ({"fr": 0.4, "de": 0.35, "en": 0.25}, Identified("de", 0.6)),
        ({"fr": 0.5, "de": 0.3, "en": 0.19}, Identified("fr", 0.5)),
        ({"fr": 0.49, "de": 0.3, "en": 0.19}, Identified(UNDECIDED, 0.49)),
    ],
)
def test_what_probabilities_say(languages: Languages, ranked: dict[str, float], expected: Identified) -> None:
    assert languages.judged(ranked) == expected


def test_written_wu_is_chinese(languages: Languages) -> None:
    assert "wuu" not in languages.ranked(SENTENCES["zh"])


def test_only_the_beginning_and_only_the_answer() -> None:
    mixed = row(SENTENCES["fr"], SENTENCES["en"])
    assert Languages(LanguageConfig(part="answer")).identify(mixed).language == "en"
    first = len(SENTENCES["fr"])
    assert Languages(LanguageConfig(max_characters=first)).identify(mixed).language == "fr"


def test_a_language_that_nobody_knows_is_refused() -> None:
    with pytest.raises(ConfigError, match="english"):
        Languages(LanguageConfig(keep=("english",)))
    with pytest.raises(ValidationError):
        LanguageConfig(keep=())


def run(folder: Path, texts: list[str], split: int | None = None, **settings: Any) -> Outcome:
    writer = DatasetWriter(folder / "in", "ingest")
    writer.write_rows(row(text, number=n) for n, text in enumerate(texts))
    dataset = writer.close()
    if split is not None:
        everything = np.ones(len(texts), bool)
        dataset = dataset.select(everything, folder / "split", "split", np.full(len(texts), split, np.int8))
    return screen(dataset, ScreenConfig(language=LanguageConfig(**settings)), StageContext(folder / "out"))


def test_other_languages_go_and_undecided_rows_are_told(tmp_path: Path) -> None:
    texts = [SENTENCES["en"], SENTENCES["de"], "Hi", "damn", SENTENCES["fr"] + " fuck", SENTENCES["es"] + " damn"]
    report = run(tmp_path / "a", texts).report
    assert (report.dropped_by, report.quarantined_by) == (
        {"language.de": 1, "language.es": 1},
        {"profanity.strong": 1},
    )
    # "damn" is too short as well: its flag stays.
    assert (report.flagged_by, report.undecided, report.kept) == ({"profanity.mild": 1}, 2, 3)
    assert report.counts["rows by language"] == {"de": 1, "en": 1, "es": 1, UNDECIDED: 2}
    outcome = run(tmp_path / "b", texts, undecided="drop", keep=("en", "de"))
    assert outcome.report.dropped_by == {"language.es": 1, "language.undecided": 2}
    flagged = run(tmp_path / "c", texts, action="flag", undecided="quarantine").report
    assert flagged.quarantined_by == {"language.undecided": 2, "profanity.strong": 1}
    assert flagged.flagged_by == {"language.de": 1, "profanity.mild": 1}


def test_held_out_rows_are_spared_unless_named(tmp_path: Path) -> None:
    assert run(tmp_path / "a", [SENTENCES["de"]], split=2).report.kept == 1
    assert run(tmp_path / "b", [SENTENCES["de"]], split=0).report.kept == 0
    assert run(tmp_path / "c", [SENTENCES["de"]], split=2, splits=("test",)).report.kept == 0


def test_language_alone_is_a_stage(tmp_path: Path) -> None:
    config = ScreenConfig(rules=None, unsafe=None, poisoned=None, language=LanguageConfig())
    writer = DatasetWriter(tmp_path / "in", "ingest")
    writer.write_rows([row(SENTENCES["de"]), row(SENTENCES["en"], number=1)])
    assert screen(writer.close(), config, StageContext(tmp_path / "out")).report.dropped_by == {"language.de": 1}
