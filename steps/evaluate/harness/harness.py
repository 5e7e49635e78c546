"""Tasks of lm-evaluation-harness asked of a subject, with its own prompts and graders, row by row as others are."""

import math
import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steps.contracts.digests import MultisetDigest, canonical_json, file_digest, value_digest
from steps.contracts.errors import AssayError, InputError, IntegrityError
from steps.contracts.evaluation import Metric, TaskResult
from steps.engines.scoring.answers import Answered
from steps.engines.scoring.metrics import LOWER_IS_BETTER, Scores, estimate
from steps.engines.subjects.local_model import LocalModel
from steps.engines.subjects.subject import Subject
from steps.evaluate.harness.config import PREFIX, SUFFIXES, HarnessConfig
from steps.evaluate.harness.installed import require_harness
from steps.evaluate.harness.named_tasks import offline
from steps.evaluate.harness.task_files import data_files, files_below

# Relative; the same values summed in another order.
_SAME = 1e-9
_SHOWN = 20_000


@dataclass(frozen=True)
class Harnessed:
    """The tasks of a subject, and the answers behind them."""

    results: tuple[TaskResult, ...] = ()
    rows: tuple[Answered, ...] = ()
    notes: tuple[str, ...] = ()


def run_harness(subject: Subject, config: HarnessConfig, root: Path) -> Harnessed:
    """Ask and grade by lm_eval's own code; a model that isn't on this machine is asked nothing, which a note says.

    Args:
        root: what the paths in `config` are relative to.

    Raises:
        MissingDependencyError: lm_eval isn't installed. InputError: a task can't be used, or its data isn't in reach.
    """
    require_harness()
    from lm_eval import simple_evaluate

    model = _model(subject) if isinstance(subject, LocalModel) else "dummy"
    where = f"evaluate.lm_eval.tasks: {', '.join(config.tasks)}"
    try:
        # It writes to standard output, which is for what a command says.
        with redirect_stdout(sys.stderr):
            found = simple_evaluate(
                model=model,
                tasks=[_task(name, root) for name in config.tasks],
                num_fewshot=config.num_fewshot,
                limit=config.limit,
                apply_chat_template=config.chat_template and isinstance(subject, LocalModel),
                log_samples=True,
                bootstrap_iters=0,
            )
    except AssayError:
        raise
    except Exception as e:
        hint = "names are those of `lm_eval ls tasks`; data of its own tasks is taken from the hub, or from its cache"
        if offline():
            hint += ", alone from there where HF_HUB_OFFLINE or HF_DATASETS_OFFLINE is set: ask the task once online"
        raise InputError(f"lm_eval can't do it: {type(e).__name__}: {e!s:.300}", where=where, hint=hint) from e
    return _as_tasks(found, config, root, asked=isinstance(subject, LocalModel))


def _model(subject: LocalModel) -> Any:
    from lm_eval.models.huggingface import HFLM

    loaded, how = subject.loaded, subject.inference
    return HFLM(
        pretrained=getattr(loaded.model, "get_base_model", lambda: loaded.model)(),
        tokenizer=loaded.tokenizer,
        batch_size=how.batch_size,
        max_length=how.max_length,
        device=loaded.device,
    )


def _task(name: str, root: Path) -> str | dict[str, Any]:
    """A task by its name, or what its file says, with the paths of its data as they are on this machine."""
    if not name.endswith(SUFFIXES):
        return name
    from lm_eval.tasks._yaml_loader import load_yaml

    files_below(name, lambda n: root / n)
    values: dict[str, Any] = load_yaml(root / name)
    folder = (root / name).parent
    if data_files(values):
        said = values["dataset_kwargs"]["data_files"]
        absolute = _absolute(said, folder)
        values["dataset_kwargs"] = {**values["dataset_kwargs"], "data_files": absolute}
    return values


def _absolute(said: Any, folder: Path) -> Any:
    if isinstance(said, dict):
        return {k: _absolute(v, folder) for k, v in said.items()}
    if isinstance(said, str):
        return said if "://" in said else str(folder / said)
    return [_absolute(v, folder) for v in said]


