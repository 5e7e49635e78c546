"""`assay compare`: models side by side at any time, by the code that evaluates them in a run."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ops.console import console, emit, say
from ops.environment import prepare
from ops.found_endpoints import Candidate, FoundEndpoint, find_candidates, is_served, served_endpoint
from ops.found_models import trained_on
from ops.measured import Measured, Terms, kept_folder, measured
from ops.summary import print_comparison, print_win_rates
from ops.versions import Version, find_version, newest_completed
from ops.versions import trained_on as version_of_config
from pipelines.config import RunConfig
from pipelines.load import load_model
from pipelines.report.candidates import candidates
from steps.contracts.errors import ConfigError, InputError, InputNotFoundError
from steps.contracts.evaluation import Comparison, WinRates
from steps.contracts.pinned import is_url
from steps.contracts.runs import RunRecord
from steps.engines.embed.config import CACHE as EMBEDDINGS
from steps.evaluate.config import EvaluateConfig
from steps.evaluate.named_files import files_of
from steps.evaluate.tasks import Suite, suite
from steps.evaluate.win_rate import require_comparing, win_rates
from steps.gate.gate import compare as compared
from steps.zenml_runtime.state import state_folder
from steps.zenml_runtime.urls import with_urls


@dataclass(frozen=True)
class Wanted:
    """How the command line says that models are measured: by a config with overrides, as a run did, by suites.

    `key_env`: the variable that holds the key of servers; `judge`: whose preference is asked besides.
    """

    config: Path | None = None
    run: str | None = None
    overrides: Sequence[str] = ()
    suites: Sequence[str] = ()
    key_env: str | None = None
    judge: str | None = None


@dataclass(frozen=True)
class _Asked:
    """Settings and rows, and where they are from; `version` None: no rows, suites alone."""

    config: EvaluateConfig
    version: Version | None
    where: str


def compare_models(
    root: Path,
    models: Sequence[str],
    wanted: Wanted,
    over: str | None,
    answers: Path | None,
    allow_seen: bool,
    json_output: bool,
) -> None:
    """Measure every model, the first as the reference, and say how they differ.

    Raises:
        ConfigError, InputError: what is named can't be compared so. As `find_models` and `measured`.
    """
    if len(models) < 2:
        raise ConfigError("one model has nothing beside it", hint="assay compare REFERENCE MODEL...")
    if wanted.config is not None and wanted.run is not None:
        raise ConfigError("both say how it is measured", where="--config and --run", hint="leave one out")
    if wanted.overrides and wanted.config is None:
        raise ConfigError("a run's settings are what they were", where="--set", hint="name its config: --config")
    prepare(root)
    found = find_candidates(root, models, over, wanted.key_env)
    asked = _asked(root, wanted, found)
    judged = _judged(asked.config, wanted.judge)
    folder = with_urls(judged.files(), root)
    folder = with_urls((*judged.files(), *files_of(asked.config, lambda name: folder / name)), root)
    if judged.win_rate is not None:
        require_comparing(judged, folder)
    dataset = asked.version.dataset if asked.version else None
    tasks = suite(dataset, asked.config, folder)
    notes = _seen(root, found, tasks, allow_seen) if asked.version else []
    scrubbed = asked.version is None or asked.version.scrubbed
    terms = Terms(dataset, tasks, asked.config, folder, answers or kept_folder(root), scrubbed)
    done = [measured(m, terms) for m in found]
    comparison = compared(done[0].evaluation, [d.evaluation for d in done[1:]])
    preferred = _preferred(done, replace(terms, config=judged)) if judged.win_rate is not None else None
    notes = [*notes, *_same(found), *_told(done)]
    if json_output:
        emit(_as_json(comparison, asked, done, notes) | _preferred_as_json(preferred))
        return
    count = (
        f"{len(tasks.tasks[0].rows):,} test rows" if dataset else f"{sum(len(t.rows) for t in tasks.tasks):,} questions"
    )
    say(f"measured on {count} of {asked.where}")
    print_comparison(console(), comparison)
    if preferred is not None:
        print_win_rates(console(), preferred)
    for note in notes:
        say(f"note: {note}")
    for one in done:
        say(f"{'kept' if one.reused else 'measured'}: {one.evaluation.report.subject}: {one.folder}")


def _preferred(done: Sequence[Measured], terms: Terms) -> WinRates:
    """Whose answers the judge of the settings prefers; its replies are kept."""
    evaluations = [d.evaluation for d in done]
    return win_rates(
        evaluations, evaluations[0].report.subject, terms.dataset, terms.config, terms.root, state_folder() / EMBEDDINGS
    )


def _preferred_as_json(preferred: WinRates | None) -> dict[str, Any]:
    return {} if preferred is None else {"win_rates": preferred.model_dump(mode="json")}


def _asked(root: Path, wanted: Wanted, found: Sequence[Candidate]) -> _Asked:
    """As the command line says it; suites that it names are asked besides."""
    names = [name_below(root, name) for name in wanted.suites]
    if names and wanted.config is None and wanted.run is None:
        return _Asked(_checked({"suites": names}), None, ", ".join(names))
    by = _by_config(root, wanted.config, wanted.overrides) if wanted.config else _by_run(root, wanted.run, found)
    if not names:
        return by
    values = by.config.model_dump(mode="json")
    return replace(by, config=_checked({**values, "suites": [*values["suites"], *names]}))


def _judged(config: EvaluateConfig, judge: str | None) -> EvaluateConfig:
    """With the judge of preferences that the command line names, and what a config says of how it is asked. Models are
    measured without it, so that what is kept of them stays known.
    """
    if judge is None:
        return config
    values = config.model_dump(mode="json")
    how = values["win_rate"] or {}
    if is_served(judge):
        who: dict[str, Any] = {"endpoint": served_endpoint(judge, None).model_dump(mode="json")}
    else:
        named = load_model(RunConfig, Path(judge)).evaluate
        if named.judge is None:
            hint = "set evaluate.judge.endpoint in it, or name one as http://HOST:PORT/v1#MODEL"
            raise ConfigError("this config has no evaluate.judge", where=f"--judge {judge}", hint=hint)
        who = named.judge.model_dump(mode="json")
        how = named.win_rate.model_dump(mode="json") if named.win_rate is not None else how
    return _checked({**values, "judge": who, "win_rate": how}, "--judge")


def _checked(values: dict[str, Any], option: str = "--suite") -> EvaluateConfig:
    try:
        return EvaluateConfig.model_validate(values)
    except ValidationError as e:
        raise ConfigError(e.errors()[0]["msg"].removeprefix("Value error, "), where=option) from e


def name_below(root: Path, name: str) -> str:
    """A file as the command line names it, from the working folder, by its name from the project root."""
    if is_url(name):
        return name
    try:
        path = Path(name).expanduser().resolve()
    except RuntimeError as e:
        raise InputError("a link that leads to itself, or a home that there isn't", where=name) from e
    return str(path.relative_to(root.resolve())) if path.is_relative_to(root.resolve()) else str(path)


def _by_config(root: Path, path: Path, overrides: Sequence[str]) -> _Asked:
    config = load_model(RunConfig, path, list(overrides))
    if config.dataset:
        version: Version | None = version_of_config(root, config.dataset, config.name)
    else:
        version = newest_completed(root, config.name)
    if version is None:
        hint = "run it, or name a run whose rows are meant: --run"
        raise InputNotFoundError("no completed run of this config has made a dataset", where=str(path), hint=hint)
    return _Asked(config.evaluate, version, f"run {version.run.name}, settings of {path}")


def _by_run(root: Path, name: str | None, models: Sequence[Candidate]) -> _Asked:
    """Of a run that is named, else of the first model that a run made."""
    from ops.run_index import find_run

    run = find_run(root, name) if name else next((m.run for m in models if m.run is not None), None)
    if run is None:
        hint = "--run RUN or --config CONFIG says on which rows, and how"
        raise ConfigError("none of these models was made by a run that is known here", hint=hint)
    values = run.config.get("evaluate")
    if values is None:
        hint = "name the config that it had: --config"
        raise ConfigError("the run's record doesn't say how it evaluated", where=f"run {run.name}", hint=hint)
    try:
        config = EvaluateConfig.model_validate(values)
    except ValidationError as e:
        what = f"its settings are of another version: {e.errors()[0]['msg']}"
        raise ConfigError(what, where=f"run {run.name}, evaluate", hint="name a config: --config") from e
    return _Asked(config, _rows_of(root, run), f"run {run.name}")


def _rows_of(root: Path, run: RunRecord) -> Version:
    """The version that a run trained on; of fine-tuning alone that of an earlier one."""
    from ops.run_index import artifacts_of

    if run.of_type("dataset"):
        return find_version(root, f"run:{run.name}")
    store = artifacts_of(root, run)
    digest = next((d for a in reversed(run.of_type("model")) if (d := store.model(a).dataset_digest)), None)
    if digest is None:
        raise InputNotFoundError("this run has no dataset", where=f"run {run.name}", hint="name one that curates")
    return find_version(root, f"dataset:{digest}")


def _seen(root: Path, models: Sequence[Candidate], tasks: Suite, allowed: bool) -> list[str]:
    """Notes on models that may have been trained on rows that they are asked now.

    Raises:
        InputError: one was, and `allowed` doesn't say that this is meant.
    """
    wanted = {r["content_id"] for r in tasks.tasks[0].rows}
    notes = []
    for model in models:
        if isinstance(model, FoundEndpoint):
            notes.append(f"{model.name}: whether it has seen these rows can't be told")
            continue
        for digest in sorted(trained_on(model) - {tasks.dataset_digest}):
            try:
                other = find_version(root, f"dataset:{digest}").dataset
            except InputNotFoundError:
                notes.append(f"{model.name} was trained on dataset {digest[:12]}, which isn't known here: whether it"
                             " has seen these rows can't be told")  # fmt: skip
                continue
            trained = {
                c for table in other.tables(["content_id"], split="train") for c in table["content_id"].to_pylist()
            }
            if known := wanted & trained:
                what = f"{model.name} was trained on {len(known)} of these {len(wanted)} rows (dataset {digest[:12]})"
                if not allowed:
                    hint = "measure on rows that none of them has seen (--run), or say --allow-seen"
                    raise InputError(what, where=f"dataset {tasks.dataset_digest[:12]}", hint=hint)
                notes.append(what)
    return notes


def _same(models: Sequence[Candidate]) -> list[str]:
    """Models that are one and the same under two names."""
    names: dict[str, list[str]] = {}
    for model in (m for m in models if not isinstance(m, FoundEndpoint)):
        names.setdefault(model.model.info.digest, []).append(model.name)
    return [f"the same weights: {' and '.join(n)}" for n in names.values() if len(n) > 1]


def _told(done: Sequence[Measured]) -> list[str]:
    """What the evaluations say; what several say, once."""
    said: dict[str, list[str]] = {}
    for one in done:
        for note in one.evaluation.report.notes:
            said.setdefault(note, []).append(one.evaluation.report.subject)
    return [note if len(names) == len(done) else f"{', '.join(names)}: {note}" for note, names in said.items()]


def _as_json(comparison: Comparison, asked: _Asked, done: Sequence[Measured], notes: list[str]) -> dict[str, Any]:
    table = candidates(comparison)
    return {
        "rows_of": asked.where,
        "dataset_digest": comparison.dataset_digest,
        "comparison": json.loads(comparison.model_dump_json()),
        "candidates": json.loads(table.model_dump_json()) if table else None,
        "evaluations": [
            {"model": d.evaluation.report.subject, "digest": d.evaluation.report.model_digest,
             "folder": str(d.folder), "reused": d.reused}
            for d in done
        ],
        "notes": notes,
    }  # fmt: skip
