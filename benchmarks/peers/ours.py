"""Near-duplicate removal of a Parquet column by assay's engine, as its dedup stage does it, without the rest of a run.

`floor`: only read, cut into words and hash every shingle. With --index the rows are looked up in a kept index of
earlier rows, which gives the rows of the file an arrival batch of their own; --make-index writes such an index.
`empty`: only what a process costs that opens the index.
"""

import argparse
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from steps.contracts.dedup_index import DedupIndex
from steps.dedup.config import DedupConfig
from steps.dedup.decide import decide
from steps.dedup.earlier_index import EarlierIndex
from steps.dedup.fingerprints import Fingerprints, Sketches, scheme_of
from steps.dedup.next_index import next_index
from steps.engines.execution.threads import ordered
from steps.engines.minhash.sketch import Job, SetFile, Sketch, sketch
from steps.engines.text.columns import Scratch, Tokens, column_texts, words_of
from steps.engines.text.kernel import shingle_hashes

ROWS = 8_192


def columns(path: Path) -> Iterator[pa.Array]:
    # Without pre_buffer, which would hold the whole column at once.
    for batch in pq.ParquetFile(path, pre_buffer=False).iter_batches(ROWS, columns=["text"]):
        yield batch.column(0)


def floor(path: Path, words: int) -> int:
    scratch, total = Scratch(), 0
    for column in columns(path):
        found = words_of(column_texts(column), scratch=scratch)
        out = scratch.array("shingles", np.uint64, len(found.values))
        n = len(column)
        total += int(shingle_hashes(found.values, found.offsets, np.full(n, words), np.zeros(n, np.int64), out)[-1])
    return total


def read(path: Path, config: DedupConfig, sets: SetFile, batch: int) -> tuple[Fingerprints, Sketches]:
    n = pq.ParquetFile(path).metadata.num_rows
    local = threading.local()

    def work(column: pa.Array) -> Sketch:
        if not hasattr(local, "scratch"):
            local.scratch = Scratch()
        ngrams, kinds = np.full(len(column), config.ngram_documents), np.zeros(len(column), np.int64)
        # Words only, as the truth and the peers have it.
        job = Job(column_texts(column), ngrams, kinds, np.full(len(column), Tokens.WORDS, np.uint8))
        return sketch(job, scheme_of(config), scratch=local.scratch)

    bands = np.empty((config.banding.bands, n), np.uint32)
    digests, sizes, leads = np.empty((n, 2), np.uint64), np.empty(n, np.int64), np.zeros(n, np.int32)
    plain, signs, symbolic = np.empty(n, np.uint64), np.empty(n, np.uint64), np.empty(n, bool)
    at = 0
    for done in ordered(work, columns(path)):
        here = slice(at, at + len(done.sizes))
        bands[:, here], digests[here], sizes[here] = done.bands.T, done.digests, done.sizes
        plain[here], signs[here], symbolic[here] = done.plain, done.signs, done.symbolic
        sets.append(done.sets)
        at += len(done.sizes)
    # Stands for the ids that rows have in a dataset: what the row says decides which copy stays.
    ids = np.zeros((n, 4), ">u8")
    ids[:, :2] = digests
    names = ids.view("S32").reshape(n)
    nothing = np.zeros((n, 2), np.uint64)
    prints = Fingerprints(
        names, names, np.full(n, batch), nothing, nothing, np.zeros(n, bool), nothing[:, 0], plain, signs, symbolic
    )
    ends = np.cumsum(sizes)
    return prints, Sketches(digests, bands, ends - sizes, ends, leads, sets)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--mode", choices=["dedup", "floor", "empty"], default="dedup")
    parser.add_argument("--words", type=int, default=5)
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--witness", type=Path, help="where (row, witness, Jaccard) of the dropped rows go (.npz)")
    parser.add_argument("--index", type=Path)
    parser.add_argument("--make-index", type=Path)
    chosen = parser.parse_args()
    config = DedupConfig(ngram_documents=chosen.words)
    if chosen.mode == "floor":
        print(json.dumps({"tool": "floor", "shingles": floor(chosen.file, chosen.words)}))
        return
    index = DedupIndex.open(chosen.index) if chosen.index else None
    known = EarlierIndex(index)
    if chosen.mode == "empty":
        print(json.dumps({"tool": "empty", "rows": known.rows}))
        return
    with TemporaryDirectory() as folder, SetFile(Path(folder) / "sets") as sets:
        prints, sketches = read(chosen.file, config, sets, 1 if index else 0)
        made = decide(prints, sketches, config, known, keep_bands=chosen.make_index is not None)
        if chosen.make_index:
            next_index(made[0], prints, made[1], sketches, known, config, chosen.make_index, index, code="")
    d = made[0]
    if chosen.keep:
        np.save(chosen.keep, d.keep)
    if chosen.witness:
        rows = np.flatnonzero(~d.keep)
        np.savez(chosen.witness, row=rows, witness=d.witness[rows], jaccard=d.score[rows])
    counts = {"rows": len(d.keep), "kept": int(d.keep.sum()), "compared": d.compared, "capped": d.capped}
    print(json.dumps({"tool": "assay", "mode": "25x5, compared exactly", **counts}))


if __name__ == "__main__":
    main()
