"""Which models were trained on rows: themselves, or in a phase that their training started from."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from materializers.artifacts import stage_of
from ops.lineage.shards import Place, RowSet, VersionRows, joined, row_set
from ops.lineage.ways import Lineage, takes
from ops.registered_names import registries, version_name
from steps.contracts.dataset import NO_SPLIT
from steps.contracts.errors import AssayError, InputNotFoundError
from steps.contracts.models import ModelInfo
from steps.contracts.records import SPLITS
from steps.contracts.runs import ArtifactRecord, RunRecord
from steps.train.phase_rows import PhaseRows


@dataclass(frozen=True)
class Seen:
    """A trained model that saw rows; `sure` is False when that can't be known: its dataset is gone, or can't be read.

    Attributes:
        model: the model's digest, "" where its run's store can't be reached.
        registered: every version that has these weights, "" where there is none.
        run: that trained it first.
        rows: how many of them it was trained on itself; 0 where only what it started from was.
    """

    model: str
    registered: str
    run: str
    sure: bool
    rows: int = 0


def models_that_saw(lineage: Lineage, rows: RowSet) -> list[Seen]:
    """Every model of every run that was trained on any of these rows, oldest first; models of which that can't be known
    as well.
    """
    names, known = _names(lineage), registries(lineage.catalogue.runs)
    # By digest of the model, how many of the rows it saw with what it started from; None: not known.
    saw: dict[str, int | None] = {}
    found: dict[str, Seen] = {}
    for run in reversed(lineage.catalogue.runs):
        for artifact, info in _models(lineage, run):
            if info is None:
                # What can't be read now is no answer, and no reason to withhold the others'.
                registered = run.registration
                known_as = version_name(registered, known) if registered else ""
                found.setdefault(artifact.uri, Seen("", known_as, run.name, False))
            elif info.digest not in saw:
                own = _trained_on(lineage, run, artifact, info, rows)
                before = [saw[a.digest] for a in info.started_from if a.digest in saw]
                sure = bool(own) or any(before)
                saw[info.digest] = 1 if sure else None if None in (own, *before) else 0
                if saw[info.digest] != 0:
                    known_as = ", ".join(dict.fromkeys(names.get(info.digest, ())))
                    found[info.digest] = Seen(info.digest, known_as, run.name, sure, own or 0)
    return list(found.values())


def _names(lineage: Lineage) -> dict[str, list[str]]:
    """The registered versions, by the digest of their weights."""
    names: dict[str, list[str]] = {}
    known = registries(lineage.catalogue.runs)
    for run in reversed(lineage.catalogue.runs):
        if (registered := run.registration) is not None:
            weights = registered.tags.get("weights_digest", "")
            names.setdefault(weights, []).append(version_name(registered, known))
    return names


def _models(lineage: Lineage, run: RunRecord) -> Iterator[tuple[ArtifactRecord, ModelInfo | None]]:
    """The trained models of a run; None where what they are can't be read."""
    for artifact in run.of_type("model"):
        try:
            info = lineage.catalogue.store(run).model(artifact)
        except InputNotFoundError as e:
            # Removed since: there is nothing left that could have seen a row, but its copies may be.
            lineage.catalogue.miss(e, artifact.uri)
            continue
        except AssayError as e:
            lineage.catalogue.miss(e, artifact.uri)
            yield artifact, None
            continue
        if info.dataset_digest:
            yield artifact, info


def _trained_on(
    lineage: Lineage, run: RunRecord, artifact: ArtifactRecord, info: ModelInfo, rows: RowSet
) -> int | None:
    """How many of these rows the phase that made a model was trained on; None where that can't be known."""
    made = lineage.catalogue.versions.get(info.dataset_digest or "")
    version = lineage.version(made[1]) if made else None
    if version is None:
        return None
    phases = lineage.phase_rows(run)
    if phases is None:
        # Which rows of the version it took stands in the config, and that isn't known.
        return None if version.count(rows) else 0
    phase = phases.get(stage_of(artifact), PhaseRows())
    taken = _taken(lineage, version, phase, rows)
    total = sum(map(len, taken.values()))
    total -= sum(_common(taken, _refused(lineage, run, artifact)).values()) if total else 0
    whole = all(entry.sha256 in lineage.shards.files for entry in version.manifest.shards)
    return total if total or whole else None


def _taken(lineage: Lineage, version: VersionRows, phase: PhaseRows, rows: RowSet) -> RowSet:
    """Those of these rows in a version that a phase takes."""
    codes = [SPLITS.index(phase.split), *([NO_SPLIT] if phase.split == "train" else [])]
    inside = {sha: here[np.isin(split, codes)] for sha, here, split in version.among(rows)}
    if phase.all:
        return inside
    places = [Place(sha, int(n)) for sha, here in inside.items() for n in here]
    stored = lineage.shards.rows(places)
    return row_set([p for p, row in stored.items() if takes(phase, row, phase.split)])


def _refused(lineage: Lineage, run: RunRecord, artifact: ArtifactRecord) -> RowSet:
    """The rows that a phase of training took out again, wherever they stand."""
    ledgers = [a.uri for a in run.of_type("ledger") if a.step == artifact.step]
    ended = {i for uri in ledgers for i in lineage.ledgers.ended(uri)}
    return joined(*(row_set(places) for places in lineage.shards.with_ids(ended).values()))


def _common(one: RowSet, other: RowSet) -> dict[str, int]:
    return {sha: len(np.intersect1d(rows, other[sha])) for sha, rows in one.items() if sha in other}
