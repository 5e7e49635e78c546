"""Rows that are meant to break something, read from files as a user's are, and processes that end in the middle."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from support.textrows import chat, dataset, document, ledger_lines, record_ids

from steps.contracts.context import StageContext
from steps.contracts.outcome import Outcome
from steps.dedup.config import DedupConfig
from steps.dedup.dedup import dedup
from steps.ingest.ingest import ingest
from steps.ingest.quick import quick_config

LONG = "when the river rose in spring the old bridge carried nobody across for eleven days and the ferry earned well"
FAMILY = "\U0001f468\u200d\U0001f469\u200d\U0001f467"


def of_lines(lines: list[str], folder: Path, **settings: Any) -> tuple[Outcome, list[str]]:
    """The outcome over a file of these lines, and the texts that are kept."""
    folder.mkdir(exist_ok=True)
    file = folder / "rows.jsonl"
    file.write_text("\n".join(lines) + "\n")
    config = quick_config([str(file)]).model_copy(update={"max_reject_share": 1.0})
    source = ingest(None, config, StageContext(folder / "in", folder)).rows
    outcome = dedup(source, DedupConfig(**settings), StageContext(folder / "out"))
    return outcome, [row["text"] for row in outcome.rows.iter_rows()]


def of_texts(texts: list[str], folder: Path, **settings: Any) -> tuple[Outcome, list[str]]:
    return of_lines([json.dumps({"text": t}) for t in texts], folder, **settings)


def test_lone_surrogates(tmp_path: Path) -> None:
    outcome, kept = of_lines(
        [rf'{{"text": "\ud800 {LONG}"}}', rf'{{"text": "\udfff {LONG}"}}', r'{"text": "\ud83d\ude00"}'], tmp_path
    )
    assert len(kept) == 2 and "\U0001f600" in kept
    assert outcome.report.dropped_by == {"exact_duplicate": 1}


def test_nuls(tmp_path: Path) -> None:
    texts = ["a\0b", "a b", "ab", "x\0", "x", "\0" * 5_000 + " y"]
    kept = of_texts(texts, tmp_path)[1]
    assert len(kept) == 4  # a NUL parts words as a space does
    assert "ab" in kept


@pytest.mark.parametrize("blank", ["", " ", "\t\r\n", "\u3000", "\u00a0", "\u200b", "\u2060\ufeff"])
def test_blank_rows_do_no_harm(tmp_path: Path, blank: str) -> None:
    outcome, kept = of_texts([blank, LONG, blank + " ", LONG.upper()], tmp_path)
    assert sum(t.strip(" \u200b\u2060\ufeff") != "" for t in kept) == 1
    assert len(kept) <= 2  # the blank ones are refused when they are read, or equal each other
    assert outcome.report.dropped >= 1


def test_blank_rows_of_other_kinds_are_no_copies_of_each_other(tmp_path: Path) -> None:
    """They have no words, so nothing to tell them apart by but their kind."""
    rows = [document("\u200b", 0, "1"), document("\u200b\u200b", 1, "2"), chat("\u200b", "\u200b", 2, "3")]
    outcome = dedup(dataset(rows, tmp_path / "in"), DedupConfig(), StageContext(tmp_path / "out"))
    assert record_ids(outcome.rows) == [rows[0]["record_id"], rows[2]["record_id"]]
    assert outcome.report.dropped_by == {"exact_duplicate": 1}


@pytest.mark.parametrize(
    "text", ["שלום עולם זה משפט ארוך", "مرحبا بالعالم هذه جملة طويلة", "مرحبا שלום hello κόσμε мир"]
)
def test_right_to_left_and_mixed_scripts(tmp_path: Path, text: str) -> None:
    """Direction marks around a row make it no other row; its words in another order do."""
    copies = [text, "\u202b" + text + "\u202c", "\u2067" + text + "\u2069", text + " !"]
    outcome, kept = of_texts([*copies, " ".join(reversed(text.split()))], tmp_path, ngram_documents=2)
    assert len(kept) == 2
    assert outcome.report.dropped_by == {"exact_duplicate": 3}


@pytest.mark.parametrize(
    "mark", ["\u200b", "\u200d", "\u00ad", "\u2060", "\ufeff", "\u034f", "\u2066", "\u3164", "\ufe0f", "\U000e0041"]
)
def test_what_nobody_sees_hides_no_copy(tmp_path: Path, mark: str) -> None:
    hidden = LONG[:7] + mark + LONG[7:30] + mark + mark + LONG[30:] + mark
    outcome, kept = of_texts([LONG, hidden], tmp_path)
    assert len(kept) == 1
    assert outcome.report.dropped_by == {"exact_duplicate": 1}


@pytest.mark.slow
def test_scripts_without_spaces(tmp_path: Path) -> None:
    texts = [
        "วันนี้ฉันไปตลาดซื้อแอปเปิลสามกิโลและลูกแพร์สองกิโลกลับบ้านแล้วแม่ล้างให้สะอาด",
        "今天早上我在市场买了三斤苹果和两斤梨回家以后妈妈把它们洗干净放在桌子上大家一起吃得很开心",
        "昨日の夜私は友達と一緒に駅前の小さなレストランで晩ご飯を食べながら古い映画の話をした",
    ]
    outcome, kept = of_texts([*texts, *(t + t[:1] for t in texts), *(t[::-1] for t in texts)], tmp_path)
    assert len(kept) == 6
    assert outcome.report.dropped_by == {"near_duplicate": 3}


def test_rows_of_emoji(tmp_path: Path) -> None:
    """A family is its members, joined or not; a flag is not its first letter."""
    rows = [
        FAMILY,
        FAMILY.replace("\u200d", ""),
        FAMILY * 2,
        "\U0001f1e9\U0001f1ea",
        "\U0001f1e9",
        "\u2764\ufe0f",
        "\u2764",
    ]
    outcome, kept = of_texts(rows, tmp_path)
    assert len(kept) == 5
    assert outcome.report.dropped_by == {"exact_duplicate": 2}


@pytest.mark.slow
def test_rows_of_one_character(tmp_path: Path) -> None:
    letters = [chr(c) for c in range(0x21, 0x2000) if chr(c).isprintable()]
    outcome, kept = of_texts(letters * 3, tmp_path)
    assert outcome.report.rows_in == len(kept) + outcome.report.dropped
    assert len({t.casefold() for t in kept}) == len(kept)
    assert set(outcome.report.dropped_by) == {"exact_duplicate"}


# Where a process ends: while rows are read, when they are decided, and between two files of the index.
_ENDS = {
    "reading": ("steps.engines.minhash.sketch.SetFile", "append", 2),
    "deciding": ("steps.dedup.dedup", "decide", 1),
    "writing the index": ("numpy", "save", 5),
    "writing the ledger": ("steps.contracts.ledger.LedgerWriter", "close", 1),
}
_KILLED = """
import os, pydoc, signal, sys
from pathlib import Path
from steps.contracts.context import StageContext
from steps.contracts.dataset import Dataset
from steps.dedup.config import DedupConfig
from steps.dedup.dedup import dedup
source, folder, owner, name, times = sys.argv[1:]
owner, left = pydoc.locate(owner), [int(times)]
before = getattr(owner, name)
def ending(*given, **named):
    left[0] -= 1
    if not left[0]:
        os.kill(os.getpid(), signal.SIGKILL)
    return before(*given, **named)
