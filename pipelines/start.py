"""The first step of every run: what the run reads, as it is at this moment, and what leads back to it.

Nothing that a run needs is known to its launcher alone: a run that a schedule starts in a cluster sees today's bytes.
The step is never taken from the cache. What other steps read of it lies in artifacts of their own, one per reader,
whose content is in the reader's cache key; what decides no number (the commit, what may be reused) is noted with the
run and is in no key.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from zenml.steps import get_step_context

from pipelines.answering import find_answering, find_training, is_scrubbed
from pipelines.champion import find_champion
from pipelines.config import RunConfig
from pipelines.dataset import FoundDataset, declared_sources, digest_of, find_dataset
from pipelines.input_digests import Inputs, further_files, named_files, read_digest, read_inputs
from pipelines.local_sources import bring_sources, places
from pipelines.openlineage.tell import tell_start
from pipelines.registered_models import find_asked_models, find_registered_base
from pipelines.reuse import reusable
from pipelines.slots import paths_of, slot_by_clock, slot_of, slot_text, slotted
from pipelines.stages import READING, STAGES
from pipelines.teachers import require_teachers_fit
from steps.contracts.digests import value_digest
from steps.contracts.provenance import DeclaredSource
from steps.engines.progress.progress import say
from steps.engines.tracking.secrets import without_secret
from steps.scrub.row_codec import search_digest
from steps.zenml_runtime.commit import commit_of
from steps.zenml_runtime.context import (
    DATASET_RUN,
    PATHS,
    REUSE,
    SLOT,
    SOURCES,
    note,
    source_root,
    told_of_slot,
)
from steps.zenml_runtime.inputs import INPUTS, bring, laid_out
from steps.zenml_runtime.outputs import output_class
from steps.zenml_runtime.step import uncached_step
from steps.zenml_runtime.tombstones import known_tombstones
from steps.zenml_runtime.tracker import tracking_uri
from steps.zenml_runtime.urls import is_url

# One artifact per stage that reads something, so that a changed file re-runs its reader and no other stage.
StartOutputs = output_class(
    "StartOutputs",
    {
        **{stage.name: (dict[str, str], f"{stage.name}_inputs") for stage in READING},
        "key_id": (str, "key_id"),
        "search": (str, "search"),
        "dataset": (str, "dataset_version"),
        "champion": (dict[str, str], "champion"),
        "registered_base": (dict[str, str], "registered_base"),
        "asked_models": (dict[str, dict[str, str]], "asked_models"),
        "answering": (dict[str, str], "answering"),
        "scrubbed": (bool, "rows_scrubbed"),
        "sources": (list[dict[str, Any]], "declared_sources"),
    },
)


@dataclass(frozen=True)
class Started:
    """Handles of what the first step found.

    key_id: fingerprint of the pseudonym key and the files that scrub reads; "" when nothing is scrubbed.
    search: what scrub and review look for personal data with; "" when nothing is scrubbed.
    dataset: id of the dataset's artifact version, for fine-tuning alone; "" otherwise.
    champion: the registered version that the candidate is compared with; empty where it isn't, or there is none yet.
    registered_base: the registered model that training starts from; empty where that is none.
    asked_models: the registered models that objectives and the judge ask, by the name that the config gives them.
    answering: the model whose requests are looked at; empty where none are.
    scrubbed: whether personal data is taken from the rows, or was from those of the dataset.
    sources: what is declared of the sources that the rows came from.
    """

    digests: Mapping[str, Any]
    key_id: Any
    search: Any
    dataset: Any
    champion: Any
    registered_base: Any
    asked_models: Any
    answering: Any
    scrubbed: Any
    sources: Any

    def inputs(self, stage: str) -> Any:
        """Digests of what that stage reads."""
        return self.digests[stage]


@uncached_step
def start_step(config: RunConfig, brought: dict[str, dict[str, str]]) -> StartOutputs:  # type: ignore[valid-type]
    """Look at everything that the run reads from outside, and note where the run comes from.

    `brought`: files that the launcher brought to the artifact store, since no step can read them where they are.
    """
    root, given = source_root(), config
    slot = _slot()
    config = slotted(given, slot)
    inputs_of = _inputs_by_stage(config, root, brought)
    roots = {stage: laid_out(names, root) for stage, names in inputs_of.items()}
    inputs = read_inputs(root, config, roots, known_tombstones())
    dataset, sources = _origin(config)
    facts = _facts(root, given, config, inputs, dataset, sources)
    note({**facts, INPUTS: inputs_of, **_of_slot(given, config, slot)})
    tell_start(get_step_context().pipeline_run, config, inputs.digests, dataset.version if dataset else "")
    return _outputs(config, inputs, dataset, sources)  # type: ignore[no-any-return]


def found_out(config: RunConfig, inputs: Inputs) -> Any:
    """What the first step (`StartOutputs`) of a run that reads these inputs would find. ZenML's store must be open."""
    return _outputs(config, inputs, *_origin(config))


def _origin(config: RunConfig) -> tuple[FoundDataset | None, tuple[DeclaredSource, ...]]:
    """The dataset that fine-tuning alone starts from, and what is declared of the sources."""
    dataset = None
    if config.dataset:
        registered = config.answering is not None
        dataset = find_training(config) if registered else find_dataset(config.dataset, config.name)
    return dataset, declared_sources(config, dataset.run if dataset else "")


