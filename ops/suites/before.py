"""What would stop the evaluation after training, told before: suites, who grades them, tasks of lm_eval."""

from collections.abc import Iterator
from pathlib import Path

from pipelines.config import RunConfig
from steps.contracts.errors import AssayError, ConfigError, InputError, MissingDependencyError
from steps.contracts.pinned import is_url
from steps.engines.yaml_lines.parse import KeyPath
from steps.evaluate.config import EvaluateConfig
from steps.evaluate.harness.config import PREFIX
from steps.evaluate.harness.installed import require_harness
from steps.evaluate.harness.named_tasks import faults_of_names
from steps.evaluate.named_files import files_of
from steps.evaluate.suites.tasks import Part, missing_graders, suite_parts
from steps.evaluate.win_rate import require_comparing


def faults(root: Path, config: RunConfig, here: bool = True) -> Iterator[tuple[KeyPath, str, type[AssayError]]]:
    """What is wrong, where in the config it stands, and as which error. What lies behind a URL is looked at later.
    `here`: whether its steps run on this machine.
    """
    evaluate = config.evaluate
    if not config.evaluates:
        return
    if evaluate.lm_eval is not None:
        try:
            require_harness()
        except MissingDependencyError as e:
            yield ("evaluate", "lm_eval"), f"{e.what}; {e.hint}", MissingDependencyError
        for what in faults_of_names(evaluate.lm_eval.tasks, here=here):
            yield ("evaluate", "lm_eval", "tasks"), what, InputError
    if evaluate.win_rate is not None:
        try:
            require_comparing(evaluate, root)
        except AssayError as e:
            yield ("evaluate", "win_rate"), _said(e), type(e)
    try:
        parts = local_parts(root, evaluate)
    except AssayError as e:
        yield ("evaluate", "suites"), _said(e), type(e)
        return
    for grader, where in missing_graders(parts, evaluate).items():
        yield ("evaluate", "suites"), f"task {where} is graded by {grader}: name evaluate.{grader}", ConfigError


def local_parts(root: Path, evaluate: EvaluateConfig) -> list[Part]:
    """The tasks of suites that are files here; what they and tasks of lm_eval name is there.

    Raises: as `files_of` and `suite_parts`.
    """
    near = tuple(n for n in evaluate.suites if not is_url(n) and (root / n).is_file())
    harness = evaluate.lm_eval
    there = harness is not None and all((root / n).is_file() for n in harness.files)
    here = evaluate.model_copy(update={"suites": near, "lm_eval": harness if there else None})
    if any(is_url(n) for n in files_of(here, lambda n: root / n)):
        return []
    return suite_parts(near, root)


def unmeasured(task: str, metric: str, root: Path, evaluate: EvaluateConfig) -> str | None:
    """Why a metric of a task of a suite or of lm_eval isn't measured; "" where it may be, None: it is no such task."""
    if task.startswith(PREFIX):
        return "" if evaluate.lm_eval is not None else "evaluate.lm_eval names no tasks"
    if "." not in task or not evaluate.suites:
        return None
    try:
        parts = {p.name: p.settings for p in local_parts(root, evaluate)}
    except AssayError:
        return ""  # told at the suites
    if task not in parts:
        far = any(is_url(n) for n in evaluate.suites)
        return "" if far else f"no task {task!r}; the suites have {', '.join(parts)}"
    known = parts[task].metrics
    return "" if metric in known else f"task {task!r} has no metric {metric!r}; there are {', '.join(sorted(known))}"


def _said(e: AssayError) -> str:
    where = f"{e.where}: " if e.where else ""
    return f"{where}{e.what}{f'; {e.hint}' if e.hint else ''}"
