"""What would stop a run, or make it do less than its config says, found before it starts: nothing is run or written.

A config that is right by itself may name files, variables, runs or metrics that aren't there. Sources are looked at by
their first rows; hub data sets and models, and URLs, aren't asked.
"""

import difflib
import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path

from ops.export.before import unmakeable
from ops.fitting import base_folder, require_teacher_fits, require_weights_fit, values_of
from ops.infra import InfraConfig
from ops.run_index import LATEST, artifacts_of, known_runs
from ops.stacks.checks import joining, misfits
from ops.stacks.files import StackFile, missing_variables, runs_elsewhere
from ops.suites.before import faults, unmeasured
from ops.trained_rows import Supply, after_making, becoming, looked_at, refused, starved, supplied
from ops.training_plan.held_out import held_out_rows, power, worth_knowing
from ops.training_plan.rows import of_sources
from ops.versions import trained_on
from pipelines.config import RunConfig
from pipelines.load import load_model, read
from pipelines.mistakes import examine, related
from pipelines.report.sections import load_section
from pipelines.slots import with_slot
from pipelines.stages import STAGES
from pipelines.step_names import step_names
from steps.contracts.errors import AssayError, ConfigError, InputError, InputNotFoundError, MissingDependencyError
from steps.contracts.records import Row
from steps.engines.completions.config import EngineConfig
from steps.engines.graders.degeneration import NAMES as DEGENERATION
from steps.engines.graders.graders import GRADERS
from steps.engines.llm.endpoint import Connection
from steps.engines.lm.context import context_length
from steps.engines.lm.quantized import HOW_TO_GET_IT, has_bitsandbytes
from steps.engines.lm.references import local_folder
from steps.engines.scoring.metrics import (
    ANSWERED_UNANSWERABLE,
    DEGENERATE_CONTINUATION,
    LOSS,
    NON_FINITE,
    PERPLEXITY,
    PREFERENCE_ACCURACY,
)
from steps.engines.template.effective import settings_of
from steps.engines.yaml_lines.parse import KeyPath
from steps.engines.yardsticks.enough import few_for_all
from steps.ingest.config import IngestConfig, SourceConfig
from steps.ingest.documents import DOCUMENTS
from steps.ingest.peek import Peek, peek
from steps.logs.files import find_files
from steps.scrub.config import ScrubConfig
from steps.scrub.coverage import HOW_TO_GET_A_MODEL, uncovered
from steps.train.config import TrainConfig
from steps.train.objectives.registry import objective_of
from steps.train.plan import make_plan, names_machine, require_shared, require_zero
from steps.train.ranks.config import Ranks, Zero
from steps.train.rewards import imported
from steps.zenml_runtime.urls import is_url

# Chosen: of a folder of ten thousand files, so many show what kind of rows it holds.
_MOST_FILES = 20
# Chosen: of a longer file it is enough to know that it is long.
_COUNTED = 1_000


@dataclass(frozen=True)
class Finding:
    """One thing found. `stops`: the run would end with an error; otherwise it is worth knowing.

    `rests_on`: top-level keys that it was read from besides its place.
    """

    place: KeyPath
    what: str
    stops: bool = True
    rests_on: tuple[str, ...] = ()
    error: type[AssayError] = ConfigError


def checked(
    root: Path,
    path: Path,
    overrides: Sequence[str] = (),
    stack: Path | None = None,
    slot: datetime | None = None,
    infra: InfraConfig | None = None,
) -> tuple[RunConfig, list[str]]:
    """The config, and what is worth knowing before it runs. `slot`: what paths of sources may hold. `stack`, `infra`:
    where it would run, as far as known.

    Raises:
        ConfigError, InputError: all that is wrong with it, and all that isn't there, in one error.
    """
    written, unfilled = with_slot(read(path, overrides), slot)
    examined = examine(RunConfig, written.values)
    told = {**{place: list(whys) for place, whys in examined.told.items()}, **unfilled}
    wrong = frozenset(told)
    known = findings(root, examined.right, stack, infra) if examined.right else []
    found = [f for f in known if not _follows(f, wrong)]
    for finding in (f for f in found if f.stops):
        told.setdefault(finding.place, []).append(finding.what)
    if told or examined.right is None:
        kinds = {f.error for f in found if f.stops} if not wrong else {ConfigError}
        error = kinds.pop() if len(kinds) == 1 else ConfigError
        raise error(written.mistakes(told), where=written.where)
    return examined.right, [written.line(f.place, [f.what]) for f in found if not f.stops]


