"""How many rows a phase would train on, and how long they are, told from the first ones."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from ops.versions import Version, newest_completed, trained_on
from pipelines.config import RunConfig
from steps.contracts.dataset import Dataset
from steps.contracts.errors import AssayError
from steps.contracts.records import Row, all_messages, text_of
from steps.ingest.config import SourceConfig
from steps.ingest.ingest import count_rows
from steps.ingest.peek import peek
from steps.train.config import TrainConfig
from steps.train.objectives.registry import objective_of
from steps.zenml_runtime.urls import is_url

# Chosen: rows of a file that are counted, which takes a second or two; so many of its first are looked at as well.
_COUNTED = 50_000
_MOST_FILES = 20
# Chosen: of a dataset version so many rows say how long they are.
_LOOKED_AT = 1_000
# Characters per token of English text in usual vocabularies, and tokens of a template around each message (chosen).
_CHARACTERS, _AROUND = 4, 5


@dataclass(frozen=True)
class Rows:
    """Rows that a phase would train on.

    Attributes:
        count: None: not known.
        lengths: tokens of the rows that were looked at, in their order, each at most max_length: of a preference those
            of the prompt with the longer answer, of a row that the model answers itself those of its prompt, which are
            at most what max_length leaves beside an answer.
        longer: share of these that is longer than that.
        origin: where the count is from, in words.
    """

    count: int | None
    lengths: tuple[int, ...]
    longer: float
    origin: str


def rows_of_phase(root: Path, config: RunConfig, phase: TrainConfig, tokenizer: Any, given: int | None) -> Rows:
    """Told from the dataset version that is trained on, from the newest completed run of the config, or from its
    sources. `tokenizer`: None where there is none here; then tokens are told by characters.
    """
    version = version_known(root, config)
    if version is not None:
        rows, sample, origin = _of_version(version, phase, made_now=config.dataset is not None)
    else:
        rows, sample, origin = of_sources(root, config, phase)
    if given is not None:
        rows, origin = given, "--rows"
    return _measured(rows, sample, origin, phase, tokenizer)


def version_known(root: Path, config: RunConfig) -> Version | None:
    """The dataset that is trained on, or that the newest run of the config made; None: there is none here."""
    try:
        return trained_on(root, config.dataset, config.name) if config.dataset else newest_completed(root, config.name)
    except AssayError:
        return None


def _of_version(version: Version, phase: TrainConfig, *, made_now: bool) -> tuple[int | None, list[Row], str]:
    dataset: Dataset = version.dataset
    split = phase.rows.split if dataset.manifest.splits else None
    looked_at = list(islice(dataset.iter_rows(split), _LOOKED_AT))
    taken = _taken(looked_at, phase)
    whole = dataset.manifest.splits.get(phase.rows.split, 0) if split else dataset.manifest.rows
    rows = round(whole * len(taken) / len(looked_at)) if looked_at else 0
    said = "the dataset" if made_now else "as the newest run of this config left them"
    return rows, taken, f"{said} ({version.run.name})"


def of_sources(
    root: Path, config: RunConfig, phase: TrainConfig, most: int = _COUNTED
) -> tuple[int | None, list[Row], str]:
    """How many rows of its sources a phase would take (None: not known), some of them, and where that is from. `most`:
    rows of a file that are counted.
    """
    making = [name for name in ("synthesize", "augment", "prefer") if config.runs(name)]
    if making:
        return (
            None,
            [],
            f"{making[0]} makes rows of those of the sources, which nobody has counted; name them by --rows",
        )
    total, exact, unknown = 0.0, True, []
    sample: list[Row] = []
    for source in config.ingest.sources if config.ingest is not None else ():
        try:
            found, rows, counted = _of_source(root, config, source, phase, most)
        except AssayError as e:
            unknown.append(f"{source.name}: {e.what}")
            continue
        total, exact, sample = total + found, exact and counted, [*sample, *rows]
    if unknown or config.ingest is None:
        return None, sample, "; ".join(unknown) or "the config reads no sources"
    share = getattr(config.split, phase.rows.split, 1 - config.split.validation - config.split.test)
    about = "" if exact else ", told by the size of files"
    return round(total * share), sample, f"of the sources, before anything is filtered{about}"


def _of_source(
    root: Path, config: RunConfig, source: SourceConfig, phase: TrainConfig, most: int
) -> tuple[float, list[Row], bool]:
    """Rows of a source that the phase takes, some of them, and whether all were counted."""
    if config.ingest is None or source.hub is not None or is_url(source.path or ""):
        raise AssayError("not on this machine, so that its rows aren't known", where=source.name)
    files = list(islice(peek(source, config.ingest, root), _MOST_FILES))
    rows = [row for file in files for row in file.rows]
    read = sum(file.read for file in files)
    taken = _taken([{**row, "source": row["source"]} for row in rows], phase)
    count = count_rows(source, config.ingest, root, most)
    return count.rows * source.sample * len(taken) / max(read, 1), taken, count.exact


def _taken(rows: Sequence[Row], phase: TrainConfig) -> list[Row]:
    objective, chosen = objective_of(phase.objective), phase.rows
    named = [r for r in rows if chosen.take(chosen.split, str(r["source"]).partition("/")[0], r["kind"])]
    return [r for r in named if objective.refusal(r) is None]


def _measured(count: int | None, sample: Sequence[Row], origin: str, phase: TrainConfig, tokenizer: Any) -> Rows:
    answers = objective_of(phase.objective).demand(phase).answers
    room = answers[1] if answers else phase.max_length
    found = [max(_tokens(part, tokenizer) for part in _sequences(row, prompts=bool(answers))) for row in sample]
    longer = sum(n > room for n in found) / max(len(found), 1)
    return Rows(count, tuple(min(n, room) for n in found), longer, origin)


def _sequences(row: Row, *, prompts: bool) -> list[Row]:
    """What of a row stands in one sequence, each as a row of its own. `prompts`: without the answer."""
    if row["kind"] == "document":
        return [row]
    said, answers = row["messages"], [row["chosen"], row["rejected"]] if row["kind"] == "preference" else [[]]
    if prompts:
        if row["kind"] != "preference":
            said = said[: max((i for i, m in enumerate(said) if m["role"] == "assistant"), default=len(said))]
        answers = [[]]
    return [{**row, "messages": [*said, *answer], "chosen": [], "rejected": []} for answer in answers]


def _tokens(row: Row, tokenizer: Any) -> int:
    text, around = text_of(row), _AROUND * len(all_messages(row))
    if tokenizer is None:
        return around + max(1, len(text) // _CHARACTERS)
    return around + len(tokenizer(text, add_special_tokens=False)["input_ids"])
