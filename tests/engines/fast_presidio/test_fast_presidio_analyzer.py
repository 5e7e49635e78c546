"""The fast analyzer against presidio's own engine: type, start, end, score and recognizer of every finding."""

import functools
import gzip
import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from presidio_analyzer import EntityRecognizer, LocalRecognizer, Pattern, PatternRecognizer, RecognizerResult
from support.near_pii import generated, near_pii

from steps.engines.fast_presidio.analyzer import FastAnalyzer
from steps.scrub.config import ScrubConfig
from steps.scrub.locales import IDENTIFIERS
from steps.scrub.recognizers.predefined import recognizers
from steps.scrub.recognizers.presidio import PresidioDetector

DEFAULT = ScrubConfig().wanted_of("presidio")
ALL = (*DEFAULT, "DATE_TIME", "URL", "US_DRIVER_LICENSE", "UUID")
SETS: dict[str, tuple[Sequence[str], Sequence[str]]] = {
    "default": (DEFAULT, ("en_US",)),
    "all": (ALL, ("en_US",)),
    "en_GB": (("UK_VEHICLE_REGISTRATION", *IDENTIFIERS["en_GB"]), ("en_GB",)),
    "de": (("DE_BSNR", "DE_HANDELSREGISTER", "DE_LANR", "PHONE_NUMBER", *IDENTIFIERS["de"]), ("de",)),
    "fr": (("PHONE_NUMBER", "IBAN_CODE"), ("fr",)),
    "es": (("PHONE_NUMBER", *IDENTIFIERS["es"]), ("es",)),
}


@functools.cache
def analyzer(name: str) -> FastAnalyzer:
    return FastAnalyzer(recognizers(*SETS[name]))


def told(results: Sequence[RecognizerResult]) -> list[tuple[int, int, str, float, str]]:
    return sorted(
        (r.start, r.end, r.entity_type, r.score, r.recognition_metadata[RecognizerResult.RECOGNIZER_NAME_KEY])
        for r in results
    )


@pytest.mark.parametrize(
    ("name", "least"), [("default", 300), ("all", 400), ("en_GB", 1), ("de", 1), ("fr", 1), ("es", 1)]
)
def test_same_findings_as_presidio(name: str, least: int) -> None:
    found: Counter[str] = Counter()
    for text in generated(260):
        plain = told(analyzer(name).plainly(text))
        assert told(analyzer(name).analyze(text)) == plain, text
        found.update(entity for _, _, entity, _, _ in plain)
    missed = set(SETS[name][0]) - set(found)
    assert found.total() >= least and not missed, (found, missed)


@pytest.mark.slow
@pytest.mark.parametrize("name", SETS)
def test_same_findings_in_nearly_personal_data(name: str) -> None:
    raised = 0

    @settings(max_examples=120, deadline=None)
    @given(near_pii())
    def same(text: str) -> None:
        nonlocal raised
        plain = analyzer(name).plainly(text)
        assert told(analyzer(name).analyze(text)) == told(plain)
        raised += sum(bool(r.analysis_explanation.supportive_context_word) for r in plain)

    same()


@pytest.mark.slow
@pytest.mark.parametrize("name", SETS)
def test_same_findings_on_real_rows(name: str) -> None:
    path = Path(os.environ.get("ASSAY_BENCH_DATA", ""), "t0.jsonl.gz")
    if not path.is_file():
        pytest.skip("set ASSAY_BENCH_DATA to a folder with t0.jsonl.gz")
    rows = 0
    for text in _real(path, 10_000):
        rows += 1
        assert told(analyzer(name).analyze(text)) == told(analyzer(name).plainly(text)), rows
    assert rows == 10_000


def _real(path: Path, count: int) -> Iterator[str]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for number, line in enumerate(lines):
            if number >= 5 * count:
                return
            if number % 5 == 0:  # neighbours wrap the same passage
                row = json.loads(line)
                yield f"{row['prompt']}\n{row['completion']}"


@pytest.mark.slow
def test_what_the_policy_skips_never_counts() -> None:
    for config in (ScrubConfig(), ScrubConfig(locales=("en_US", "en_GB", "de", "es"), threshold=0.1)):
        fast, plain = (PresidioDetector(config.model_copy(update={"accelerate": a})) for a in (True, False))
        for text in generated(200, seed=11):
            assert sorted(fast.find(text)) == sorted(plain.find(text)), text


def test_every_recognizer_of_every_locale_has_a_condition() -> None:
    entities = sorted({e for chosen, _ in SETS.values() for e in chosen})
    whole = FastAnalyzer(recognizers(entities, list(IDENTIFIERS)))
    assert len(entities) > 35
    assert whole._prefilter.possible("Nothing here says anything about anybody.") == []