def _follows(finding: Finding, told: Collection[KeyPath]) -> bool:
    return any(related(finding.place, place) or place[:1] in [(r,) for r in finding.rests_on] for place in told)


def findings(
    root: Path, config: RunConfig, stack: Path | None = None, infra: InfraConfig | None = None
) -> list[Finding]:
    """Everything that can be known before a run. `stack`: the file that declares its stack, where that is known."""
    here = stack is None or not runs_elsewhere(stack)
    looked = {s.name: _looked_at(root, s, config.ingest) for s in _sources(config)} if config.ingest else {}
    base = base_folder(root, config)
    parts: list[Iterable[Finding]] = [
        _missing_files(root, config),
        _template(root, config),
        _inputs(config, looked, here),
        _variables(config, stack, infra),
        _place(config, stack, infra),
        _earlier_runs(root, config),
        _rows_of_phases(config),
        _lengths_of_phases(config, base),
        _fit_of_phases(root, config, base),
        _validation_of_phases(config),
        _trained_kinds(root, config, looked, here),
        _few_rows(root, config, looked, here),
        _packages(config, here),
        _machine(config, infra, here),
        _asked(root, config, here),
        (Finding(*found) for found in unmakeable(root, config, base, here)),
        _production(root, config, here),
        _metrics(root, config),
        (Finding(place, what, error=error) for place, what, error in faults(root, config, here)),
        _power(root, config),
        _sections(config),
        _names_of_people(config),
    ]
    return [finding for part in parts for finding in part]


def _sources(config: RunConfig) -> tuple[SourceConfig, ...]:
    return config.ingest.sources if config.ingest is not None and config.curates else ()


def _looked_at(root: Path, source: SourceConfig, config: IngestConfig | None) -> list[Peek] | AssayError:
    if config is None or source.hub is not None or is_url(source.path or ""):
        return []
    try:
        return list(islice(peek(source, config, root), _MOST_FILES))
    except AssayError as e:
        return e


def _missing_files(root: Path, config: RunConfig) -> Iterator[Finding]:
    for stage in (s for s in STAGES if config.runs(s.name)):
        for name in stage.files(getattr(config, stage.field)):
            if not is_url(name) and not (root / name).is_file():
                what = f"no such file: {name}{_near(root / name)} (paths start from {root})"
                yield Finding((stage.field,), what, error=InputNotFoundError)
        for name in stage.documents(getattr(config, stage.field)):
            if not is_url(name) and not (root / name).exists():
                what = f"no such file or folder: {name}{_near(root / name)} (paths start from {root})"
                yield Finding((stage.field,), what, error=InputNotFoundError)
    named: list[tuple[KeyPath, str]] = []
    if config.base is not None and config.tunes and not (config.base.registered or config.base.is_built):
        named.append((("base", "model"), config.base.model))
    judge = config.judge.local if config.curates and config.runs("judge") else None
    if judge is not None and not config.judge.registered:
        named.append((("judge", "local", "model"), judge.model))
    for place, name in named:
        if what := _no_folder(root, name):
            yield Finding(place, what, error=InputNotFoundError)


def _no_folder(root: Path, name: str) -> str:
    """Why a model's name means a folder that isn't there; "": it doesn't."""
    try:
        local_folder(name, root)
    except InputNotFoundError as e:
        return f"no such folder: {name}{_near(root / name)} ({e.where}; {e.hint})"
    return ""


