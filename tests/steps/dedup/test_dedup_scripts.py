"""Rows of many scripts: the stage against plain Python, in any order, sharding and number of threads, index or not."""

import random
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.textrows import chat, dataset, document, ledger_lines, record_ids

from steps.contracts.context import StageContext
from steps.contracts.outcome import Outcome
from steps.contracts.records import Row, text_of
from steps.dedup.config import DedupConfig
from steps.dedup.dedup import dedup
from steps.engines.execution import threads
from steps.engines.text.normalise import WORD_CHARACTER, squeezed, telling_words, words
from steps.engines.text.sides import asked_and_answered

# Words of spaced scripts, runs of scripts without spaces, letters that fold to several or join with their neighbours,
# emoji, and what nobody sees.
SPACED = "river Bridge STRASSE straße ﬁne Ⅳ x_1 мир МИР κόσμε ΚΌΣΜΕ שָׁלוֹם שלום السَّلَامُ السلام नमस्ते दुनिया 안녕하세요"
SPACELESS = "ภาษาไทย 日本語カナ 漢字 ខ្មែរ 64GB手机"
ODD = "\u1112\u1161\u11ab e\u0301 é \U0001f468\u200d\U0001f469 ❤\ufe0f \u200b a\u00adb ab ... !?"
PIECES = [*SPACED.split(), *SPACELESS.split(), *ODD.split()]
N = 2


def random_text(dice: random.Random) -> str:
    return dice.choice([" ", "", " \n", "\u3000"]).join(dice.choices(PIECES, k=dice.randint(0, 9)))


def random_rows(seed: int, count: int, batches: int) -> list[Row]:
    dice = random.Random(seed)
    texts = [random_text(dice) for _ in range(count // 2)]
    rows = []
    for i in range(count):
        text = dice.choice(texts) + dice.choice(["", "", "!", "\u200b", " " + dice.choice(PIECES)])
        batch = dice.randrange(batches)
        rows.append(document(text, batch, str(i)) if i % 3 else chat(text[:3], text, batch, str(i)))
    return rows


Grams = set[tuple[str, ...]]


def grams_of(tokens: list[str]) -> Grams:
    return {tuple(tokens[i : i + N]) for i in range(max(len(tokens) - N + 1, min(len(tokens), 1)))}


def opposed(row: Row, other: Row, grams: Grams, more: Grams, threshold: float) -> bool:
    """Whether two rows say different things: the same words with other signs, or other answers to one prompt."""
    (asked, answered), (asked_too, answered_too) = asked_and_answered(row), asked_and_answered(other)
    if not all((asked, answered, asked_too, answered_too)) or telling_words(answered) == telling_words(answered_too):
        return False
    if words(text_of(row)) == words(text_of(other)):
        return True
    prompt = [word for word in words(asked) if WORD_CHARACTER.match(word)]
    lead = grams_of(prompt) if len(prompt) >= N else set()
    either = len(grams | more) - len(lead)
    return squeezed(asked) == squeezed(asked_too) and (
        not either or len(grams & more) - len(lead) < threshold * either - 1e-9
    )


def naive(rows: list[Row], threshold: float) -> dict[str, tuple[str, float]]:
    """Each dropped row's witness candidates, by greedy search over all kept rows: {row: (best Jaccard, who)}."""
    kept: list[tuple[Row, list[str], Grams]] = []
    dropped = {}
    for row in sorted(rows, key=lambda r: (r["batch"], r["content_id"], r["record_id"])):
        tokens = words(text_of(row))
        grams = grams_of(tokens)
        best = ("", 0.0)
        for other, theirs, more in kept:
            if other["kind"] == row["kind"] and not opposed(row, other, grams, more, threshold):
                either = len(grams | more)
                score = 1.0 if tokens == theirs else len(grams & more) / either if either else 0.0
                best = max(best, (other["record_id"], score), key=lambda found: found[1])
        if best[1] >= threshold - 1e-9:
            dropped[row["record_id"]] = best
        else:
            kept.append((row, tokens, grams))
    return dropped


def summary(outcome: Outcome) -> object:
    lines = sorted((x["record_id"], x["verdict"], x["reason"], x["evidence"]) for x in ledger_lines(outcome))
    return outcome.rows.digest, sorted(record_ids(outcome.rows)), lines


# One value per band: a pair of Jaccard 0.4 is missed with probability 0.6^128 = 4e-29.
def config(threshold: float) -> DedupConfig:
    return DedupConfig(threshold=threshold, ngram_documents=N, ngram_messages=N, bands=128, rows_per_band=1)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 10**6), st.sampled_from([0.4, 0.5, 0.7, 1.0]))
