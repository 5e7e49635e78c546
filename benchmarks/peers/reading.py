"""What the Python peers share: the texts of a Parquet file, and their sets of word n-grams."""

import argparse
import json
import re
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

THRESHOLD = 0.7
PERMUTATIONS = 128
_WORD = re.compile(r"\w+")


def options(description: str, modes: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("file", type=Path, help="Parquet with a column `text`")
    parser.add_argument("--mode", choices=modes, default=modes[0])
    parser.add_argument("--words", type=int, default=5, help="words in a shingle")
    parser.add_argument("--keep", type=Path, help="where the mask of kept rows goes (.npy)")
    parser.add_argument("--out", type=Path, help="folder for the rows that are kept")
    return parser.parse_args()


def out_of(chosen: argparse.Namespace) -> Path:
    """The folder for the kept rows, of a mode that writes them."""
    if chosen.out is None:
        raise SystemExit(f"--mode {chosen.mode} writes the kept rows: give --out FOLDER")
    return Path(chosen.out)


def texts(path: Path) -> list[str]:
    return pq.read_table(path, columns=["text"]).column(0).to_pylist()


def shingles(text: str, words: int) -> set[str]:
    tokens = _WORD.findall(text.lower())
    if len(tokens) < words:
        return {" ".join(tokens)}
    return {" ".join(tokens[i : i + words]) for i in range(len(tokens) - words + 1)}


def finish(tool: str, chosen: argparse.Namespace, keep: np.ndarray) -> None:
    if chosen.keep:
        np.save(chosen.keep, keep)
    print(json.dumps({"tool": tool, "mode": chosen.mode, "rows": len(keep), "kept": int(keep.sum())}))
