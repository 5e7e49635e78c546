"""Printing for people and for programs. Text from data, models and servers is made harmless on its way out."""

import json
import sys
from collections.abc import Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from materializers.visible import visible
from steps.contracts.errors import AssayError
from steps.contracts.humanize import number

# Chosen: wide enough that a table in a pipe or a log is not folded at 80 columns.
_PIPE_WIDTH = 160
# Far wider than any table.
_WIDEST = 10_000


def say(line: str = "") -> None:
    """One line for people, on standard output."""
    print(visible(line))


def complain(line: str) -> None:
    """One line for people, on standard error."""
    print(visible(line), file=sys.stderr)


def emit(value: Any) -> None:
    """One JSON object on standard output."""
    print(json.dumps(value, indent=1, ensure_ascii=True, default=str))


def show_table(columns: Sequence[str], rows: Sequence[Sequence[object]], numeric: Sequence[int] = ()) -> None:
    """A table; `numeric` names the columns that are aligned right. Nothing in a cell is read as markup."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for i, name in enumerate(columns):
        table.add_column(name, justify="right" if i in numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(text(_cell(cell)) for cell in row))
    console().print(table)


def print_whole(out: Console, table: Table) -> None:
    """A table of numbers: where the terminal is narrower than they are its lines wrap, and none is cut."""
    width = out.width
    out.width = max(width, Measurement.get(out, out.options.update(width=_WIDEST), table).minimum)
    out.print(table)
    out.width = width


def heading(line: str) -> None:
    """A bold line."""
    console().print(text(line), style="bold")


def console(*, soft_wrap: bool = True) -> Console:
    """Writes to standard output; folds no table where nobody said how wide it is. Without `soft_wrap` long lines are
    broken between words.
    """
    return Console(highlight=False, soft_wrap=soft_wrap, width=None if sys.stdout.isatty() else _PIPE_WIDTH)


def text(value: str) -> Text:
    """Words from data, configs and file names: nothing in them is read as markup, or moves the cursor."""
    return Text(visible(value))


def _cell(cell: object) -> str:
    if cell is None:
        return ""
    return number(cell) if isinstance(cell, int | float) and not isinstance(cell, bool) else str(cell)


def explain_error(error: AssayError) -> str:
    """An error as people read it: what and where, then the way out."""
    where = f"{error.where}: " if error.where else ""
    hint = f"\n  way out: {error.hint}" if error.hint else ""
    return f"error: {where}{error.what}{hint}"
