"""Walking through rows set aside on a terminal. Every decision is on disk before the next row is shown."""

import sys
import termios
import tty
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from rich.console import Console
from rich.text import Text

from materializers.visible import visible
from ops.review.editing import edit
from ops.review.picture import picture
from ops.review.pile import Pile, SetAside
from steps.contracts.errors import AssayError
from steps.contracts.records import Row
from steps.review.decisions import Choice, HumanDecision, append
from steps.review.edits import content_of

_KEYS = "[a]ccept  [e]dit  [d]rop  [s]kip  [f]ull text  [q]uit"
_CHOICES: dict[str, Choice] = {"a": "accept", "e": "edit", "d": "drop"}


def decided(item: SetAside, choice: Choice, by: str, why: str, new: Row | None = None) -> HumanDecision:
    """The decision about a row as it was seen, made now."""
    return HumanDecision(
        record_id=item.row["record_id"],
        content_before=item.row["content_id"],
        choice=choice,
        content_after=new["content_id"] if new else None,
        content=content_of(new) if new else None,
        stage=item.stage,
        reason=item.reason,
        by=by,
        when=datetime.now(UTC).isoformat(timespec="seconds"),
        why=why,
    )


@dataclass
class Session:
    """One person at one terminal. `done` counts what they chose."""

    pile: Pile
    by: str
    raw: bool
    done: Counter[str] = field(default_factory=Counter)
    hidden: int = 0

    def __post_init__(self) -> None:
        self._console = Console(highlight=False, markup=False)

    def run(self) -> None:
        """Show row after row until the person quits or none is left."""
        _, left = self.pile.counts()
        for number, item in enumerate(self.pile, 1):
            if not item.scrubbed and not self.raw:
                self.hidden += 1
                continue
            self._console.rule(Text(f"{number} of {left}"), align="left")
            if not self._one(item):
                return

    def _one(self, item: SetAside) -> bool:
        """Let the person decide about one row; False when they quit."""
        self._show(item, full=False)
        while True:
            key = self._ask(_KEYS)
            if key in ("q", ""):
                return False
            if key == "s":
                self.done["skipped"] += 1
                return True
            if key == "f":
                self._show(item, full=True)
            elif key in _CHOICES and self._decide(item, _CHOICES[key]):
                return True

    def _decide(self, item: SetAside, choice: Choice) -> bool:
        """Record the choice; False when an edit came to nothing."""
        new = self._edited(item) if choice == "edit" else None
        if choice == "edit" and new is None:
            return False
        why = _line("why (Enter: no words): ", self._console)
        append(self.pile.decisions, decided(item, choice, self.by, why, new))
        self.done[choice] += 1
        self._say(f"{choice}: written")
        return True

    def _edited(self, item: SetAside) -> Row | None:
        draft: str | None = None
        while True:
            try:
                draft, new, wrong = edit(item.row, draft)
            except AssayError as e:
                self._say(str(e))
                return None
            if new is not None and new["content_id"] == item.row["content_id"]:
                self._say("nothing was changed")
                return None
            again = self.pile.screened_again(new) if new is not None else ""
            if new is not None and not again:
                return new
            self._say(f"screen would still {again}" if new is not None else f"not usable: {wrong}")
            keep = "[y]es, as it is  " if new is not None else ""
            key = self._ask(f"{keep}[e]dit again, any other key: back")
            if key == "y" and new is not None:
                return new
            if key != "e":
                return None

    def _show(self, item: SetAside, full: bool) -> None:
        for text in picture(item, full):
            self._console.print(text)

    def _say(self, text: str) -> None:
        self._console.print(Text(visible(text)))

    def _ask(self, keys: str) -> str:
        self._console.print(Text(keys, "bold"))
        return key_pressed()


def key_pressed() -> str:
    """One key in lower case: without Enter on a terminal, else the first letter of a line; "" at the end of input."""
    if not sys.stdin.isatty():
        line = sys.stdin.readline()
        return line.strip()[:1].lower() if line else ""
    return _with_cbreak(lambda: sys.stdin.read(1).lower())


def _with_cbreak(read: Callable[[], str]) -> str:
    terminal = sys.stdin.fileno()
    before = termios.tcgetattr(terminal)
    try:
        # Not the default TCSAFLUSH, which throws away what was typed ahead.
        tty.setcbreak(terminal, termios.TCSANOW)
        key = read()
        return "" if key == "\x04" else key
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)


def _line(prompt: str, console: Console) -> str:
    console.print(Text(prompt), end="")
    return sys.stdin.readline().strip()[:500]
