"""`python -m ops.kernels`: compiled kernels, ahead of all runs: for an image whose containers then compile none.

Numba compiles a kernel for the kinds of arrays that it is called with. Which those are only the work itself tells: so
each way of reading that is compiled is gone, on rows made up for it, and a run of the smoke config does the rest.
"""

import json
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ops.commands.stage import run_stage
from ops.environment import find_root
from ops.reading import Reading
from steps.ingest.columnar.eligible import LEAST_BYTES

# Far more than are read by other means before compiled code takes over.
_ROWS = 1_000


def compile_kernels() -> None:
    """Have numba keep what it compiles for reading, deduplicating, screening and tokenising. Takes about a minute."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        files = [str(f) for f in _files(folder)]
        run = partial(run_stage, config_file=None, overrides=[], json_output=False, find_root=find_root)
        for file in files:
            run("dedup", [file], folder / f"{Path(file).name}.deduped")
        run("screen", [files[0]], folder / "screened", reading=Reading(keys=["chunk=none"]))
    _tokenise()


def _files(folder: Path) -> Iterator[Path]:
    """Rows of every shape that compiled code reads, in every container."""
    for name, rows in _rows().items():
        lines = folder / f"{name}.jsonl"
        lines.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows), encoding="utf-8")
        whole = folder / f"{name}.json"
        whole.write_text(json.dumps(rows), encoding="utf-8")
        # Random letters, not compressed: the size of the file decides.
        pq.write_table(pa.Table.from_pylist(rows), folder / f"{name}.parquet", compression="none", use_dictionary=False)
        yield from (lines, whole, lines.with_suffix(".parquet"))


def _rows() -> dict[str, list[dict[str, Any]]]:
    texts = [_text(i) for i in range(_ROWS)]
    asked, said = {"role": "user", "content": "What is it?\n"}, "assistant"
    turn = {"from": "human", "value": "What is “it”?"}
    return {
        "text": [{"text": t} for t in texts],
        "pairs": [{"prompt": "What is it?", "completion": t} for t in texts],
        "alpaca": [{"instruction": "Say \\ it", "input": "", "output": t} for t in texts],
        "preference": [{"prompt": "What?", "chosen": t, "rejected": "No é"} for t in texts],
        "openai": [{"messages": [asked, {"role": said, "content": t}]} for t in texts],
        "sharegpt": [{"conversations": [turn, {"from": "gpt", "value": t}]} for t in texts],
    }


def _text(number: int) -> str:
    """A text with what kernels tell apart: letters of more than a byte, digits, lines, quotes."""
    words = (f'wörd{(i * 7919 + number) % 100_003} "it\'s" {i}\n' for i in range(LEAST_BYTES // _ROWS // 18))
    return " ".join(words)


def _tokenise() -> None:
    """With a tokenizer of the kind that is compiled, that knows single bytes only."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    from steps.engines.tokens.encode import Encoder

    letters = {letter: i for i, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    backend = Tokenizer(models.BPE(vocab=letters, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    Encoder(PreTrainedTokenizerFast(tokenizer_object=backend)).encode(["It is 7 o'clock.\n", "Ünlike that"])


if __name__ == "__main__":
    compile_kernels()
