"""Screen: speed of the pattern scan against Python's `re`, cost of the stage, and what it says about real rows.

    ASSAY_BENCH_DATA=folder python benchmarks/bench_screen.py

Real rows are instructions that people published, so that a hit of an injection rule is a false one unless somebody
shows otherwise; the red-team dialogues of hh-rlhf hold real abuse. Needs t0.jsonl.gz, gsm8k_train.jsonl and
hh_harmless_test.jsonl.gz.
"""

import gzip
import importlib
import json
import pkgutil
import re
import statistics
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from measure import data_folder, finish, own_cpu

from steps.contracts.context import StageContext
from steps.contracts.dataset import Dataset, DatasetWriter
from steps.contracts.outcome import Outcome
from steps.contracts.records import Row, make_row, message
from steps.engines.scan.patterns import PatternSet
from steps.engines.scoring.wilson import wilson
from steps.screen.config import LanguageConfig, ScreenConfig
from steps.screen.language import UNDECIDED, Languages
from steps.screen.scan import ContentScanner
from steps.screen.screen import screen

_ROUNDS = 3
_BATCH = 5_000
# Python's `re` is two orders slower: it reads the first texts only, and its rate is that of these.
_PEER_TEXTS = 3_000
_LANGUAGE_ROWS = 3_000
_VERDICTS = ("dropped", "quarantined", "flagged")
_ATTACKS = ("prompt_injection", "control_tokens", "script_injection", "sql_injection")
_OTHERS = ("slur", "profanity.strong", "profanity.mild", "repetition", "short_answer")
_TURN = re.compile(r"\n\n(Human|Assistant): ")


def main() -> None:
    folder = data_folder("screen", "t0.jsonl.gz", "gsm8k_train.jsonl", "hh_harmless_test.jsonl.gz")
    with tempfile.TemporaryDirectory() as scratch:
        sets = {name: stored(rows, Path(scratch) / name) for name, rows in sources(folder)}
        texts = texts_of(sets["t0"])
        figures = scan_speed(texts)
        for name, dataset in sets.items():
            outcome = screen(dataset, ScreenConfig(), StageContext(Path(scratch) / f"{name}-out"))
            if name == "t0":
                figures |= stage_cost(outcome, sum(map(size, texts)))
            said_about(name, outcome)
        figures |= languages(sets["t0"])
    wanted = {
        "scan over 200 MB per CPU second": figures["scan_mb_per_cpu_s"] > 200,
        "same texts as re": figures["differing_texts"] == 0,
    }
    finish("screen", dict(figures), wanted)


def sources(folder: Path) -> Iterator[tuple[str, Iterator[Row]]]:
    """Name and rows of each data set."""
    yield "t0", (talk(i, r["prompt"], r["completion"]) for i, r in lines(folder / "t0.jsonl.gz"))
    yield "gsm8k", (talk(i, r["question"], r["answer"]) for i, r in lines(folder / "gsm8k_train.jsonl"))
    for side in ("chosen", "rejected"):
        yield f"hh {side}", (dialogue(i, r[side]) for i, r in lines(folder / "hh_harmless_test.jsonl.gz"))


