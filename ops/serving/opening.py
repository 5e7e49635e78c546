"""Models by their names, found and opened in the engine that answers with them."""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from pydantic import ValidationError

from ops.found_models import FoundModel, find_model, find_models
from ops.serving.desk import Answers, Desk
from ops.serving.desks import Desks
from ops.serving.engine_desk import EngineDesk
from ops.serving.gguf import GgufModel, LlamaEngine, described, find_gguf, refuse_layers
from ops.serving.loading import Models, describe
from ops.serving.vllm import VllmEngine, vllm_is_here
from steps.contracts.errors import ConfigError
from steps.engines.lm.decoding import DecodingConfig
from steps.engines.lm.scorer import is_scorer
from steps.engines.subjects.local_model import Inference
from steps.evaluate.config import EvaluateConfig
from steps.evaluate.evaluate import inference

AUTO, LLAMA_CPP, VLLM, TRANSFORMERS = "auto", "llama.cpp", "vllm", "transformers"
ENGINES = (AUTO, LLAMA_CPP, VLLM, TRANSFORMERS)
# Who answers, and what /v1/models lists.
Opened: TypeAlias = tuple[Answers, list[dict[str, Any]]]


@dataclass(frozen=True)
class Served:
    """What is to be served.

    Attributes:
        model, name: as it is named on the command line, and what it is asked by; None: the same.
        adapters: NAME=MODEL, of further models over the same base.
        over: what adapters in folders lie over.
        engine: one of ENGINES.
        overrides: KEY=VALUE of evaluate's settings.
    """

    model: str
    name: str | None = None
    adapters: Sequence[str] = ()
    over: str | None = None
    engine: str = AUTO
    overrides: Sequence[str] = ()


@contextmanager
def opened(root: Path, served: Served) -> Iterator[Opened]:
    """The models, ready to be asked.

    Raises:
        ConfigError: they can't be served so. As `find_model`, `find_gguf`, and what the engine raises.
    """
    if served.engine not in ENGINES:
        raise ConfigError(f"no engine {served.engine!r}", where="--engine", hint="one of " + ", ".join(ENGINES))
    file = find_gguf(served.model)
    if file is not None and served.engine in (AUTO, LLAMA_CPP):
        refuse_layers(served.over, served.adapters)
        with _by_llama_cpp(file, served.name or served.model, served.overrides) as found:
            yield found
        return
    if file is not None or served.engine == LLAMA_CPP:
        what = (
            f"{served.engine} runs no GGUF file here"
            if file is not None
            else "llama.cpp runs GGUF files, and this is none"
        )
        hint = f"assay export {served.model} --to gguf --out FOLDER, then serve FOLDER" if file is None else None
        raise ConfigError(what, where=f"--engine {served.engine}", hint=hint)
    found_models = _found(root, served)
    models = {called: (one.base, one.tuned) for called, one in found_models.items()}
    with opened_models(models, settings_of(found_models, served.overrides), served.engine) as desk:
        yield desk


@contextmanager
def opened_models(models: Mapping[str, Models], settings: Inference, engine_name: str) -> Iterator[Opened]:
    """Models of the same layers by their names, in vLLM or transformers, ready to be asked.

    Raises: as `opened`.
    """
    greedy = settings.decoding == DecodingConfig()
    if engine_name == VLLM and not greedy:
        raise ConfigError("its evaluation decodes as vLLM isn't told to here", where="--engine vllm",
                          hint="--engine transformers")  # fmt: skip
    if engine_name == VLLM or (engine_name == AUTO and greedy and vllm_is_here()):
        with tempfile.TemporaryDirectory(prefix="assay-serve-") as scratch:
            engine = VllmEngine(models, settings, Path(scratch))
            with EngineDesk(engine, engine.writers) as by_vllm:
                yield by_vllm, [{**m, "engine": engine.name} for m in describe(models)]
        return
    with Desk(models, settings) as desk:
        yield desk, describe(models)


@contextmanager
def side_by_side(root: Path, names: Sequence[str], overrides: Sequence[str], over: str | None) -> Iterator[Opened]:
    """Several models, each by its own name: those of the same layers in one memory, and GGUF files in llama.cpp.

    Raises: as `find_models`, `find_gguf`, and what the engines raise; ConfigError: one is a reward model.
    """
    if len(set(names)) < len(names):
        raise ConfigError(f"named twice: {names[0]}")
    files = {name: file for name in names if (file := find_gguf(name)) is not None}
    found = {m.name: m for m in find_models(root, [name for name in names if name not in files], over)}
    _refuse_scorers(found)
    settings = settings_of(found, overrides)
    models = {m.name: (m.base, m.tuned) for m in found.values()}
    with ExitStack() as stack:
        desks: dict[str, Desk | EngineDesk] = {}
        try:
            if models:
                desk = stack.enter_context(Desk(models, settings))
                desks = dict.fromkeys(models, desk)
        except ConfigError:
            if len(models) == 1:
                raise
            desks = {name: stack.enter_context(Desk({name: m}, settings)) for name, m in models.items()}
        listed = {m["id"]: m for m in describe(models)}
        for name, file in files.items():
            desks[name], (listed[name],) = stack.enter_context(_by_llama_cpp(file, name, overrides))
        yield Desks(desks), [listed[name] for name in names]


@contextmanager
def _by_llama_cpp(file: GgufModel, name: str, overrides: Sequence[str]) -> Iterator[tuple[EngineDesk, list[Any]]]:
    with tempfile.TemporaryDirectory(prefix="assay-serve-") as scratch:
        settings = settings_of({}, overrides)
        if settings.decoding != DecodingConfig():
            raise ConfigError("llama.cpp isn't told here to decode so", where="decoding", hint="--engine transformers")
        engine = LlamaEngine(file, settings, Path(scratch))
        with EngineDesk(engine, lambda: {name: engine.writer()}) as desk:
            yield desk, [dict(described(name, file))]


def _found(root: Path, served: Served) -> dict[str, FoundModel]:
    """The models by what they are asked by."""
    found = {served.name or served.model: find_model(root, served.model, served.over)}
    for given in served.adapters:
        called, equals, text = given.partition("=")
        if not equals or not called or not text:
            raise ConfigError(f"{given!r} names no adapter", where="--adapter", hint="--adapter NAME=MODEL")
        if called in found:
            raise ConfigError(f"two models are called {called}", where="--adapter")
        found[called] = find_model(root, text, served.over or served.model)
    _refuse_scorers(found)
    return found


def _refuse_scorers(found: Mapping[str, FoundModel]) -> None:
    for called, one in found.items():
        if is_scorer(one.model):
            raise ConfigError("a reward model says a number of an answer, and gives none", where=called)


def settings_of(models: Mapping[str, FoundModel], overrides: Sequence[str]) -> Inference:
    """How models are run, by `evaluate_settings`."""
    return inference(evaluate_settings(models, overrides))


def evaluate_settings(models: Mapping[str, FoundModel], overrides: Sequence[str]) -> EvaluateConfig:
    """Those of the run that made the first of the models, but for `overrides`.

    Raises:
        ConfigError: a setting that there isn't.
    """
    from ops.reading import from_overrides

    run = next((m.run for m in models.values() if m.run is not None), None)
    values = run.config.get("evaluate") if run is not None else None
    try:
        start = EvaluateConfig.model_validate(values or {})
    except ValidationError:  # of a run of an older version, with settings that there aren't any more
        start = EvaluateConfig()
    found: EvaluateConfig = from_overrides(EvaluateConfig, list(overrides), "evaluate settings", start)
    return found
