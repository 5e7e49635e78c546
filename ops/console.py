"""Printing for people and for programs. Text from data, models and servers is made harmless on its way out."""

import json
import sys
from collections.abc import Sequence
from typing import Any

from materializers.visible import visible
from steps.contracts.errors import AssayError

# Chosen: wide enough that a table in a pipe or a log is not folded at 80 columns.
_PIPE_WIDTH = 160


def say(text: str = "") -> None:
    """One line for people, on standard output."""
    print(visible(text))


def complain(text: str) -> None:
    """One line for people, on standard error."""
    print(visible(text), file=sys.stderr)


def emit(value: Any) -> None:
    """One JSON object on standard output."""
    print(json.dumps(value, indent=1, ensure_ascii=True, default=str))


def show_table(columns: Sequence[str], rows: Sequence[Sequence[object]], numeric: Sequence[int] = ()) -> None:
    """A table; `numeric` names the columns that are aligned right. Nothing in a cell is read as markup."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for i, name in enumerate(columns):
        table.add_column(name, justify="right" if i in numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(visible(_cell(cell))) for cell in row))
    _console().print(table)


def heading(text: str) -> None:
    """A bold line."""
    from rich.text import Text

    _console().print(Text(visible(text), style="bold"))


def _console() -> Any:
    from rich.console import Console

    return Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else _PIPE_WIDTH, soft_wrap=False)


def _cell(cell: object) -> str:
    if cell is None:
        return ""
    if isinstance(cell, float):
        return f"{cell:,.4g}"
    return f"{cell:,}" if isinstance(cell, int) and not isinstance(cell, bool) else str(cell)


def explain_error(error: AssayError) -> str:
    """An error as people read it: what and where, then the way out."""
    where = f"{error.where}: " if error.where else ""
    hint = f"\n  way out: {error.hint}" if error.hint else ""
    return f"error: {where}{error.what}{hint}"