def lines(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as file:
        yield from enumerate(map(json.loads, file))


def talk(number: int, asked: str, answered: str) -> Row:
    messages = [message("user", asked), message("assistant", answered)]
    return make_row(kind="conversation", source="bench", locator=str(number), raw=b"", messages=messages)


def dialogue(number: int, text: str) -> Row:
    _, *turns = _TURN.split(text)
    roles = {"Human": "user", "Assistant": "assistant"}
    messages = [message(roles[who], said.strip()) for who, said in zip(turns[::2], turns[1::2], strict=True)]
    return make_row(kind="conversation", source="bench", locator=str(number), raw=b"", messages=messages)


def stored(rows: Iterator[Row], folder: Path) -> Dataset:
    writer = DatasetWriter(folder, "ingest")
    while batch := list(islice(rows, _BATCH)):
        writer.write_rows(batch)
    return writer.close()


def texts_of(dataset: Dataset) -> list[pa.Array]:
    """All message texts, a column per chunk."""
    return [
        pc.struct_field(batch["messages"].flatten(), "content")
        for chunk in dataset.chunks(["messages"])
        for batch in chunk.table.to_batches()
    ]


def scan_speed(columns: list[pa.Array]) -> dict[str, float]:
    """MB (10**6 bytes of UTF-8) per CPU second of the stage's patterns, and of the same patterns in Python's `re`."""
    patterns = ContentScanner(ScreenConfig()).patterns
    fast = PatternSet(patterns, "bench")
    few = columns[0].slice(0, _PEER_TEXTS)
    strings = few.to_pylist()
    singles = [re.compile(source(p.source, word=p.word), re.IGNORECASE | re.MULTILINE) for p in patterns]
    joined = re.compile(
        "|".join(source(p.source, word=p.word) for p in patterns if p.confirm is None), re.IGNORECASE | re.MULTILINE
    )
    whole, part = (sum(map(size, c)) for c in (columns, [few]))
    runs: dict[str, tuple[Callable[[], object], float]] = {
        "scan": (lambda: [fast.texts_matching(c) for c in columns], whole),
        "re, one by one": (lambda: [any(s.search(t) for s in singles) for t in strings], part),
        "re, one alternation": (lambda: [joined.search(t) for t in strings], part),
    }
    print(f"{len(patterns)} patterns, {whole:.1f} MB of text ({part:.1f} MB for re), median of {_ROUNDS} rounds")
    costs: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(_ROUNDS):
        for name, (work, _) in runs.items():
            begin = own_cpu()
            work()
            costs[name].append(own_cpu() - begin)
    rates = {name: runs[name][1] / statistics.median(spent) for name, spent in costs.items()}
    for name, rate in rates.items():
        print(f"{name:22s}{rate:8.1f} MB per CPU second")
    differing = sum(bool(fast.hits(t)) != found_by_re(patterns, singles, t) for t in strings)
    return {
        "scan_mb_per_cpu_s": round(rates["scan"], 1),
        "re_mb_per_cpu_s": round(rates["re, one by one"], 1),
        "differing_texts": differing,
    }


def source(pattern: str, *, word: bool) -> str:
    """The pattern for Python's `re`."""
    bare = pattern.replace("(?m)", "")
    return rf"(?<!\w)(?:{bare})(?!\w)" if word else f"(?:{bare})"


def found_by_re(patterns: tuple, singles: list[re.Pattern[str]], text: str) -> bool:
    return any(
        p.confirm is None or re.fullmatch(p.confirm, text[m.start() : m.end()], re.IGNORECASE)
        for p, single in zip(patterns, singles, strict=True)
        for m in single.finditer(text)
    )


def size(column: pa.Array) -> float:
    return pc.sum(pc.binary_length(column)).as_py() / 1e6


def stage_cost(outcome: Outcome, megabytes: float) -> dict[str, float]:
    report = outcome.report
    rate = report.rows_in / report.cpu_seconds
    print(f"the whole stage       {megabytes / report.cpu_seconds:8.1f} MB per CPU second, {rate:,.0f} rows")
    return {"stage_cpu_s": round(report.cpu_seconds, 2)}


def said_about(name: str, outcome: Outcome) -> None:
    """Rows by what was decided and why, per 10,000 rows, with 95 % Wilson intervals."""
    report = outcome.report
    print(f"\n{name}: {report.rows_in} rows")
    ledger = outcome.ledger.read()
    said = Counter(
        (verdict, reason.partition(".")[0] if not reason.startswith("profanity") else reason)
        for verdict, reason in zip(ledger["verdict"].to_pylist(), ledger["reason"].to_pylist(), strict=True)
    )
    for category in _ATTACKS:
        print_rate("any", category, sum(said[v, category] for v in _VERDICTS), report.rows_in)
    for verdict in _VERDICTS:
        for category in _OTHERS:
            if said[verdict, category]:
                print_rate(verdict, category, said[verdict, category], report.rows_in)


def print_rate(verdict: str, category: str, rows: int, total: int) -> None:
    estimate = wilson(rows, total)
    assert estimate is not None
    low, high = estimate.low * 1e4, estimate.high * 1e4
    print(f"  {verdict:12s}{category:18s}{rows:6d}  {rows / total * 1e4:7.2f} per 10,000 ({low:.2f} to {high:.2f})")


def languages(dataset: Dataset) -> dict[str, float]:
    """Speed on real rows, and how many example sentences of spaCy are heard right."""
    from spacy import lang

    heard = Languages(LanguageConfig(min_letters=0))
    right = wrong = undecided = codes = 0
    for module in pkgutil.iter_modules(lang.__path__):
        try:
            sentences = importlib.import_module(f"spacy.lang.{module.name}.examples").sentences
        except ImportError:
            continue
        if module.name in heard.ranked("a"):
            codes += 1
            for sentence in sentences:
                ranked = heard.ranked(sentence)
                best = next(iter(ranked))
                right += best == module.name and ranked[best] >= heard.config.min_probability
                wrong += best != module.name and ranked[best] >= heard.config.min_probability
                undecided += ranked[best] < heard.config.min_probability
    rows = list(islice(dataset.iter_rows(), _LANGUAGE_ROWS))
    begin = own_cpu()
    found = Counter(heard.identify(row).language for row in rows)
    rate = len(rows) / (own_cpu() - begin)
    total = right + wrong + undecided
    print(f"\nlanguage: {total} sentences in {codes} languages: {right} right, {wrong} wrong, {undecided} undecided")
    print(f"{rate:,.0f} rows of t0 per CPU second")
    print(f"first {len(rows)} rows of t0: {found['en']} English, {found[UNDECIDED]} undecided")
    return {"language_rows_per_cpu_s": round(rate), "language_right": right, "language_wrong": wrong}


if __name__ == "__main__":
    main()
