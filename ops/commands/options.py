"""Options that many commands share."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

Json = Annotated[bool, typer.Option("--json", help="one JSON object on standard output, nothing else")]


def _placed(overrides: list[str] | None) -> list[str] | None:
    from ops.environment import find_root
    from ops.override_paths import from_working_folder

    return from_working_folder(overrides, find_root(), Path.cwd()) if overrides else overrides


Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="override a config key (dots); paths start here", callback=_placed),
]

# How the files that a command is given are read: what `reads` puts in place of a command's `reading`.
Columns = Annotated[
    list[str] | None,
    typer.Option("--columns", metavar="NAME=COLUMN,...", help="standard name = the data's, such as prompt=question"),
]
RowFormat = Annotated[str | None, typer.Option("--format", help="row format, such as openai; default: found out")]
FileType = Annotated[str | None, typer.Option("--container", help="file type, such as csv; default: found out")]
Encoding = Annotated[str | None, typer.Option(help="text encoding, such as cp1252; default: UTF-8 or the BOM's")]
IngestKeys = Annotated[
    list[str] | None, typer.Option("--ingest", metavar="KEY=VALUE", help="a key of ingest, for reading the inputs")
]
_READING = {
    "columns": Columns, "row_format": RowFormat, "container": FileType, "encoding": Encoding, "ingest": IngestKeys
}  # fmt: skip
# The default of a command's `reading`, which nobody sees.
BY_OPTIONS: Any = None


def reads(command: Callable[..., None]) -> Callable[..., None]:
    """The command with options that say how files are read where it has a parameter `reading`, an `ops.reading.Reading`
    of them.
    """
    by_option = inspect.Parameter.KEYWORD_ONLY
    parameters: list[inspect.Parameter] = []
    for one in inspect.signature(command).parameters.values():
        if one.name == "reading":
            parameters += [inspect.Parameter(n, by_option, default=None, annotation=a) for n, a in _READING.items()]
        else:
            parameters.append(one.replace(kind=by_option))

    def reading_command(**given: Any) -> None:
        from ops.reading import reading_of

        said = {name: given.pop(name) for name in _READING}
        columns, keys = said.pop("columns") or (), said.pop("ingest") or ()
        command(**given, reading=reading_of(columns, keys, format=said.pop("row_format"), **said))

    reading_command.__name__, reading_command.__doc__ = command.__name__, command.__doc__
    reading_command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    reading_command.__annotations__ = {p.name: p.annotation for p in parameters}
    return reading_command


def root_folder() -> Path:
    """The checkout that the command works on."""
    from ops.environment import find_root

    return find_root()
