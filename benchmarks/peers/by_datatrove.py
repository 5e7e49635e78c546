"""Near-duplicate removal with datatrove, from a Parquet file to the kept rows as Parquet: its own four stages.

Its own defaults: word 5-grams by spaCy's tokenizer, 14 buckets of 8, 64-bit xxhash; rows that share a bucket are one
cluster, of which one row is kept; no pair is verified. One worker, so that all CPU seconds are those of this process.
"""

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow.parquet as pq
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.dedup import MinhashDedupBuckets, MinhashDedupCluster, MinhashDedupFilter, MinhashDedupSignature
from datatrove.pipeline.dedup.minhash import MinhashConfig
from datatrove.pipeline.readers import ParquetReader
from datatrove.pipeline.writers import ParquetWriter
from reading import options, out_of


def _document(_: object, row: dict[str, Any], _path: str, _number: int | str) -> dict[str, Any]:
    """A row as a document; its id as text, since datatrove takes the number 0 for none."""
    return {"text": row.pop("text"), "id": str(row.pop("id")), "metadata": row}


def main() -> None:
    chosen = options(__doc__.splitlines()[0], ["whole"])
    out, config = out_of(chosen), MinhashConfig(n_grams=chosen.words)
    reader = ParquetReader(str(chosen.file.parent), glob_pattern=chosen.file.name, adapter=_document)
    with TemporaryDirectory() as folder:
        signs, pairs, gone = (f"{folder}/{name}" for name in ("signatures", "pairs", "gone"))
        stages = [
            (1, [reader, MinhashDedupSignature(signs, config)]),
            (config.num_buckets, [MinhashDedupBuckets(signs, pairs, config=config)]),
            (1, [MinhashDedupCluster(pairs, gone, config=config)]),
            (1, [reader, MinhashDedupFilter(gone), ParquetWriter(str(out))]),
        ]
        for number, (tasks, steps) in enumerate(stages):
            LocalPipelineExecutor(steps, tasks=tasks, workers=1, logging_dir=f"{folder}/logs-{number}").run()
    rows = pq.ParquetFile(chosen.file).metadata.num_rows
    kept = sum(pq.ParquetFile(f).metadata.num_rows for f in Path(out).glob("*.parquet"))
    print(json.dumps({"tool": "datatrove", "mode": chosen.mode, "rows": rows, "kept": kept}))


if __name__ == "__main__":
    main()