def _outputs(config: RunConfig, inputs: Inputs, dataset: FoundDataset | None, sources: Sequence[DeclaredSource]) -> Any:
    search = search_digest(config.scrub, inputs.key_id) if config.scrub and inputs.key_id else ""
    digests, said = (inputs.of(s.name) for s in READING), [s.model_dump() for s in sources]
    version, base, asked = dataset.version if dataset else "", find_registered_base(config), find_asked_models(config)
    require_teachers_fit(config, source_root(), base, asked)
    answering = find_answering(config, dataset)
    scrubbed = config.runs("scrub") if config.curates else dataset is not None and is_scrubbed(dataset.run)
    return StartOutputs(
        *digests, inputs.key_id, search, version, find_champion(config), base, asked, answering, scrubbed, said
    )


def _slot() -> datetime | None:
    """The slot that the run stands for. One that a service started from what it recorded finds out by itself."""
    told = told_of_slot()
    if told["slot"]:
        return slot_of(told["slot"])
    times = told["times"]
    return slot_by_clock(times["cron"], times["tz"], told["started"]) if times else None


def _of_slot(given: RunConfig, config: RunConfig, slot: datetime | None) -> dict[str, Any]:
    """What others need to know of it: its time, and the paths in which it was filled in."""
    if slot is None:
        return {}
    before = paths_of(given)
    paths = {name: path for name, path in paths_of(config).items() if path != before[name]}
    return {SLOT: slot_text(slot), **({PATHS: paths} if paths else {})}


def _inputs_by_stage(
    config: RunConfig, root: Path, brought: Mapping[str, dict[str, str]]
) -> dict[str, dict[str, dict[str, str]]]:
    """What steps read from the artifact store by the config's names, URLs included; stages that do so for nothing are
    left out.
    """
    by_stage = {}
    named = {"ingest": places(config), **named_files(config)}
    for stage, names in named.items():
        found = _brought(names, root, brought)
        of = next((s for s in STAGES if s.name == stage and s.further), None)
        if of is not None:
            # The files that are named have to be here before it is known what they name.
            more = further_files(of, getattr(config, of.field), laid_out(found, root) if found else root)
            found = _brought((*names, *more), root, brought)
        if found:
            by_stage[stage] = found
    return by_stage


def _brought(names: Sequence[str], root: Path, brought: Mapping[str, dict[str, str]]) -> dict[str, dict[str, str]]:
    """What these names stand for where one of them is read from the artifact store; else nothing."""
    found = {n: brought[n] if n in brought else bring(n, root) for n in names if n in brought or is_url(n)}
    return {**{n: {} for n in names if (root / n).exists()}, **found} if found else {}


def to_bring(config: RunConfig, root: Path) -> dict[str, dict[str, str]]:
    """Bring the files and folders of this machine that the config names to the active stack's artifact store, small
    sources among them.

    Raises:
        ConfigError: a name can't be the same elsewhere, or a source is too large. InputNotFoundError: a file doesn't
            exist.
    """
    running = [s for s in STAGES if config.runs(s.name)]
    models = {name for s in running for name in s.models_of(getattr(config, s.field))}
    named = [n for names in named_files(config).values() for n in names]
    named += [n for s in running for n in further_files(s, getattr(config, s.field), root)]
    names = {n for n in named if not is_url(n)}
    files = {n: bring(n, root) for n in sorted(names) if n not in models or (root / n).is_dir()}
    return {**files, **bring_sources(config, root)}


def started(config: RunConfig, brought: dict[str, dict[str, str]]) -> Started:
    """The first step of a pipeline."""
    found: Any = start_step(config, brought)
    digests = {s.name: getattr(found, s.name) for s in READING}
    return Started(
        digests, found.key_id, found.search, found.dataset, found.champion, found.registered_base, found.asked_models,
        found.answering, found.scrubbed, found.sources,
    )  # fmt: skip


def _facts(
    root: Path,
    given: RunConfig,
    config: RunConfig,
    inputs: Inputs,
    dataset: FoundDataset | None,
    sources: Sequence[DeclaredSource],
) -> dict[str, Any]:
    return {
        "config_name": config.name,
        "config_digest": value_digest(given.model_dump(mode="json")),
        "sources_digest": value_digest(inputs.of("ingest")),
        "read_digest": read_digest(config, inputs, digest_of(dataset.version) if dataset else ""),
        "commit": commit_of(root) or "",
        "tracking_uri": without_secret(tracking_uri() or ""),
        "dataset": dataset.version if dataset else "",
        DATASET_RUN: dataset.run if dataset else "",
        SOURCES: [s.model_dump() for s in sources],
        REUSE: _reuse(config),
    }


def _reuse(config: RunConfig) -> dict[str, str]:
    """Ids of the artifact versions that this run builds on, by artifact name; says which run they are of."""
    if config.reuse is None or not config.curates:
        return {}
    found = reusable(config, config.reuse)
    say(f"reuse: builds on run {found.run}" if found else f"reuse: no completed run of {config.name} yet")
    return found.artifacts if found else {}
