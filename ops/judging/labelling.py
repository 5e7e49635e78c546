"""A person labels rows on a terminal, blind to what the judge said. Each label is on disk before the next row is shown.

Of a pair the sides are dealt by the seed: neither place nor order says which answer was chosen.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.text import Text

from ops.console import console, text
from ops.judging.sampling import Sampled
from ops.review.keyboard import key_pressed
from ops.review.row_view import texts
from steps.contracts.durable_lines import append_line
from steps.contracts.errors import InputError, InputNotFoundError
from steps.contracts.records import Row
from steps.engines.formats.rejected import RowRejected
from steps.ingest.mix import hash64
from steps.judge.gold import read_gold, row_of

_SCORES = "12345"
_ROW_KEYS = "[1] useless … [5] faultless  [k]eep  [d]rop  [s]kip  [b]ack  [f]ull text  [q]uit"
_PAIR_KEYS = "better: [l]eft  [r]ight  [t]ie  [s]kip  [b]ack  [f]ull text  [q]uit"
_CRITERION_KEYS = "[1] to [5]  [s]kip this one  [b]ack to the row"
_PARTS = ("kind", "messages", "chosen", "rejected", "tools", "text", "label", "score")
_MESSAGE_PARTS = ("role", "content", "name", "tool_calls", "tool_call_id", "weight", "reasoning")


@dataclass
class Labelling:
    """One person at one terminal.

    Attributes:
        out: the file of labels. again: also rows that this person has labelled.
        criteria: asked about after the row as a whole.
    """

    sample: Sampled
    out: Path
    by: str
    pairs: bool
    seed: int
    criteria: Sequence[str] = ()
    again: bool = False
    done: dict[str, str] = field(default_factory=dict)
    # Labelled in an earlier sitting.
    before: int = 0

    def run(self) -> None:
        """Show row after row until the person quits or none is left. Ctrl-C quits, too."""
        self._console = console(soft_wrap=False)
        known = set() if self.again else labelled(self.out, self.by, pairs=self.pairs)
        rows = [row for row in self.sample.rows if row["content_id"] not in known]
        self.before = len(self.sample.rows) - len(rows)
        try:
            self._walk(rows)
        except KeyboardInterrupt:
            self._say("\ninterrupted: what was written is kept")

    def _walk(self, rows: Sequence[Row]) -> None:
        at = 0
        while at < len(rows):
            step = self._one(rows[at], at, len(rows))
            if step is None:
                return
            at = max(at + step, 0)

    def _one(self, row: Row, number: int, of: int) -> int | None:
        """Let the person label one row; how far to go from it, None when they quit."""
        self._console.rule(Text(f"{number + 1} of {of}"), align="left")
        self._show(row, full=False)
        if row["content_id"] in self.done:
            self._say(f"so far: {self.done[row['content_id']]}")
        while True:
            key = self._ask(_PAIR_KEYS if self.pairs else _ROW_KEYS)
            if key in ("q", ""):
                return None
            if key == "b":
                return -1
            if key == "s":
                return 1
            if key == "f":
                self._show(row, full=True)
                continue
            said = self._said(row, key)
            if said is None:
                self._say("no such key")
                continue
            if self.criteria and not self.pairs:
                labels = self._by_criterion()
                if labels is None:
                    continue
                said |= {"labels": labels} if labels else {}
            self._write(row, said)
            return 1

    def _said(self, row: Row, key: str) -> dict[str, Any] | None:
        if self.pairs:
            sides = sides_of(row, self.seed)
            better = {"l": sides[0], "r": sides[1], "t": "tie"}.get(key)
            return None if better is None else {"better": better}
        if key in _SCORES:
            return {"label": int(key)}
        label = {"k": "keep", "d": "drop"}.get(key)
        return None if label is None else {"label": label}

    def _by_criterion(self) -> dict[str, int] | None:
        """Scores by criterion; None: back to the row."""
        labels: dict[str, int] = {}
        for name in self.criteria:
            while (key := self._ask(f"{name}: {_CRITERION_KEYS}")) not in (*_SCORES, "s"):
                if key in ("b", ""):
                    return None
                self._say("no such key")
            if key != "s":
                labels[name] = int(key)
        return labels

    def _write(self, row: Row, said: dict[str, Any]) -> None:
        append_line(self.out, gold_line(row, said, self.by, scrubbed=self.sample.scrubbed))
        self.done[row["content_id"]] = self._word(row, said)
        self._say(f"{self.done[row['content_id']]}: written")

    def _word(self, row: Row, said: dict[str, Any]) -> str:
        """What was said, without a word on which side is which."""
        if not self.pairs:
            return str(said["label"])
        side = dict(zip(sides_of(row, self.seed), ("left", "right"), strict=True))
        return side.get(said["better"], "tie")

    def _show(self, row: Row, full: bool) -> None:
        if not self.pairs:
            self._lines({**row, "messages": [*row["messages"], *row["chosen"]], "chosen": [], "rejected": []}, full)
            return
        self._lines({**row, "chosen": [], "rejected": []}, full)
        for word, side in zip(("left", "right"), sides_of(row, self.seed), strict=True):
            self._console.print(Text(word, "bold"))
            self._lines({**row, "messages": row[side], "chosen": [], "rejected": [], "tools": None}, full)

    def _lines(self, row: Row, full: bool) -> None:
        for line in texts(row, (), full):
            self._console.print(line)

    def _say(self, line: str) -> None:
        self._console.print(text(line))

    def _ask(self, keys: str) -> str:
        return key_pressed(lambda: self._console.print(Text(keys, "bold")))


def sides_of(row: Row, seed: int) -> tuple[str, str]:
    """Which answer stands on the left, and which on the right."""
    return ("chosen", "rejected") if hash64(seed, f"side {row['content_id']}") % 2 else ("rejected", "chosen")


def gold_line(row: Row, said: dict[str, Any], by: str, *, scrubbed: bool) -> dict[str, Any]:
    """A label as a line of gold, with the row in it where it reads back as the same content."""
    when = datetime.now(UTC).isoformat(timespec="seconds")
    line = {"record_id": row["record_id"], "content_id": row["content_id"], **said, "by": by, "when": when}
    content = {part: row[part] for part in _PARTS if row[part] not in (None, [])}
    for side in ("messages", "chosen", "rejected"):
        if side in content:
            content[side] = [{k: m[k] for k in _MESSAGE_PARTS if m.get(k) is not None} for m in content[side]]
    try:
        same = row_of(json.loads(json.dumps(content)), 0, row["record_id"])["content_id"] == row["content_id"]
    except (InputError, RowRejected):
        same = False
    return line | ({"content": content, "scrubbed": scrubbed} if same else {})


def labelled(path: Path, by: str, *, pairs: bool) -> set[str]:
    """Content ids of the rows that a person has labelled."""
    try:
        gold = read_gold(path, lambda ids: {i: {"content_id": i} for i in ids})
    except InputNotFoundError:
        return set()
    except InputError as e:
        if path.stat().st_size == 0:
            return set()
        raise e
    return {
        row.row["content_id"] for row in gold.rows if (said := row.said.get(by)) and (said.better is not None) == pairs
    }