def _template(root: Path, config: RunConfig) -> Iterator[Finding]:
    """Whether the file that is named as template is there, and one."""
    name = config.template.override
    if name is None or not config.tunes or is_url(name):
        return
    place = ("template", "override")
    if not (root / name).is_file():
        what = f"no such file: {name}{_near(root / name)} (paths start from {root})"
        yield Finding(place, what, error=InputNotFoundError)
        return
    try:
        settings_of(config.template, root)
    except AssayError as e:
        yield Finding(place, f"{name}: {e.what}; {e.hint}", error=type(e))


def _near(path: Path) -> str:
    names = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
    near = difflib.get_close_matches(path.name, names, n=1)
    return f"; did you mean {near[0]}?" if near else ""


def _inputs(config: RunConfig, looked: Mapping[str, list[Peek] | AssayError], here: bool) -> Iterator[Finding]:
    """`here`: steps run on this machine; otherwise sources may lie where only they can read them."""
    for i, source in enumerate(_sources(config)):
        place = ("ingest", "sources", i)
        found = looked[source.name]
        if isinstance(found, AssayError):
            where = f" ({found.where})" if found.where else ""
            what = f"{found.what}{where}{f'; {found.hint}' if found.hint else ''}"
            yield Finding(place, what, here, error=type(found))
            continue
        # Where other files can be read, max_reject_share says what one that can't be means.
        hopeless = not any(file.rows for file in found)
        for file in found:
            rejected = sum(file.rejected.values())
            if file.format is None:
                yield Finding(place, f"{file.path}: {file.why}; see `columns` and `format`", error=InputError)
            elif hopeless and file.read and rejected and file.container not in DOCUMENTS:
                why = ", ".join(f"{reason} {n}" for reason, n in file.rejected.most_common(3))
                what = f"{file.path}: none of the first {file.read} rows can be read: {why}"
                yield Finding(place, what, error=InputError)


def _variables(config: RunConfig, stack: Path | None, infra: InfraConfig | None) -> Iterator[Finding]:
    given = infra.variables() if infra is not None else frozenset()
    # What ZenML's secrets hold is known to the steps that get them.
    stops = infra is None or not infra.has_secrets()
    if config.scrub is not None and config.runs("scrub") and config.scrub.key_env not in given:
        from steps.scrub.pseudonyms.key import read_key

        try:
            read_key(config.scrub)
        except AssayError as e:
            yield Finding(("scrub",), f"{e.what}; {e.hint}", stops)
    for where, endpoint in _endpoints(config):
        key = endpoint.key_env
        if key and key not in given and not os.environ.get(key):
            yield Finding(where, f"the environment variable {key} is not set; export {key}=...", stops)
    for place, phase in _phases(config):
        if phase.hub_model_id is not None and not {"HF_TOKEN"} & (given | os.environ.keys()):
            yield Finding(
                (*place, "hub_model_id"), "the environment variable HF_TOKEN is not set: a token that may write", stops
            )
    for name in missing_variables(stack, os.environ) if stack is not None else ():
        yield Finding((), f"the stack needs the environment variable {name} ({stack}); export {name}=...")


def _endpoints(config: RunConfig) -> Iterator[tuple[KeyPath, Connection]]:
    """Models that curation and grading ask, and where the config names them."""
    judge, synthesize, augment, prefer = config.judge, config.synthesize, config.augment, config.prefer
    jurors = judge.jury.others if judge.jury is not None else ()
    for stage, place, named in (
        ("judge", ("endpoint",), judge.endpoint),
        *(("judge", ("jury", "others", n, "endpoint"), juror.endpoint) for n, juror in enumerate(jurors)),
        ("synthesize", ("endpoint",), synthesize and synthesize.endpoint),
        ("synthesize", ("checker", "endpoint"), synthesize and synthesize.checker and synthesize.checker.endpoint),
        ("augment", ("endpoint",), augment and augment.endpoint),
        ("augment", ("teacher", "endpoint"), augment and augment.teacher and augment.teacher.endpoint),
        ("prefer", ("model", "endpoint"), prefer and prefer.model and prefer.model.endpoint),
        ("evaluate", ("judge", "endpoint"), config.evaluate.judge and config.evaluate.judge.endpoint),
        ("prefer", ("judge", "endpoint"), prefer and prefer.judge and prefer.judge.endpoint),
    ):
        if isinstance(named, Connection) and config.runs(stage):
            yield (stage, *place), named


