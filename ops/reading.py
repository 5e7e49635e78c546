"""How a command reads the files that it is given: what its options say of all of them."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipelines.load import Written, load_model, validate
from steps.contracts.errors import ConfigError
from steps.contracts.reports import Frozen
from steps.ingest.config import IngestConfig, SourceConfig
from steps.ingest.quick import quick_config


@dataclass(frozen=True)
class Reading:
    """What was said about reading.

    Attributes:
        source: settings that every input gets as a source (`SourceConfig`).
        keys: `key=value` of ingest.
    """

    source: Mapping[str, Any] = field(default_factory=dict)
    keys: Sequence[str] = ()

    @property
    def options(self) -> str:
        """The options that said it, for errors; "" for none."""
        return ", ".join([*(f"--{name}" for name in self.source), *(["--ingest"] if self.keys else [])])

    def config(self, inputs: list[str]) -> IngestConfig:
        """What ingest does with these inputs.

        Raises:
            ConfigError: a key of ingest is unknown, or its value is wrong.
        """
        found = quick_config(inputs, self.source)
        return from_overrides(IngestConfig, self.keys, "keys of ingest", found) if self.keys else found


# Nothing said: formats are found out.
AS_IT_IS = Reading()


def reading_of(columns: Sequence[str] = (), keys: Sequence[str] = (), **source: str | None) -> Reading:
    """From `--columns a=b,c=d` (any number of times), `--ingest key=value`, `--format`, `--container`, `--encoding`.

    Raises:
        ConfigError: an option isn't of its form, or names what there isn't.
    """
    given: dict[str, Any] = {name: value for name, value in source.items() if value is not None}
    if columns:
        given["columns"] = dict(_pair(part) for text in columns for part in text.split(",") if part.strip())
    # A source of its own is checked here, so that a mistake is told by the option and before any file is opened.
    values = {"name": "input", "path": "input", **given}
    validate(SourceConfig, Written(values, {}, "options", {(name,): f"--{name}" for name in given}))
    return Reading(given, keys)


def from_overrides(model: type[Any], overrides: Sequence[str], where: str, start: Frozen | None = None) -> Any:
    """A config of `--set` values over `start`, else over the defaults."""
    with tempfile.TemporaryDirectory() as folder:
        given = Path(folder) / "defaults.yaml"
        # JSON is YAML.
        given.write_text(start.model_dump_json(exclude_unset=True) if start else "")
        try:
            return load_model(model, given, overrides)
        except ConfigError as e:
            # Said again without the name of a file that the user never wrote.
            raise ConfigError(e.what, where=where, hint=e.hint) from e


def _pair(part: str) -> tuple[str, str]:
    name, sign, column = (p.strip() for p in part.partition("="))
    if not (name and sign and column):
        raise ConfigError(
            f"{part.strip()!r} is not of the form standard=column", where="--columns",
            hint="such as --columns prompt=question,completion=answer: the standard name first, then the data's",
        )  # fmt: skip
    return name, column
