"""`assay eval-pii`: how well the scrub detectors of a config find what people labelled."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ops.console import emit, heading, say, show_table
from ops.environment import find_root
from steps.contracts.errors import ConfigError, InputNotFoundError
from steps.contracts.evaluation import Estimate

if TYPE_CHECKING:
    from steps.scrub.config import ScrubConfig
    from steps.scrub.evaluation.evaluation import EntityScores, Mistake, PiiEvaluation

# Shorter values are hidden whole: their two ends would give too much away.
_MASKED_FROM = 5


def evaluate_pii(
    config_file: Path,
    labelled: Path,
    templates: Literal["all", "even", "odd"],
    mapping: list[str],
    examples: int,
    show_values: bool,
    json_output: bool,
) -> None:
    """Search the labelled texts with the config's detectors and say how well they did.

    Raises:
        ConfigError: the config is wrong or has no scrub section, or a mapping isn't LABEL=ENTITY.
        InputError: the labelled file can't be read, names the row.
    """
    from steps.scrub.evaluation.evaluation import evaluate
    from steps.scrub.evaluation.labelled import of_templates, read_labelled
    from steps.scrub.word_files import with_words

    config = with_words(load_scrub(config_file), find_root())
    names = label_names(mapping)
    rows = of_templates(read_labelled(labelled, names), templates, str(labelled))
    done = evaluate(rows, config, names)
    shown = [told(m, show_values) for m in _sample(done.mistakes, examples)]
    if json_output:
        emit(as_json(done, shown))
    else:
        _show(done, shown)


def load_scrub(path: Path) -> "ScrubConfig":
    """The scrub settings of a run config, or of a file that holds the scrub keys alone."""
    from pipelines.config import RunConfig
    from pipelines.load import load_model
    from steps.engines.yaml_lines.parse import parse_yaml
    from steps.scrub.config import ScrubConfig

    if not path.is_file():
        raise InputNotFoundError("no such configuration file", where=str(path))
    values, _ = parse_yaml(path.read_text(encoding="utf-8"), str(path))
    if values.keys() <= ScrubConfig.model_fields.keys():
        return load_model(ScrubConfig, path)
    scrub = load_model(RunConfig, path).scrub
    if scrub is None:
        raise ConfigError("the run config has no scrub section", where=str(path), hint="name one that scrubs")
    return scrub


def label_names(mapping: list[str]) -> dict[str, str]:
    """The usual names and the user's own, which win; `LABEL=-` leaves a label out."""
    from steps.scrub.evaluation.labelled import LABEL_NAMES

    names = dict(LABEL_NAMES)
    for item in mapping:
        label, sign, entity = (part.strip() for part in item.partition("="))
        if not (label and sign and entity):
            raise ConfigError(f"'{item}' is not of the form LABEL=ENTITY", where="--map", hint="LABEL=- leaves it out")
        names[label] = entity
    return names


def masked(value: str) -> str:
    """First and last character with three stars between."""
    return f"{value[0]}***{value[-1]}" if len(value) >= _MASKED_FROM else "***"


def told(mistake: "Mistake", show_value: bool) -> dict[str, Any]:
    """A mistake as it is printed."""
    return {
        "entity": mistake.entity,
        "kind": mistake.kind,
        "where": mistake.where,
        "value": mistake.value if show_value else masked(mistake.value),
        "other": mistake.other,
    }


def _sample(mistakes: "tuple[Mistake, ...]", most: int) -> "list[Mistake]":
    """The first `most` of each entity and kind, in the order of both names."""
    taken: list[Mistake] = []
    counts: dict[tuple[str, str], int] = {}
    for mistake in sorted(mistakes, key=lambda m: (m.entity, m.kind)):
        key = (mistake.entity, mistake.kind)
        counts[key] = counts.get(key, 0) + 1
        if counts[key] <= most:
            taken.append(mistake)
    return taken


def as_json(done: "PiiEvaluation", examples: list[dict[str, Any]]) -> dict[str, Any]:
    """Everything for programs."""
    return {
        "texts": done.texts,
        "templates": done.templates,
        "undecided": done.undecided,
        "looked_for": sorted(done.looked_for),
        "overlap": {name: _score_json(s) for name, s in done.overlap.items()},
        "exact": {name: _score_json(s) for name, s in done.exact.items()},
        "covered": done.covered,
        "examples": examples,
    }


def _score_json(scores: "EntityScores") -> dict[str, Any]:
    counts = {"labelled": scores.labelled, "found": scores.found, "right": scores.right}
    estimates = {"precision": scores.precision, "recall": scores.recall, "f1": scores.f1, "f2": scores.f2}
    return counts | {k: e.model_dump() if e else None for k, e in estimates.items()}


COLUMNS = ("entity", "labelled", "found", "right", "precision", "recall", "F1", "F2", "F1 exact", "covered")


def table(done: "PiiEvaluation") -> list[list[str]]:
    """The rows under COLUMNS: entities by name, then the sums."""
    from steps.scrub.evaluation.evaluation import SUMS

    names = [*sorted(done.overlap.keys() - set(SUMS)), *SUMS]
    return [_line(name, done) for name in names if done.overlap[name].labelled or done.overlap[name].found]


def _line(name: str, done: "PiiEvaluation") -> list[str]:
    from steps.scrub.evaluation.evaluation import SUMS

    s = done.overlap[name]
    exact = done.exact[name].f1
    counts = [f"{n:,}" for n in (s.labelled, s.found, s.right)]
    covered = f"{done.covered[name]:.3f}" if name in done.covered else ""
    if name not in done.looked_for and name not in SUMS:
        return [name, *counts, "not looked for", "", "", "", "", covered]
    ranged = [_ranged(e) for e in (s.precision, s.recall, s.f1, s.f2)]
    return [name, *counts, *ranged, f"{exact.value:.3f}" if exact else "", covered]


def _ranged(estimate: Estimate | None) -> str:
    return f"{estimate.value:.3f} ({estimate.low:.2f}-{estimate.high:.2f})" if estimate else ""


def _show(done: "PiiEvaluation", examples: list[dict[str, Any]]) -> None:
    of = f" of {done.templates:,} templates" if done.templates is not None else ""
    heading(f"{done.texts:,} texts{of}; spans match at IoU 0.5 or more; 95 % intervals")
    show_table(COLUMNS, table(done), numeric=range(1, len(COLUMNS)))
    say("covered: share of the labelled characters that some finding covers, whatever its entity")
    if done.undecided:
        say(f"note: a detector failed on {done.undecided:,} texts; they count as searched without a finding")
    if examples:
        show_table(
            ["entity", "mistake", "where", "value", "stands there on the other side"],
            [[e["entity"], e["kind"], e["where"], e["value"], e["other"]] for e in examples],
        )