def _place(config: RunConfig, stack: Path | None, infra: InfraConfig | None) -> Iterator[Finding]:
    """What the infra file asks for and the stack doesn't have."""
    if stack is None or infra is None:
        return
    steps = step_names(config)
    for misfit in (*misfits(infra, load_model(StackFile, stack), steps, os.environ), *joining(infra, steps)):
        yield Finding((), infra.said_of(misfit.place, misfit.what), misfit.stops)


def _packages(config: RunConfig, here: bool) -> Iterator[Finding]:
    """Extras that phases of training and engines need; of another machine nothing is known."""
    for place, phase in _phases(config):
        if phase.wants_bitsandbytes and here and not has_bitsandbytes():
            what = f"{phase.wants_bitsandbytes} needs bitsandbytes, which isn't installed: {HOW_TO_GET_IT}"
            yield Finding((*place, "optim"), what)
    evaluate = config.evaluate
    engines: list[tuple[KeyPath, EngineConfig | None]] = [(("engine",), evaluate.engine)]
    engines += [(("subjects", n, "engine"), s.engine) for n, s in enumerate(evaluate.subjects)]
    for at, engine in engines if here and config.evaluates else ():
        if engine is not None and (missing := _missing_exporter(engine)) is not None:
            yield Finding(("evaluate", *at), f"{missing.what}; {missing.hint}", error=type(missing))


def _missing_exporter(engine: EngineConfig) -> AssayError | None:
    from steps.engines.exports.gguf.gguf_format import require_convertible

    try:
        require_convertible(engine.dtype, None, ())
    except AssayError as e:
        return e
    return None


def _machine(config: RunConfig, infra: InfraConfig | None, here: bool) -> Iterator[Finding]:
    """Batches and weights that the processes of the infra file can't share; devices and kernels that aren't here."""
    for place, phase in _phases(config):
        ranks = infra.of(f"{phase.stage}_step").training if infra is not None else None
        try:
            require_shared(phase, ranks or Ranks(), ".".join(map(str, place)))
            if here:
                require_zero(ranks or Ranks())
            # Without bitsandbytes that alone is told.
            if here and names_machine(phase) and not phase.wants_bitsandbytes:
                make_plan(phase, 0, ranks)
        except (ConfigError, MissingDependencyError) as e:
            yield Finding(place, f"{e.what}; {e.hint}", error=type(e))
        for what in _idle_ranks(ranks or Ranks()):
            yield Finding(place, what, stops=False)


def _idle_ranks(ranks: Ranks) -> Iterator[str]:
    """What the infra file says of processes and has no effect, in words."""
    if ranks.strategy == "fsdp2" and ranks.world == 1:
        yield "training.strategy fsdp2 of the infra file shares nothing: one process trains (training.processes)"
    if ranks.strategy == "deepspeed" and ranks.world == 1 and (ranks.zero or Zero()).offload == "none":
        yield "training.strategy deepspeed of the infra file shares nothing: one process trains, without zero.offload"
    fields = Ranks.model_fields
    named = [n for n in ("address", "join_seconds") if getattr(ranks, n) != fields[n].default and ranks.nodes == 1]
    if named:
        yield f"training.{' and '.join(named)} of the infra file say nothing: one machine trains (training.nodes)"


def _asked(root: Path, config: RunConfig, here: bool) -> Iterator[Finding]:
    """Reward functions that can't be imported; folders of reward models and teachers that aren't there."""
    for place, phase in _phases(config):
        objective, at = objective_of(phase.objective), (*place, "objective")
        for function in objective.functions():
            try:
                imported(function)
            except AssayError as e:
                yield Finding(at, f"{e.what}; {e.hint}", error=type(e))
        for source in objective.asks():
            name = source.model or ""
            if name and not source.registered and (what := _no_folder(root, name)):
                yield Finding(at, what, here, error=InputNotFoundError)


