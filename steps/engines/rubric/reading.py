"""A rubric's file, every mistake with its line."""

from collections.abc import Callable
from pathlib import Path

from steps.contracts.errors import InputNotFoundError
from steps.engines.rubric.rubric import KNOWN, Rubric, contradictions
from steps.engines.yaml_lines.model_file import read_model


def rubric_files(*names: str) -> tuple[str, ...]:
    """Those of these names that are files of the user's, as a config names them: what a stage reads besides rows."""
    return tuple(dict.fromkeys(n for n in names if n not in KNOWN))


def read_rubric(name: str, place: Callable[[str], Path] = Path) -> Rubric:
    """The rubric of that name: one of assay's own, or a file.

    Args:
        place: where a file lies that a config names by that name.

    Raises:
        InputNotFoundError: no such file. ConfigError: it isn't YAML, or says something that a rubric can't.
    """
    path = Path(__file__).with_name(f"{name}.yaml") if name in KNOWN else place(name)
    if not path.is_file():
        raise InputNotFoundError(
            "no such rubric", where=name,
            hint=f"name one of {', '.join(KNOWN)}, or the path of a YAML file from the project root",
        )  # fmt: skip
    return read_model(
        path, name, Rubric, "rubric", keys=lambda _: [*Rubric.model_fields], too_long="a rubric is read by a model",
        wrong=contradictions,
    )  # fmt: skip