setattr(owner, name, ending)
dedup(Dataset.open(Path(source)), DedupConfig(), StageContext(Path(folder), keep=True))
"""


@pytest.mark.slow
@pytest.mark.parametrize("end", list(_ENDS))
def test_a_killed_process_leaves_nothing_that_is_read(tmp_path: Path, end: str) -> None:
    texts = [f"{LONG} {i % 40} {i % 7}" for i in range(9_000)]
    source = dataset([document(t, locator=str(i)) for i, t in enumerate(texts)], tmp_path / "in")
    whole = dedup(source, DedupConfig(), StageContext(tmp_path / "whole", keep=True))
    folder = tmp_path / "out"
    command = [sys.executable, "-c", _KILLED, str(source.folder), str(folder), *map(str, _ENDS[end])]
    assert subprocess.run(command, check=False).returncode == -9
    assert not (folder / "manifest.json").exists()
    again = dedup(source, DedupConfig(), StageContext(folder, keep=True))
    assert again.rows.digest == whole.rows.digest
    assert pq.read_table(again.ledger.path).equals(pq.read_table(whole.ledger.path))
    assert again.artifacts["dedup_index"].manifest.parts == whole.artifacts["dedup_index"].manifest.parts
    left = sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if "partial" in p.name)
    assert left == []


def test_a_long_row_beside_short_ones(tmp_path: Path) -> None:
    """Longer than any buffer was made for; and every one of its words is a new one."""
    long = " ".join(map(str, range(200_000)))
    rows = [
        chat("read", t, i) for i, t in enumerate((long, LONG, long.replace(" 77777 ", " sevens "), LONG + " indeed"))
    ]
    outcome = dedup(dataset(rows, tmp_path / "in"), DedupConfig(), StageContext(tmp_path / "out"))
    assert record_ids(outcome.rows) == [rows[0]["record_id"], rows[1]["record_id"]]
    dropped = {line["record_id"]: line["score"] for line in ledger_lines(outcome) if line["verdict"] == "dropped"}
    # Three of 200,000 shingles go, three come (the row is "read" and 200,000 words).
    assert np.isclose(dropped[rows[2]["record_id"]], (199_999 - 3) / (199_999 + 3))
