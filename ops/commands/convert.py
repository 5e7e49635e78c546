"""`assay convert`."""

from dataclasses import asdict
from pathlib import Path

from ops.console import emit, say
from ops.reading import Reading
from steps.contracts.errors import ConfigError, InputNotFoundError


def convert_file(source: str, out: Path, to: str, reading: Reading, overwrite: bool, json_output: bool) -> None:
    """Convert and say how many rows were written, and why the others weren't.

    Raises:
        ConfigError: no such format, or the output would overwrite the input or another file.
        InputNotFoundError: the input doesn't exist. InputError: nothing can be written.
    """
    from steps.engines.formats.registry import WRITTEN

    if to not in WRITTEN:
        raise ConfigError(f"unknown format {to!r}", where="--to", hint="one of " + ", ".join(WRITTEN))
    if Path(source).exists() and out.exists() and out.samefile(source):
        raise ConfigError("the output would overwrite the input", where=str(out), hint="name another file")
    if "://" not in source and "*" not in source and not Path(source).exists():
        raise InputNotFoundError("no such file or folder", where=source)
    from ops.conversion import convert

    result = convert([source], to, out, reading, overwrite=overwrite)
    if json_output:
        emit(asdict(result))
        return
    say(f"{result.out}: {result.rows:,} of {result.rows_in:,} rows as {to}")
    for note in result.notes:
        say(f"  note: {note}")
    for reason, count in result.rejected_by.items():
        say(f"  {count:,} rejected: {reason}")
        for place in result.first.get(reason, ()):
            say(f"    {place}")
    if result.rejected_by:
        say(f"  the rejected rows (raw data): {result.rejects}")
