"""Corpora for the dedup benchmarks, built from any folder of JSON Lines: distinct documents and edited copies of them.

    ASSAY_BENCH_DATA=folder python benchmarks/corpus.py --rows 1000000
    ASSAY_BENCH_DATA=folder python benchmarks/corpus.py --rows 250000 --new 10000     a second file of later rows
    ASSAY_BENCH_DATA=folder python benchmarks/corpus.py --template 40000              rows just under the threshold
    ASSAY_BENCH_DATA=folder python benchmarks/corpus.py --rows 50000 --check 20000    also look for similar documents

Every text in the folder's files is cut into sentences, each taken once. A base document is at least four runs of words,
none more than a third of it, each from the start of a sentence drawn at random; so two base documents have next to no
5-grams in common although each sentence is used many times. Lengths are those of instruction rows: log-normal, median
385 and mean 505 characters. 3 rows of 13 are copies of base documents, in equal shares: exact; other case and
punctuation; one token edited; 2, 5 and 10 % of the tokens edited (60 % replaced, 20 % deleted, 20 % inserted).

The Parquet files have `id`, `text` and the truth: `src` (number of the base document) and `kind`. They lie in the
folder ASSAY_BENCH_CACHE (default ~/.cache/assay-bench) and are built again only when the recipe or the sources change.
"""

import argparse
import gzip
import hashlib
import json
import math
import os
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from measure import data_folder

SOURCES = ("t0.jsonl.gz", "gsm8k_train.jsonl", "hh_harmless_test.jsonl.gz")
KINDS: tuple[str, ...] = ("exact", "case", "one", "2%", "5%", "10%")
BASE_SHARE = 10 / 13
RECIPE = 1
"""Raise it when the same sources and options shall give other rows."""

_MEDIAN, _MEAN = 385, 505  # characters; of 557,665 instruction-row-sized pieces of model answers, measured
_SHORTEST, _LONGEST = 60, 4_000  # characters; chosen
_PIECE = 120  # characters wanted in a run of words; chosen: a sentence or two
_CHUNK = 10_000  # base documents drawn from one generator: document i depends on the seed and i alone
_ROW_GROUP = 20_000
_LATER = 1_000_000_007  # keeps the generators of a file of later rows apart from those of the file before it


@dataclass(frozen=True)
class Material:
    """Distinct sentences as one string, where each starts in it, and its vocabulary of words."""

    text: str
    starts: np.ndarray
    words: Sequence[str]


def rows_file(folder: Path, cache: Path, rows: int, seed: int = 1) -> Path:
    """The file of so many base documents and edited copies, shuffled; built unless it lies in the cache."""

    def table() -> pa.Table:
        return _mixed(material(folder), first=0, known=0, rows=rows, first_id=0, seed=seed)

    return _cached(cache / f"rows-{rows}-{seed}.parquet", folder, table)


def new_rows_file(folder: Path, cache: Path, rows: int, new: int, seed: int = 1) -> Path:
    """Rows that arrive after `rows_file`: base documents that it lacks, and edited copies of documents that it has."""

    def table() -> pa.Table:
        known = round(rows * BASE_SHARE)
        return _mixed(material(folder), first=known, known=known, rows=new, first_id=rows, seed=seed)

    return _cached(cache / f"rows-{rows}-{seed}-new-{new}.parquet", folder, table)


def template_file(folder: Path, cache: Path, rows: int, seed: int = 1) -> Path:
    """Rows of one template of 60 words and 14 random words: pairs have a Jaccard similarity of 56 / 84 = 0.667.

    (Word 5-grams: 56 of the template, 14 more per row; a little above where two tails begin with the same word.)
    The worst case of banding: every row is a candidate of every other, and none is a duplicate.
    """

    def table() -> pa.Table:
        stuff = material(folder)
        rng = np.random.default_rng([seed, 7])
        template = " ".join(stuff.words[i] for i in rng.choice(len(stuff.words), 60, replace=False))
        tails = rng.integers(0, len(stuff.words), (rows, 14))
        texts = [f"{template} {' '.join(stuff.words[i] for i in tail)}" for tail in tails]
        return _table(0, texts, np.arange(rows), ["template"] * rows)

    return _cached(cache / f"template-{rows}-{seed}.parquet", folder, table)


def cache_folder() -> Path:
    return Path(os.environ.get("ASSAY_BENCH_CACHE") or Path.home() / ".cache" / "assay-bench")