def _earlier_runs(root: Path, config: RunConfig) -> Iterator[Finding]:
    if config.reuse not in (None, LATEST) and config.curates:
        known = [r.name for r in known_runs(root)]
        if config.reuse not in known:
            near = difflib.get_close_matches(config.reuse or "", known, n=1)
            meant = f"; did you mean {near[0]}?" if near else "; `assay runs --sync` looks for runs in ZenML's store"
            yield Finding(("reuse",), f"no run {config.reuse!r}{meant}", error=InputNotFoundError)
    if config.dataset is not None:
        try:
            trained_on(root, config.dataset, config.name)
        except AssayError as e:
            yield Finding(("dataset",), f"{e.what}{f'; {e.hint}' if e.hint else ''}", error=type(e))


def _rows_of_phases(config: RunConfig) -> Iterator[Finding]:
    names = [s.name for s in _sources(config)]
    for place, phase in _phases(config):
        for i, name in enumerate(phase.rows.sources if names else ()):
            if name not in names:
                what = f"no source {name!r}; ingest has {', '.join(names)}"
                yield Finding((*place, "rows", "sources", i), what, rests_on=("ingest",))
        taken = phase.rows.sources or names
        for name in phase.rows.mixture if names else ():
            if name not in taken:
                what = f"no source {name!r} among those that the phase takes: {', '.join(taken)}"
                yield Finding((*place, "rows", "mixture", name), what, rests_on=("ingest",))


def _lengths_of_phases(config: RunConfig, base: Path | None) -> Iterator[Finding]:
    """Phases whose rows may be longer than a base can look at that is described on this machine."""
    context = context_length(values_of(base)) if base is not None else None
    for place, phase in _phases(config):
        if context is not None and phase.max_length > context:
            what = f"max_length is {phase.max_length} tokens, the model's context is {context}"
            yield Finding((*place, "max_length"), what, rests_on=("base",))


def _fit_of_phases(root: Path, config: RunConfig, base: Path | None) -> Iterator[Finding]:
    """Layers, ranks and patterns that a base has no place for; teachers that read other tokens."""
    for place, phase in _phases(config):
        at = "weights"
        try:
            if base is not None:
                require_weights_fit(values_of(base), phase, base)
            at = "objective"
            require_teacher_fits(root, config, phase, base)
        except ConfigError as e:
            yield Finding((*place, at), f"{e.what}; {e.hint}" if e.hint else e.what, rests_on=("base",))


def _validation_of_phases(config: RunConfig) -> Iterator[Finding]:
    """Validation losses on the way that no row is there for, or that come after the last step."""
    none = config.curates and config.split is not None and config.split.validation == 0
    for place, phase in _phases(config):
        if phase.eval_steps is not None and none:
            what = f"eval_steps is {phase.eval_steps}, but split.validation is 0: there are no validation rows"
            yield Finding((*place, "eval_steps"), what, rests_on=("split",))
        elif phase.eval_steps is not None and phase.max_steps is not None and phase.eval_steps > phase.max_steps:
            named = phase.needs_validation()
            besides = f", so that {' and '.join(named)} {'do' if len(named) > 1 else 'does'} nothing" if named else ""
            what = f"no validation loss is measured on the way: max_steps is {phase.max_steps}{besides}"
            yield Finding((*place, "eval_steps"), what, stops=False)


def _phases(config: RunConfig) -> Iterator[tuple[KeyPath, TrainConfig]]:
    listed = isinstance(config.train, tuple)
    for i, phase in enumerate(config.phases):
        yield (("train", i) if listed else ("train",)), phase


