"""Rows of real code: definitions and files of the Python library that runs this; and how well dedup tells code.

    ASSAY_BENCH_DATA=folder python benchmarks/code_rows.py

Prints which share of the texts of each kind dedup takes for code by default, and so compares with their symbols.
"""

import ast
import gzip
import json
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import pyarrow as pa
from measure import data_folder

from steps.engines.text.columns import Tokens, column_texts, words_of

ROWS, ANSWERS, TALKS = "t0.jsonl.gz", "gsm8k_train.jsonl", "hh_harmless_test.jsonl.gz"


def main() -> None:
    folder = data_folder("code_rows", ROWS, ANSWERS, TALKS)
    prose = list(_rows(folder / ROWS))
    talks = [text for row in _rows(folder / TALKS) for text in row.values() if isinstance(text, str)]
    answers = list(_rows(folder / ANSWERS))
    print("| texts | number | taken for code |\n|---|---:|---:|")
    for name, texts in {
        "Python's library, functions and classes": library_definitions(),
        "Python's library, files": library_files(),
        "T0, prompts": [row["prompt"] for row in prose],
        "T0, answers": [row["completion"] for row in prose],
        "hh-rlhf, conversations": talks,
        "GSM8K, questions": [row["question"] for row in answers],
        "GSM8K, answers (with calculations)": [row["answer"] for row in answers],
    }.items():
        told = words_of(column_texts(pa.array(texts, pa.large_string())), Tokens.CODE).symbolic
        print(f"| {name} | {len(texts):,} | {100 * told.mean():.2f} % |")


def library_files() -> list[str]:
    """The files of Python's library, its tests included, that are UTF-8; without installed packages."""
    return [text for text, _ in _library()]


def library_definitions() -> list[str]:
    """Top-level functions and classes of those files: rows as data sets of code have them."""
    rows = []
    for text, tree in _library():
        lines = text.splitlines(keepends=True)
        for node in tree.body:
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                rows.append("".join(lines[node.lineno - 1 : node.end_lineno]))
    return rows


def _library() -> Iterator[tuple[str, ast.Module]]:
    root = Path(sysconfig.get_paths()["stdlib"])
    for path in sorted(root.rglob("*.py")):
        if "site-packages" in path.parts:
            continue
        try:
            text = path.read_text(encoding="utf-8")
            yield text, ast.parse(text)
        except (SyntaxError, UnicodeDecodeError, ValueError):
            continue  # files that hold errors on purpose, for tests


def _rows(path: Path) -> Iterator[dict[str, str]]:
    raw = path.read_bytes()
    for line in (gzip.decompress(raw) if path.suffix == ".gz" else raw).splitlines():
        yield json.loads(line)


if __name__ == "__main__":
    main()
