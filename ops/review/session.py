"""Walking through rows set aside on a terminal. Every decision is on disk before the next row is shown."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

from rich.console import RenderableType
from rich.text import Text

from ops.console import console, text
from ops.review.editing import edit
from ops.review.guard import GuardedRow
from ops.review.keyboard import key_pressed, line_typed
from ops.review.queue import ReviewQueue, SetAside
from ops.review.row_view import row_view, spans_of, texts
from steps.contracts.errors import AssayError, ConfigError
from steps.review.decisions import Choice, HumanDecision, append
from steps.review.edits import content_of

_KEYS = "[a]ccept  [e]dit  [d]rop  [s]kip  [b]ack  [f]ull text  [q]uit"
_CHOICES: dict[str, Choice] = {"a": "accept", "e": "edit", "d": "drop"}
# Chosen: the longest words that are kept.
_WHY_CHARACTERS = 500


def decided(item: SetAside, choice: Choice, by: str, why: str, looked: GuardedRow | None = None) -> HumanDecision:
    """The decision about a row as it was seen, made now. `looked`: what goes on, when it had to be looked at again.

    A row that is accepted after something in it was replaced is an edited one.
    """
    new = looked.row if looked is not None and choice != "drop" else item.row
    changed = new["content_id"] != item.row["content_id"]
    return HumanDecision(
        record_id=item.row["record_id"],
        content_before=item.row["content_id"],
        choice="edit" if changed else choice,
        content_after=new["content_id"] if changed else None,
        content=content_of(new) if changed else None,
        meta=new["meta"] if new["meta"] != item.row["meta"] else None,
        stage=item.stage,
        reason=item.reason,
        by=by,
        when=datetime.now(UTC).isoformat(timespec="seconds"),
        why=why,
        checked=looked.checked if looked is not None else None,
    )


def warnings(looked: GuardedRow) -> list[str]:
    """What a person should know about a row before it goes on: a line each."""
    lines = []
    if looked.checked.replaced:
        values = ", ".join(f"{entity} {count}" for entity, count in looked.checked.replaced.items())
        lines.append(f"personal data is replaced, as scrub does: {values}")
    if looked.checked.unsearched:
        lines.append(f"not searched for personal data, a detector failed: {', '.join(looked.checked.unsearched[:5])}")
    if looked.taken_out:
        lines.append(f"screen would still {looked.checked.screen}")
    return lines


@dataclass
class Session:
    """One person at one terminal.

    left: rows not decided before. done: the last choice about each row, by record id. hidden: rows not shown.
    """

    queue: ReviewQueue
    by: str
    raw: bool
    left: int
    done: dict[str, str] = field(default_factory=dict)
    hidden: int = 0

    def __post_init__(self) -> None:
        self._console = console(soft_wrap=False)
        self._drafts: dict[str, str] = {}
        self._searches = True

    def run(self) -> None:
        """Show row after row until the person quits or none is left. Ctrl-C quits, too."""
        try:
            self._searches = self._can_search()
            self._walk()
        except KeyboardInterrupt:
            self._say("\ninterrupted: what was written is kept")

    def _walk(self) -> None:
        rows, seen, at = self._shown(), list[SetAside](), 0
        while True:
            item = seen[at] if at < len(seen) else next(rows, None)
            if item is None:
                if not seen or self._ask("that was the last row: [b]ack, any other key ends") != "b":
                    return
                at -= 1
                continue
            if at == len(seen):
                seen.append(item)
            step = self._one(item, at)
            if not step:
                return
            at = max(at + step, 0)

    def _shown(self) -> Iterator[SetAside]:
        for item in self.queue:
            if item.scrubbed or self.raw:
                yield item
            else:
                self.hidden += 1

    def _can_search(self) -> bool:
        """Whether what a person writes can be searched for personal data as the run does; says so when it can't."""
        try:
            return self.queue.guard.search is not None
        except ConfigError as e:
            self._say(f"{e}\nuntil then rows are accepted and dropped without words, and can't be edited")
            return False

    def _one(self, item: SetAside, number: int) -> int:
        """Let the person decide about one row; how far to go from it, 0 when they quit."""
        self._console.rule(Text(f"{number + 1} of {self.left - self.hidden}"), align="left")
        self._show(row_view(item, full=False))
        earlier = self.queue.decided.get((item.row["record_id"], item.row["content_id"]))
        if so_far := self.done.get(item.row["record_id"]) or (f"{earlier.choice}, by {earlier.by}" if earlier else ""):
            self._say(f"so far: {so_far}")
        while True:
            key = self._ask(_KEYS)
            if key in ("q", ""):
                return 0
            if key == "b":
                return -1
            if key == "s":
                self.done.setdefault(item.row["record_id"], "skipped")
                return 1
            if key == "f":
                self._show(row_view(item, full=True))
            elif key not in _CHOICES:
                self._say("no such key")
            elif self._decide(item, _CHOICES[key]):
                return 1

    def _decide(self, item: SetAside, choice: Choice) -> bool:
        """Record the choice; False when it came to nothing."""
        looked = None
        try:
            if choice == "edit" or (choice == "accept" and not item.scrubbed):
                looked = self._edited(item) if choice == "edit" else self._searched(item)
                if looked is None:
                    return False
            why = self._why()
        except AssayError as e:
            self._say(str(e))
            return False
        decision = decided(item, choice, self.by, why, looked)
        append(self.queue.decisions, decision)
        self.done[item.row["record_id"]] = decision.choice
        self._say(f"{decision.choice}: written")
        return True

    def _searched(self, item: SetAside) -> GuardedRow | None:
        """A row that scrub didn't search whole, as it goes on; None when the person thinks again."""
        looked = self.queue.guard.look(item.row)
        if not looked.checked.replaced and not looked.checked.unsearched:
            return looked
        self._warn(looked)
        return looked if self._ask("[y]es, so it goes on, any other key: back") == "y" else None

    def _edited(self, item: SetAside) -> GuardedRow | None:
        """The row after the person's edit; None when they think again."""
        draft = self._drafts.get(item.row["record_id"]) or self._earlier(item)
        while True:
            draft, new, wrong = edit(item.row, draft)
            self._drafts[item.row["record_id"]] = draft
            looked = self.queue.guard.look(new, item.row if item.scrubbed else None) if new is not None else None
            if looked is not None and looked.row["content_id"] == item.row["content_id"]:
                self._say("nothing was changed")
                return None
            if looked is not None and not warnings(looked):
                return looked
            self._warn(looked) if looked is not None else self._say(f"not usable: {wrong}")
            yes = "[y]es, so it goes on  " if looked is not None else ""
            key = self._ask(f"{yes}[e]dit again, any other key: back")
            if key == "y" and looked is not None:
                return looked
            if key != "e":
                return None

    def _earlier(self, item: SetAside) -> str | None:
        """The edit of a decision that isn't applied any more, to go on from."""
        earlier = self.queue.decided.get((item.row["record_id"], item.row["content_id"]))
        return json.dumps(earlier.content, indent=1) if earlier is not None and earlier.content is not None else None

    def _why(self) -> str:
        if not self._searches:
            return ""
        self._console.print(Text("why (Enter: no words): "), end="")
        typed = line_typed()[:_WHY_CHARACTERS]
        words = self.queue.guard.words(typed)
        if words != typed:
            self._say(f"personal data is replaced: {words}")
        return words

    def _warn(self, looked: GuardedRow) -> None:
        for line in warnings(looked):
            self._say(line)
        self._show(texts(looked.row, spans_of({"hits": looked.checked.hits}), full=False))

    def _show(self, lines: Iterator[RenderableType]) -> None:
        for line in lines:
            self._console.print(line)

    def _say(self, line: str) -> None:
        self._console.print(text(line))

    def _ask(self, keys: str) -> str:
        return key_pressed(lambda: self._console.print(Text(keys, "bold")))
