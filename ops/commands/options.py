"""Options that many commands share."""

from pathlib import Path
from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="one JSON object on standard output, nothing else")]
Overrides = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="override a config key (dots)")]


def root_folder() -> Path:
    """The checkout that the command works on."""
    from ops.environment import find_root

    return find_root()