def material(folder: Path) -> Material:
    """Every distinct sentence of four words or more in the folder's files, in their order."""
    sentences: dict[str, None] = {}
    for path in _files(folder):
        for text in _texts(path):
            for sentence in re.split(r"\n+|(?<=[.!?])\s+", text):
                clean = " ".join(sentence.split())
                if clean.count(" ") >= 3:
                    sentences.setdefault(clean)
    lengths = np.fromiter((len(s) + 1 for s in sentences), np.int64, len(sentences))
    words = sorted({w for s in sentences for w in re.findall(r"[A-Za-z]{2,}", s)})
    return Material(" ".join(sentences) + " ", np.concatenate([[0], np.cumsum(lengths)[:-1]]), words)


def base_documents(stuff: Material, first: int, last: int, seed: int) -> Iterator[str]:
    """Base documents number `first` up to `last`; the same number is the same document in a corpus of any size."""
    for chunk in range(first // _CHUNK, math.ceil(last / _CHUNK)):
        drawn = _chunk(stuff, np.random.default_rng([seed, 1, chunk]))
        yield from drawn[max(first - chunk * _CHUNK, 0) : last - chunk * _CHUNK]


def edited(text: str, kind: str, words: Sequence[str], rng: np.random.Generator) -> str:
    """A copy of the text as its kind says; tokens are what whitespace parts."""
    if kind == "exact":
        return text
    if kind == "case":
        return text.lower().replace(",", "").replace(".", " !")
    parts = re.split(r"(\s+)", text)
    at = np.array([i for i, p in enumerate(parts) if p and not p.isspace()])
    count = 1 if kind == "one" else max(1, round(len(at) * float(kind.rstrip("%")) / 100))
    chosen = rng.choice(at, count, replace=False)
    for i, change, word in zip(chosen, rng.random(count), rng.integers(0, len(words), count), strict=True):
        if change < 0.6:
            parts[i] = words[word]
        elif change < 0.8:
            parts[i] = ""
        else:
            parts[i] += f" {words[word]}"
    return "".join(parts)


def similar_pairs(texts: Sequence[str], sample: int, least: float, words: int = 5) -> list[tuple[int, int, float]]:
    """Pairs (a, b, J) with a Jaccard similarity of `least` or more: a among the first `sample` texts, b after it."""
    sets = [_shingles(t, words) for t in texts[:sample]]
    holders: dict[str, list[int]] = {}
    for i, shingles in enumerate(sets):
        for s in shingles:
            holders.setdefault(s, []).append(i)
    pairs = []
    for j, text in enumerate(texts):
        shingles = sets[j] if j < sample else _shingles(text, words)
        common = Counter(i for s in shingles for i in holders.get(s, ()) if i < j)
        for i, n in common.items():
            jaccard = n / (len(shingles) + len(sets[i]) - n)
            if jaccard >= least:
                pairs.append((i, j, jaccard))
    return pairs


def _shingles(text: str, words: int) -> set[str]:
    tokens = re.findall(r"\w+", text.lower())
    return {" ".join(tokens[k : k + words]) for k in range(max(len(tokens) - words + 1, 1))}


def _mixed(stuff: Material, first: int, known: int, rows: int, first_id: int, seed: int) -> pa.Table:
    """`rows` rows: base documents from number `first` on, and edited copies of the first `known` (0: of these here)."""
    base = round(rows * BASE_SHARE)
    rng = np.random.default_rng([seed, 2 + _LATER * bool(known), rows])
    texts = list(base_documents(stuff, first, first + base, seed))
    sources = rng.integers(0, known or base, rows - base)
    originals = _documents(stuff, sources, seed) if known else {int(i): texts[i] for i in sources}
    kinds = [KINDS[i % len(KINDS)] for i in range(rows - base)]
    texts += [edited(originals[int(i)], kind, stuff.words, rng) for i, kind in zip(sources, kinds, strict=True)]
    order = rng.permutation(rows)
    numbers = np.concatenate([np.arange(first, first + base), sources])
    kinds = ["base"] * base + kinds
    return _table(first_id, [texts[i] for i in order], numbers[order], [kinds[i] for i in order])


def _documents(stuff: Material, numbers: np.ndarray, seed: int) -> dict[int, str]:
    wanted = {int(i) for i in numbers}
    return {i: text for i, text in enumerate(base_documents(stuff, 0, max(wanted) + 1, seed)) if i in wanted}


def _table(first_id: int, texts: list[str], numbers: np.ndarray, kinds: list[str]) -> pa.Table:
    ids = pa.array(np.arange(first_id, first_id + len(texts)), pa.int64())
    return pa.table({"id": ids, "text": texts, "src": pa.array(numbers, pa.int64()), "kind": kinds})


def _chunk(stuff: Material, rng: np.random.Generator) -> list[str]:
    spread = math.sqrt(2 * math.log(_MEAN / _MEDIAN))  # of a log-normal with this median and mean
    lengths = np.clip(rng.lognormal(math.log(_MEDIAN), spread, _CHUNK), _SHORTEST, _LONGEST)
    counts = np.maximum(4, lengths // _PIECE).astype(np.int64)
    starts = stuff.starts[rng.integers(0, len(stuff.starts), counts.sum())]
    shares = rng.uniform(0.7, 1.3, counts.sum())
    joints = rng.choice([" ", " ", "\n", "\n\n"], counts.sum())
    documents, at = [], 0
    for length, count in zip(lengths, counts, strict=True):
        here = slice(at, at + count)
        sizes = length * shares[here] / shares[here].sum()
        # A run ends with the word that it has reached: 3 characters later on average.
        runs = (_run(stuff.text, int(s), int(n) - 3) for s, n in zip(starts[here], sizes, strict=True))
        documents.append("".join(run + joint for run, joint in zip(runs, joints[here], strict=True)).strip())
        at += count
    return documents


def _run(text: str, start: int, length: int) -> str:
    return text[start : text.find(" ", min(start + length, len(text) - 1))]


def _files(folder: Path) -> list[Path]:
    return [folder / name for name in SOURCES if (folder / name).is_file()]


def _texts(path: Path) -> Iterator[str]:
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            yield from (v for v in json.loads(line).values() if isinstance(v, str))


def _cached(path: Path, folder: Path, table: Callable[[], pa.Table]) -> Path:
    """The file if it was made by this recipe from these sources; otherwise it is made."""
    recipe = f"{RECIPE} " + " ".join(hashlib.sha256(p.read_bytes()).hexdigest()[:16] for p in _files(folder))
    if path.is_file() and (pq.read_schema(path).metadata or {}).get(b"recipe") == recipe.encode():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    made = table().replace_schema_metadata({"recipe": recipe})
    partial = path.with_suffix(".partial")
    pq.write_table(made, partial, row_group_size=_ROW_GROUP)
    partial.replace(path)
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=0)
    parser.add_argument("--new", type=int, default=0, help="also a file of so many rows that come later")
    parser.add_argument("--template", type=int, default=0, help="a file of so many rows just under the threshold")
    parser.add_argument("--check", type=int, default=0, help="compare so many base documents with all others")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    folder, cache = data_folder("corpus", *SOURCES), cache_folder()
    if options.rows:
        path = rows_file(folder, cache, options.rows, options.seed)
        describe(path)
        if options.check:
            check(path, options.check)
    if options.new:
        describe(new_rows_file(folder, cache, options.rows, options.new, options.seed))
    if options.template:
        describe(template_file(folder, cache, options.template, options.seed))


def describe(path: Path) -> None:
    table = pq.read_table(path, columns=["text", "kind"])
    lengths = np.fromiter((len(t.as_py()) for t in table["text"]), np.int64, len(table))
    kinds = dict(sorted((v["values"], v["counts"]) for v in table["kind"].value_counts().to_pylist()))
    points = np.percentile(lengths, [5, 50, 95]).astype(int).tolist()
    print(f"{path}\n  {len(table):,} rows, {table['text'].nbytes / 1e6:.1f} MB, mean {lengths.mean():.0f} characters,"
          f" 5/50/95 % at {points}\n  {kinds}")  # fmt: skip


def check(path: Path, sample: int) -> None:
    """Print how similar the most similar base documents are; end with status 1 when any pair reaches 0.5."""
    table = pq.read_table(path, columns=["text", "kind"])
    texts = table.filter(pc.equal(table["kind"], "base"))["text"].to_pylist()
    for words in (5, 3):
        pairs = similar_pairs(texts, sample, 0.2, words)
        most = max((j for _, _, j in pairs), default=0.0)
        print(f"  {min(sample, len(texts)):,} base documents against all {len(texts):,}, word {words}-grams:"
              f" {len(pairs)} pairs at 0.2 or more, the highest {most:.3f}")  # fmt: skip
        if most >= 0.5:
            sys.exit("base documents are too similar: use more text")


if __name__ == "__main__":
    main()
