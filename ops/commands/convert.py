"""`assay convert`."""

from pathlib import Path
from typing import Any

from ops.console import emit, say
from steps.contracts.errors import ConfigError

FORMATS = ("openai", "alpaca", "sharegpt")


def convert_file(source: str, out: Path, to: Any, json_output: bool) -> None:
    """Convert and say how many rows were written, and which could not be."""
    if to not in FORMATS:
        raise ConfigError(f"unknown format {to!r}", where="--to", hint="one of " + ", ".join(FORMATS))
    from steps.ingest.convert import convert

    result = convert([source], to, out)
    if json_output:
        emit({"out": str(out), **result.__dict__})
    else:
        say(f"{out}: {result}")
