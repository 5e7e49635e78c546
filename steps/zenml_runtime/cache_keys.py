"""What ZenML's cache keys are made of: of steps that ran, as its store has it, and of those that a run would have."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from types import SimpleNamespace
from typing import Any

from zenml.client import Client
from zenml.config.step_configurations import Step
from zenml.materializers.materializer_registry import materializer_registry
from zenml.orchestrators import cache_utils
from zenml.orchestrators.utils import is_setting_enabled
from zenml.utils import source_utils, string_utils

from steps.zenml_runtime.step import KEY_PARTS, CacheKey

# In the place of an output that isn't known before a run.
UNKNOWN = "?"


@dataclass(frozen=True)
class KeyParts:
    """What a step's cache key is made of.

    Attributes:
        settings: its parameters, by name.
        inputs: content digest (or id, where it has none) of what it reads, by name; UNKNOWN: made by a step that runs.
        code: beginning of the digest of each module and data file of ours; None in runs of older versions.
        libraries: versions; None likewise.
        store: where artifacts lie.
    """

    settings: Mapping[str, Any]
    inputs: Mapping[str, str]
    code: Mapping[str, str] | None
    libraries: Mapping[str, str] | None
    store: str


@dataclass(frozen=True)
class StepOfRun:
    """One step of a run.

    Attributes:
        status: ZenML's word.
        taken_from: name of the run that it was taken from; "" where it ran itself.
        cached: whether it could be taken from the cache at all.
        makers: which step makes each input.
    """

    run: str
    name: str
    status: str
    taken_from: str
    cached: bool
    parts: KeyParts
    makers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class PlannedStep:
    """One step of a run that hasn't begun.

    Attributes:
        taken_from: name of the run that it would be taken from; "" where it would run, None where that depends on what
            a step before it gives.
    """

    name: str
    taken_from: str | None
    cached: bool
    parts: KeyParts
    makers: Mapping[str, str]


@lru_cache(maxsize=64)
def steps_of(run_id: str) -> dict[str, StepOfRun] | None:
    """The steps of a run that has ended, by name; None when ZenML's store doesn't have it. Read once per process."""
    found = Client().list_pipeline_runs(id=run_id, size=1, hydrate=True).items
    if not found:
        return None
    run = Client().get_pipeline_run(found[0].id)
    store = _store_of(run)
    return {name: _step_of(run, step, store) for name, step in run.steps.items()}


def _step_of(run: Any, step: Any, store: str) -> StepOfRun:
    original = step
    if step.original_step_run_id is not None:
        original = Client().get_run_step(step.original_step_run_id, hydrate=True)
    noted = original.run_metadata.get(KEY_PARTS) or {}
    inputs = {name: _digests(versions) for name, versions in step.inputs.items()}
    made_in = Client().get_pipeline_run(original.pipeline_run_id).name if original is not step else ""
    parts = KeyParts(dict(step.config.parameters), inputs, noted.get("code"), noted.get("libraries"), store)
    cached = _may_be_cached(step.config)
    return StepOfRun(run.name, step.name, step.status.value, made_in, cached, parts, _makers(step.spec))


def _makers(spec: Any) -> dict[str, str]:
    """The steps that make each input, by its name."""
    return {name: ", ".join(dict.fromkeys(i.step_name for i in of)) for name, of in spec.normalized_inputs.items()}


def _digests(versions: Any) -> str:
    return " ".join(str(v.content_hash or v.id) for v in versions)


def _may_be_cached(config: Any, on_pipeline: bool | None = None) -> bool:
    return bool(is_setting_enabled(is_enabled_on_step=config.enable_cache, is_enabled_on_pipeline=on_pipeline))


def _store_of(run: Any) -> str:
    components = run.stack.components if run.stack else {}
    stores = next((of for kind, of in components.items() if kind.value == "artifact_store"), ())
    return next((f"{s.id} {s.configuration.get('path')}" for s in stores), "")


def planned(pipeline: Any, arguments: Mapping[str, Any], first: str, found: Mapping[str, Any]) -> Iterator[PlannedStep]:
    """The steps of a pipeline on the active stack, in order, as its next run would have them.

    `first`: the step that is never cached, and `found` what it would give now, by the name of the artifact.
    """
    pipeline.prepare(**arguments)
    options = {name: value for name, value in pipeline._run_args.items() if name != "execution_mode"}
    snapshot, _, _ = pipeline._compile(**options)
    store = Client().active_stack.artifact_store
    # By step and output what is given, as ZenML sees inputs.
    given: dict[tuple[str, str], Any] = {(first, name): _value(value) for name, value in found.items()}
    for name, compiled in snapshot.step_configurations.items():
        # As it comes back from ZenML's store: the key is made of how values print, and a tuple has become a list.
        step = Step.model_validate_json(compiled.model_dump_json())
        inputs = {
            key: [given.get((i.step_name, _output_name(snapshot, i)), _unknown()) for i in several]
            for key, several in step.spec.normalized_inputs.items()
        }
        may = _may_be_cached(step.config, snapshot.pipeline_configuration.enable_cache)
        depends = may and _any_unknown(inputs)
        earlier = _cached(step, inputs) if may and not depends else None
        if earlier is not None:
            given |= {(name, output): _input(of[0].content_hash, of[0].id) for output, of in earlier.outputs.items()}
        digests = {key: _digests(several) for key, several in inputs.items()}
        parts = KeyParts(dict(step.config.parameters), digests, *_code_of(step), f"{store.id} {store.path}")
        run = "" if earlier is None else Client().get_pipeline_run(earlier.pipeline_run_id).name
        yield PlannedStep(name, None if depends else run, may, parts, _makers(step.spec))


def _output_name(snapshot: Any, given: Any) -> str:
    maker = snapshot.step_configurations[given.step_name].config
    return str(string_utils.format_name_template(given.output_name, substitutions=maker.substitutions))


def _value(value: Any) -> Any:
    """A value as an input, with the digest that its materializer gives it."""
    return _input(materializer_registry[type(value)](uri="").compute_content_hash(value))


def _unknown() -> Any:
    return _input(UNKNOWN)


def _input(digest: str | None, version: Any = None) -> Any:
    """What a key needs to know of an input."""
    return SimpleNamespace(content_hash=digest, id=version, chunk_index=None)


def _any_unknown(inputs: Mapping[str, Any]) -> bool:
    return any(v.content_hash == UNKNOWN for versions in inputs.values() for v in versions)


def _cached(step: Step, inputs: Mapping[str, Any]) -> Any:
    """The run of the step that ZenML would take; None: it would run."""
    client = Client()
    key = cache_utils.generate_cache_key(
        step=step,
        input_artifacts=inputs,
        artifact_store=client.active_stack.artifact_store,
        project_id=client.active_project.id,
    )
    return cache_utils.get_cached_step_run(cache_key=key)


def _code_of(step: Step) -> tuple[Mapping[str, str] | None, Mapping[str, str] | None]:
    """Code and libraries in a step's key; None each where it has no key of ours."""
    named = step.config.cache_policy.cache_func
    made = source_utils.load(named)() if named else None
    return (made.parts["code"], made.parts["libraries"]) if isinstance(made, CacheKey) else (None, None)