class _Names(LocalRecognizer):
    """Needs tokens; finds capitalized ones behind "Mr"."""

    def __init__(self) -> None:
        super().__init__(supported_entities=["PERSON"], name="names")

    def load(self) -> None:
        pass

    def analyze(self, text: str, entities: list[str], nlp_artifacts: Any = None) -> list[RecognizerResult]:
        tokens = list(nlp_artifacts.tokens)
        pairs = pairwise(tokens)
        return [
            RecognizerResult("PERSON", t.idx, t.idx + len(t), 0.6)
            for before, t in pairs
            if before.text == "Mr" and t.is_title
        ]


class _Raised(_Names):
    """Raises its own scores."""

    def enhance_using_context(self, text: str, raw_recognizer_results: Any, *_: Any, **__: Any) -> Any:
        for result in raw_recognizer_results:
            result.score = 0.9
        return raw_recognizer_results


@pytest.mark.parametrize(
    "custom",
    [
        _Names,
        _Raised,
        lambda: PatternRecognizer("FRUIT", deny_list=["apple", "Éclair"], context=["eat"]),
        lambda: PatternRecognizer("FUZZY", patterns=[Pattern("f", "(?:apple){e<=1}", 0.3)]),
        lambda: PatternRecognizer("LINE", patterns=[Pattern("l", r"^ID\s+\w+$", 0.3)], context=["eat"]),
        lambda: PatternRecognizer("WIDE", patterns=[Pattern("w", r"(?<=ID.{1,400})\d{3}", 0.3)], context=["eat"]),
        lambda: PatternRecognizer("BEHIND", patterns=[Pattern("b", r"(?<=[^x])\d{3}(?![^x])", 0.3)]),
        lambda: PatternRecognizer("CASE", patterns=[Pattern("c", r"KIS\d", 0.3)], global_regex_flags=0),
    ],
)
def test_a_recognizer_of_ones_own_simply_runs(custom: Any) -> None:
    both = FastAnalyzer([custom(), *recognizers(("EMAIL_ADDRESS",), ("en_US",))])
    found = 0
    for text in (
        "Mr Smith ate an apple, an aple and an éclair; mail a@example.org",
        "Mr Jones: eat apple " + "word " * 100 + "123 ID apple 456 " + "word " * 100 + "eat 789",
        "ID 77\nID 78 \nID 79\n" + "x" * 400 + "\nID 80",
        "KIS1 kis2 KiS3 KİS4" + " filler" * 90 + " KIS5 KIs6",
        "",
    ):
        plain = told(both.plainly(text))
        assert told(both.analyze(text)) == plain
        found += sum(entity != "EMAIL_ADDRESS" for _, _, entity, _, _ in plain)
    assert found >= 1
    assert isinstance(custom(), EntityRecognizer)


def test_context_words_are_looked_for_as_far_as_presidio_looks() -> None:
    """Stop words, marks and colons decide how far that is."""
    judge = analyzer("all")
    for filler in ("the of and ", "big green ", ", - ( ", ":) ", "a:b ", "x  \n "):
        for count in range(0, 80, 7):
            for text in (
                f"my account {filler * count}81345677 stays",
                f"the {filler * 40} call:9 account {filler * count} 81345677 ( {filler * 30} bank",
                f"( 81345677 ) {filler * count} bank",
            ):
                assert told(judge.analyze(text)) == told(judge.plainly(text)), text


@pytest.mark.parametrize("switched_off", [False, True])
def test_a_pattern_that_runs_out_of_time_is_no_empty_answer(
    monkeypatch: pytest.MonkeyPatch, switched_off: bool
) -> None:
    from presidio_analyzer import pattern_recognizer

    # as logging.config.fileConfig leaves every logger that exists
    monkeypatch.setattr(pattern_recognizer.logger, "disabled", switched_off)
    monkeypatch.setattr(pattern_recognizer, "REGEX_TIMEOUT_SECONDS", 0.01)
    slow = PatternRecognizer("SLOW", patterns=[Pattern("s", r"(?:x|xx)+z", 0.5)])
    text = "z" + "x" * 64 + "!"
    for analyze in (FastAnalyzer([slow]).plainly, _unfiltered(slow).analyze):
        with pytest.raises(TimeoutError):
            analyze(text)


def _unfiltered(recognizer: Any) -> FastAnalyzer:
    """With the prefilter that this recognizer's pattern would have, the text would not be searched at all."""
    made = FastAnalyzer([recognizer])
    assert made.analyze("z" + "x" * 64 + "!") == []
    made._prefilter = FastAnalyzer([_Names()])._prefilter
    return made