def _trained_kinds(
    root: Path, config: RunConfig, looked: Mapping[str, list[Peek] | AssayError], here: bool
) -> Iterator[Finding]:
    """Sources, or kinds of rows of theirs, that no phase trains on; phases that would be left without a row."""
    if not config.tunes:
        return
    looked_into = [looked_at(s.name, _first_rows(looked[s.name])) for s in _sources(config)]
    idle, trained = list(_idle(config, looked_into)), False
    supplies = [after_making(config, supply) for supply in looked_into]
    supplies = supplies or (_of_version(root, config) if here else [])
    for supply in supplies:
        trained = trained or not supply.rows or any(not refused(config.phases, supply, k) for k in supply.kinds)
    stops = bool(idle) and not trained
    yield from (Finding(f.place, f.what, stops, f.rests_on) for f in idle)
    if stops:
        return
    for place, phase in _phases(config):
        if why := starved(phase, supplies):
            yield Finding(
                place, f"{phase.model_name} would have nothing to train on: {why}", rests_on=("ingest", "dataset")
            )


def _few_rows(
    root: Path, config: RunConfig, looked: Mapping[str, list[Peek] | AssayError], here: bool
) -> Iterator[Finding]:
    """Phases with fewer rows than anything takes, as far as the rows are known here: those of a few files at most."""
    files = [found for found in looked.values() if not isinstance(found, AssayError)]
    if not config.tunes or not here or len(files) < len(looked) or any(len(f) >= _MOST_FILES for f in files):
        return
    version = [] if looked else _of_version(root, config)
    for place, phase in _phases(config):
        if looked:
            rows, _, _ = of_sources(root, config, phase, _COUNTED)
        else:
            taken = [s.kinds[kind] for s in version for kind in s.kinds if s.reaches(phase, kind)]
            rows = sum(taken) if version else None
        if rows is not None and (said := few_for_all(phase.objective.kind, rows)):
            yield Finding((*place, "rows"), said, stops=False, rests_on=("ingest", "dataset"))


def _idle(config: RunConfig, supplies: Sequence[Supply]) -> Iterator[Finding]:
    for i, supply in enumerate(supplies if _sources(config) else ()):
        there = after_making(config, supply)
        for kind, count in supply.kinds.items():
            whys = [refused(config.phases, there, k) for k in becoming(config, kind)]
            if all(whys):
                every = len(supply.kinds) == 1
                share = "its rows are" if every else f"{count} of its first {supply.kinds.total()} rows are"
                what = f"{share} {kind}s, which no phase of training reads: {whys[0]}"
                yield Finding(("ingest", "sources", i), what, stops=False, rests_on=("train",))


def _first_rows(found: list[Peek] | AssayError) -> Iterator[Row]:
    return iter(()) if isinstance(found, AssayError) else (row for file in found for row in file.rows)


def _of_version(root: Path, config: RunConfig) -> list[Supply]:
    """What the version holds that is trained on, where its files are on this machine."""
    if config.dataset is None:
        return []
    try:
        version = trained_on(root, config.dataset, config.name)
        if is_url(version.run.artifact_store):
            return []
        return supplied(artifacts_of(root, version.run).dataset(version.artifact, verified=False))
    except AssayError:  # told at its key
        return []


def _production(root: Path, config: RunConfig, here: bool) -> Iterator[Finding]:
    """Logs that aren't there, and paths that steps elsewhere would look for on a machine of their own."""
    if not config.monitors or config.logs is None:
        return
    paths = enumerate(config.logs.paths)
    named: list[tuple[KeyPath, str]] = [(("logs", "paths", i), path) for i, path in paths if not is_url(path)]
    for place, path in named if here else ():
        try:
            find_files((path,), root)
        except AssayError as e:
            yield Finding(place, f"{e.what}: {path}; {e.hint}", error=type(e))
    if config.monitor.candidates.folder is not None:
        named.append((("monitor", "candidates", "folder"), config.monitor.candidates.folder))
    for place, path in () if here else named:
        if not Path(path).is_absolute():
            yield Finding(place, f"{path}: steps run elsewhere; name a disk that they have, by its whole path")