def _as_tasks(found: Mapping[str, Any], config: HarnessConfig, root: Path, *, asked: bool) -> Harnessed:
    results, rows, notes = [], list[Answered](), list[str]()
    version = _version(config, root)
    for name, samples in sorted(found["samples"].items()):
        by_row: dict[int, list[Mapping[str, Any]]] = {}
        for sample in samples:
            by_row.setdefault(int(sample["doc_id"]), []).append(sample)
        usable = _usable(name, by_row, found, notes) if asked else {}
        task = PREFIX + name
        done = [_answered(task, number, of, usable, asked) for number, of in sorted(by_row.items())]
        rows += done
        results.append(
            TaskResult(
                task=task,
                version=f"{version}-{found['versions'].get(name)}",
                kind="lm_eval",
                data_digest=_data_digest(by_row),
                n=len(done),
                metrics=_metrics(name, usable, done, found),
            )
        )
    if not asked:
        notes.append("tasks of lm_eval are asked of models on this machine alone, each as it is")
    return Harnessed(tuple(results), tuple(rows), tuple(notes))


def _version(config: HarnessConfig, root: Path) -> str:
    from importlib.metadata import version

    named = {n: [file_digest(root / f) for f in (n, *files_below(n, lambda x: root / x))] for n in config.files}
    settings = config.model_dump(mode="json", exclude={"tasks"})
    return f"lm_eval-{version('lm_eval')}+{value_digest([settings, named])[:8]}"


def _usable(
    name: str, by_row: Mapping[int, Sequence[Mapping[str, Any]]], found: Mapping[str, Any], notes: list[str]
) -> dict[str, tuple[str, str]]:
    """Our name of a metric -> lm_eval's name and filter: those that are a mean of what each question has, 0 to 1.

    Others are told as lm_eval has them: nothing says how they vary from question to question.
    """
    usable: dict[str, tuple[str, str]] = {}
    higher = found.get("higher_is_better", {}).get(name) or {}
    for key, value in found["results"][name].items():
        metric, comma, filter_ = key.partition(",")
        if not comma or metric.endswith("_stderr"):
            continue
        ours = metric if filter_ == "none" else f"{metric}.{filter_}"
        per_row = [s.get(metric) for of in by_row.values() for s in of if s.get("filter") == filter_]
        shares = all(isinstance(v, int | float) and 0 <= v <= 1 for v in per_row)
        up = higher.get(metric, True) is not False
        if per_row and shares and up == (metric not in LOWER_IS_BETTER):
            usable[ours] = (metric, filter_)
        else:
            notes.append(f"{PREFIX}{name}: {ours} is {value}, by lm_eval's own sum over all questions")
    return usable


def _answered(
    task: str, number: int, of: Sequence[Mapping[str, Any]], usable: Mapping[str, tuple[str, str]], asked: bool
) -> Answered:
    first = of[0]
    by_filter = {s["filter"]: s for s in of}
    scores: Scores = {ours: float(by_filter[f][m]) for ours, (m, f) in usable.items() if f in by_filter}
    said = first["filtered_resps"]
    answer = str(said[0]) if len(said) == 1 and isinstance(said[0], str) else canonical_json(_plain(said))
    return Answered(
        task=task,
        row_id=f"{number:09d}",
        prompt=str(first["arguments"][0][0])[:_SHOWN],
        reference=str(first["target"])[:_SHOWN],
        answer=answer[:_SHOWN] if asked else None,
        scores=scores,
        evidence={"responses": canonical_json(_plain(said))[:_SHOWN]} if asked else None,
    )


def _plain(value: Any) -> Any:
    """As JSON: log-likelihoods with whether they are the greedy choice; numbers that JSON hasn't as text."""
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if isinstance(value, str | int | float | bool) or value is None else str(value)


def _data_digest(by_row: Mapping[int, Sequence[Mapping[str, Any]]]) -> str:
    digest = MultisetDigest()
    keys = ("doc_hash", "target_hash")
    digest.update(canonical_json([number, *(of[0][k] for k in keys)]) for number, of in sorted(by_row.items()))
    return digest.hexdigest()


def _metrics(
    name: str, usable: Mapping[str, tuple[str, str]], rows: Sequence[Answered], found: Mapping[str, Any]
) -> tuple[Metric, ...]:
    """Raises IntegrityError: the mean of the questions isn't the figure that lm_eval gives."""
    metrics = []
    for ours, (metric, filter_) in sorted(usable.items()):
        e = estimate(ours, [r.scores for r in rows])
        given = float(found["results"][name][f"{metric},{filter_}"])
        if e is None or not math.isclose(e.value, given, rel_tol=_SAME, abs_tol=_SAME):
            what = f"{ours} of its questions is {None if e is None else e.value} in the mean, lm_eval says {given}"
            raise IntegrityError(what, where=f"{PREFIX}{name}", hint="its aggregation is no mean: leave the task out")
        metrics.append(Metric(name=ours, estimate=e))
    return tuple(metrics)