def test_against_plain_python(tmp_path_factory: pytest.TempPathFactory, seed: int, threshold: float) -> None:
    folder = tmp_path_factory.mktemp("plain")
    rows = random_rows(seed, 60, 2)
    outcome = dedup(dataset(rows, folder / "in"), config(threshold), StageContext(folder / "out"))
    expected = naive(rows, threshold)
    dropped = {x["record_id"]: x for x in ledger_lines(outcome) if x["verdict"] == "dropped"}
    assert set(dropped) == set(expected)
    assert len(expected) > 5
    for row, line in dropped.items():
        # The stage stops at the first kept row that is near enough, so its score is the best or less.
        assert threshold - 1e-9 <= line["score"] <= expected[row][1] + 1e-9
        assert line["parents"][0] not in dropped


@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 10**6), st.integers(1, 50), st.integers(1, 4))
@pytest.mark.slow
def test_order_shards_threads_and_index_make_no_difference(
    tmp_path_factory: pytest.TempPathFactory, seed: int, shard_rows: int, cores: int
) -> None:
    folder = tmp_path_factory.mktemp("same")
    rows = random_rows(seed, 90, 3)
    settled = config(0.6)
    whole = summary(dedup(dataset(rows, folder / "a"), settled, StageContext(folder / "b")))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threads, "cores", lambda: cores)
        index = None
        for batch in range(3):
            come = [r for r in rows if r["batch"] <= batch]
            random.Random(seed + batch).shuffle(come)
            source = dataset(come, folder / f"in{batch}", shard_rows)
            grown = dedup(
                source, settled, StageContext(folder / f"out{batch}", earlier={"dedup_index": index}, keep=True)
            )
            index = grown.artifacts["dedup_index"]
            again = dedup(source, settled, StageContext(folder / f"again{batch}"))
            assert summary(again) == summary(grown)
    assert summary(grown) == whole


def numbered(*rows: list[int]) -> list[Row]:
    return [document(" ".join(f"w{n}" for n in row), i, str(i)) for i, row in enumerate(rows)]


@pytest.mark.parametrize("shared", [1, 2, 3, 5, 6, 7, 9])
def test_a_jaccard_of_exactly_the_threshold_goes_one_just_below_stays(tmp_path: Path, shared: int) -> None:
    """`shared` of ten words in common: ten different fractions, few of which are exact in binary."""
    rows = numbered([*range(shared), *range(100, 100 + (10 - shared))], list(range(shared)))
    for name, threshold, kept in (("at", shared / 10, 1), ("over", shared / 10 + 1e-6, 2)):
        settled = DedupConfig(threshold=threshold, ngram_documents=1, bands=256, rows_per_band=1)
        outcome = dedup(dataset(rows, tmp_path / name / "in"), settled, StageContext(tmp_path / name / "out"))
        assert len(record_ids(outcome.rows)) == kept
        assert [line["score"] for line in ledger_lines(outcome)] == [shared / 10] * (2 - kept)


@pytest.mark.parametrize(("rows", "n"), [(([1, 2, 3], [3, 1, 2]), 1), (([1, 2, 1, 2, 1], [2, 1, 2, 1, 2, 1, 2]), 2)])
def test_equal_shingles_in_another_order_are_near_and_not_exact(
    tmp_path: Path, rows: tuple[list[int], list[int]], n: int
) -> None:
    outcome = dedup(
        dataset(numbered(*rows), tmp_path / "in"), DedupConfig(ngram_documents=n), StageContext(tmp_path / "out")
    )
    (line,) = ledger_lines(outcome)
    assert (line["reason"], line["score"]) == ("near_duplicate", 1.0)


def test_rows_shorter_than_a_shingle_are_whole_or_nothing(tmp_path: Path) -> None:
    rows = numbered([1, 2], [1, 2, 3], [1, 2, 3, 4], [1, 2], [1, 2, 3, 4, 5], [1, 2, 3])
    outcome = dedup(
        dataset(rows, tmp_path / "in"), DedupConfig(ngram_documents=5, threshold=0.01), StageContext(tmp_path / "out")
    )
    assert len(record_ids(outcome.rows)) == 4
    assert outcome.report.dropped_by == {"exact_duplicate": 2}
