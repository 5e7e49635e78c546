"""A batch on the terminal: trained tokens green, in a pipe between ⟦ and ⟧; no text can move the cursor."""

from rich.console import Console
from rich.text import Text

from materializers.visible import visible
from ops.batches.shown import Shown, ShownLine, ShownSpan, runs_of
from ops.console import console, heading, say

_TRAINED, _CONTEXT, _BORDER = "bold green", "dim", "yellow"


def draw(batch: Shown) -> None:
    """Print it."""
    out = console()
    heading(f"{batch.title}: optimizer step {batch.step}")
    say(f"rows: {batch.where}")
    out.print(_legend(out))
    for i, lines in enumerate(batch.passes):
        if len(batch.passes) > 1 and lines:
            heading(f"forward pass {i + 1} of {len(batch.passes)}")
        for line in lines:
            _draw_line(out, line)
    if batch.hidden:
        say(f"… and {batch.hidden} more lines of this step (--rows)")
    _draw_left_out(batch)
    for note in batch.notes:
        say(f"note: {note}")
    if batch.refusal:
        say(f"training would stop before its first step: {batch.refusal}")


def _legend(out: Console) -> Text:
    return Text.assemble(*_marked(out, "trained", True), " · ", *_marked(out, "context", False))


def _marked(out: Console, words: str, trained: bool) -> list[tuple[str, str] | str]:
    """Words in the colour of trained ones or of context; without colours, trained ones in brackets."""
    plain = out.color_system is None
    if trained and plain:
        words = f"⟦{words}⟧"
    return [(words, _TRAINED if trained else _CONTEXT)]


def _draw_line(out: Console, line: ShownLine) -> None:
    padding = f", {line.left + line.right} of padding" if line.left + line.right else ""
    rows = f", {len(line.spans)} rows packed" if len(line.spans) > 1 else ""
    heading(f"line {line.number}: {line.tokens} tokens, {line.trained} trained{padding}{rows}")
    for span in line.spans:
        out.print(Text(f"  ├ {_whose(span)}", style=_BORDER))
        body = Text()
        for trained, words in runs_of(span.pieces):
            for part in _marked(out, visible(words), trained):
                body.append(*part)
        for at in body.split("\n", allow_blank=True):
            out.print(Text.assemble(("  │ ", _BORDER), at))
        if end := _end(span):
            out.print(Text(f"  ✂ {end}", style=_BORDER))


def _whose(span: ShownSpan) -> str:
    row = f"row {span.record_id}" if span.record_id else "a row"
    part = f", {span.part}" if span.part else ""
    place = f" ({visible(span.source)})" if span.source else ""
    begins = f", goes on at its token {span.start + 1}" if span.cut_before else ""
    return f"{row}{part}{place}{begins}: {span.tokens} tokens, {span.trained} trained"


def _end(span: ShownSpan) -> str:
    """What of the row doesn't stand here."""
    if span.cut_after:
        return f"cut by packing: {span.whole - span.start - span.tokens} more tokens stand elsewhere"
    if span.truncated:
        return f"truncated at max_length: the row has {span.truncated} tokens, {span.whole} are trained on or context"
    return ""


def _draw_left_out(batch: Shown) -> None:
    say(f"{batch.rows_in} rows read, {batch.kept} trained on")
    for left in batch.left_out:
        say(f"  {left.verdict}: {left.reason}: {left.rows}")
        for record_id, evidence in left.named:
            say(f"    {record_id}" + (f"  {evidence}" if evidence else ""))
        if left.rows > len(left.named):
            say(f"    … and {left.rows - len(left.named)} more")