def _metrics(root: Path, config: RunConfig) -> Iterator[Finding]:
    if not config.evaluates:
        return
    gate, controls = config.gate, {c.name: c.kind for c in config.evaluate.controls}
    candidate = next((p for p in config.phases if p.model_name == config.candidate), None)
    rewards = candidate is not None and candidate.objective.kind == "reward"
    if rewards and (config.evaluate.metrics == "auto" or PREFERENCE_ACCURACY not in config.evaluate.metrics):
        what = (
            f"{config.candidate} is a reward model: name {PREFERENCE_ACCURACY} here, or its base isn't measured by it"
        )
        yield Finding(("evaluate", "metrics"), what, rests_on=("train",))
    for i, name in enumerate(gate.required_controls if rewards else ()):
        if name in controls:
            what = f"{config.candidate} is a reward model, which no control says anything of; leave {name} out"
            yield Finding(("gate", "required_controls", i), what, rests_on=("train",))
    named: list[tuple[KeyPath, str]] = [(("gate", "metric"), gate.metric)] if gate.metric is not None else []
    named += [(("gate", key, name), name) for key in ("floors", "ceilings") for name in getattr(gate, key)]
    for place, name in named:
        task, _, metric = name.rpartition("/")
        of_suite = unmeasured(task, metric, root, config.evaluate)
        if what := _unmeasured(name, config, controls) if of_suite is None else of_suite:
            yield Finding(place, what, rests_on=("evaluate",))
    for i, control in enumerate(gate.required_controls):
        if control not in controls:
            what = f"no control {control!r}; evaluate.controls has {', '.join(controls) or 'none'}"
            yield Finding(("gate", "required_controls", i), what, rests_on=("evaluate",))


def _power(root: Path, config: RunConfig) -> Iterator[Finding]:
    found = held_out_rows(root, config)
    if found is not None and worth_knowing(found, config):
        yield Finding(("gate",), power(found, config), stops=False, rests_on=("ingest", "split", "dataset"))


_ALWAYS = (LOSS, PERPLEXITY, NON_FINITE, DEGENERATE_CONTINUATION, *DEGENERATION)


def _unmeasured(name: str, config: RunConfig, controls: Mapping[str, str]) -> str:
    task, slash, metric = name.rpartition("/")
    if slash and task not in controls:
        return f"no control {task!r}; evaluate.controls has {', '.join(controls) or 'none'}"
    known = sorted({*_ALWAYS, *GRADERS, PREFERENCE_ACCURACY, *([ANSWERED_UNANSWERABLE] if slash else [])})
    if metric not in known:
        near = difflib.get_close_matches(metric, known, n=1)
        return f"no metric {metric!r}" + (f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(known)}")
    chosen = config.evaluate.metrics
    choosable = config.evaluate.model_fields["metrics"]
    if name == PREFERENCE_ACCURACY and chosen == "auto":
        return f"{name!r} is not measured: name it in evaluate.metrics"
    if not slash and chosen != "auto" and f"'{metric}'" in repr(choosable.annotation) and metric not in (*chosen, LOSS):
        return f"{metric!r} is not measured: evaluate.metrics is {', '.join(chosen)}"
    return ""


def _sections(config: RunConfig) -> Iterator[Finding]:
    for i, path in enumerate(config.report.sections):
        try:
            load_section(path)
        except AssayError as e:
            yield Finding(("report", "sections", i), e.what + (f"; {e.hint}" if e.hint else ""))


def _names_of_people(config: RunConfig) -> Iterator[Finding]:
    if config.scrub is None or not config.runs("scrub"):
        return
    yield from (Finding(("scrub",), note, stops=False) for note in scrub_notes(config.scrub))


def scrub_notes(config: ScrubConfig) -> list[str]:
    """What everybody should know of these settings before their rows are read."""
    notes = []
    if config.demo_key:
        notes.append("the published demo key is used: whoever has it can test which value a pseudonym stands for")
    if missing := uncovered(config):
        notes.append(f"nothing looks for {', '.join(missing)}, so that these stay in the text; {HOW_TO_GET_A_MODEL}")
    return notes
