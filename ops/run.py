"""`assay run`: one config file, on one stack, to a recorded and reported result."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from ops.console import complain
from ops.environment import find_root, prepare
from ops.fan_out import SEQUENTIAL, by_function, fanned_out
from ops.infra import load_infra, merged
from ops.plan import Plan
from ops.preflight import checked
from ops.schedule.schedule import Schedule
from ops.stacks.apply import Applied
from ops.stacks.files import goes_on_alone, runs_elsewhere, stack_file
from ops.stacks.usable import told
from ops.step_environment import pipeline_options, step_options, store_logs
from ops.summary import print_plan, print_submitted, print_summary, say_unchanged
from ops.training_plan.plan import foreseen
from ops.versions import trained_on
from pipelines.config import RunConfig
from pipelines.cron import zone_of
from pipelines.input_digests import read_digest, read_inputs
from pipelines.load import read, validate
from pipelines.openlineage.config import endpoint
from pipelines.slots import slot_of, slot_text
from pipelines.step_names import KNOWN_STEPS, share_steps, step_names
from steps.contracts import errors
from steps.contracts.errors import AssayError, ConfigError, ServiceError, StepFailedError
from steps.contracts.runs import RunRecord
from steps.zenml_runtime.commit import commit_of

# ZenML's words for runs that ended and didn't complete.
_BADLY = ("failed", "stopped", "cancelled")
# What every tracker takes as the key of a tag (MLflow: at most 250 characters).
_TAG = re.compile(r"[\w./-]{1,250}", re.ASCII)


def run(
    config_path: Path,
    *,
    infra: str | None = None,
    stack: str | None = None,
    overrides: Sequence[str] = (),
    dry_run: bool = False,
    no_cache: bool = False,
    workers: int | None = None,
    json_output: bool = False,
    root: Path | None = None,
    slot: str | None = None,
    schedule: str | None = None,
    if_changed: bool = False,
    detach: bool = False,
    tags: Sequence[str] = (),
) -> int:
    """Run a pipeline. Returns the process exit status: 0 when it completed (whatever the gate decided), or when it was
    submitted and `detach` says not to wait for its end.

    `no_cache` runs every step, also those that ZenML's cache could answer for. `workers`: processes for row-wise work,
    instead of what the infra file says. `slot`: the moment that the run stands for, and `schedule` what wanted it.
    `if_changed`: run nothing when config and inputs are those of the newest completed run of this config. `tags`:
    KEY=VALUE, of its run in the stack's tracker.

    Raises:
        AssayError: the config, an input, a service or a step failed; the run is recorded as failed.
    """
    home = root or find_root()
    prepare(home)
    if json_output:
        os.environ["ASSAY_PROGRESS"] = "off"
    at = slot_of(slot) if slot else None
    plan = replace(make_plan(home, config_path, infra, stack, overrides, at), tags=tags_of(tags))
    for note in plan.notes:
        complain(f"note: {note}")
    if detach:
        check_detachable(home, plan.stack)
    plan = replace(plan, cache=not no_cache, infra=plan.infra.with_workers(workers), schedule=schedule or "")
    if if_changed and (same := unchanged_since(home, plan.config)):
        say_unchanged(same, json_output)
        return 0
    if dry_run:
        training = foreseen(home, plan.config, here=not runs_elsewhere(stack_file(home, plan.stack)))
        print_plan(replace(plan, inputs=read_inputs(home, plan.config)), json_output, training)
        return 0
    record = execute(home, replace(plan, detach=detach))
    if record.ended is None:
        print_submitted(record, json_output)
    else:
        print_summary(home, record, json_output)
    return 0


def tags_of(said: Sequence[str]) -> dict[str, str]:
    """What KEY=VALUE stand for.

    Raises:
        ConfigError: one is something else, or a key that a tracker refuses.
    """
    pairs = [one.partition("=") for one in said]
    for one, (key, equals, _) in zip(said, pairs, strict=True):
        if not equals or not _TAG.fullmatch(key):
            raise ConfigError(
                f"is no tag: {one[:100]}", where="--tag",
                hint="say KEY=VALUE, the key of letters, digits and . _ - /",
            )  # fmt: skip
    return {key: value for key, _, value in pairs}


def check_detachable(root: Path, stack: str) -> None:
    """Whether a run of this stack goes on without its launcher.

    Raises:
        ConfigError: it doesn't.
    """
    if goes_on_alone(stack_file(root, stack)):
        return
    raise ConfigError(
        f"stack '{stack}' runs its steps in this process, or in what this process starts: they can't go on without it",
        where="--detach",
        hint="leave it out, name a stack whose steps run elsewhere, or let `assay schedule add` start the run",
    )


def make_plan(
    root: Path,
    path: Path,
    infra: str | None,
    stack: str | None,
    overrides: Sequence[str] = (),
    slot: datetime | None = None,
) -> Plan:
    """Resolve config and infra; fails before anything runs when one of them is missing or wrong, or names what isn't
    there.
    """
    place = load_infra(root, infra or stack)
    where = stack or place.stack
    config, notes = checked(root, path, overrides, stack_file(root, where), slot, place)
    place = load_infra(root, infra or stack, (*KNOWN_STEPS, *step_names(config)))
    events = endpoint(place.run.openlineage, os.environ)
    said = slot_text(slot) if slot else ""
    steps, commit = step_names(config), commit_of(root)
    plan = Plan(config, place, where, None, steps, commit, notes=tuple(notes), slot=said, events=events)
    return fanned_out(plan, stack_file(root, where))


def record(root: Path, schedule: Schedule, native_cron: str, name: str) -> str:
    """Have a stack's service keep a schedule's pipeline, and start it by its own clock: nothing runs now. The first
    step of each run finds out which slot it stands for, and what there is to read. Returns the id of ZenML's schedule.

    `native_cron`: in the service's words; `name`: of ZenML's schedule, which there is one of at most.

    Raises:
        AssayError: what would stop a run of this moment, or what the service says.
    """
    from zenml.client import Client

    from ops.live_run import live_run

    prepare(root)
    assert schedule.times is not None
    now = datetime.now(zone_of(schedule.tz)).replace(microsecond=0)
    plan = make_plan(root, root / schedule.config, schedule.infra, schedule.stack, schedule.overrides, now)
    unfilled = validate(RunConfig, read(root / schedule.config, schedule.overrides))
    plan = replace(plan, config=unfilled, schedule=schedule.name, slot="", shares={})
    if plan.infra.run.fan_out > 1:
        complain(f"note: {SEQUENTIAL}: a service's clock starts its runs, which can't add steps as they go")
    times = {"cron": schedule.times.numbers, "tz": schedule.tz}
    with live_run(root, plan, uuid4().hex) as stack:
        forget_recorded(name)
        pipeline = pipeline_of(replace(plan, infra=plan.infra.filled(os.environ)), "", stack, times)
        clock = _zenml_schedule(name, native_cron)
        try:
            pipeline.with_options(schedule=clock)(config=with_defaults(unfilled), brought=_brought(root, unfilled))
        except Exception as e:
            raise _failure(e, None, plan.stack) from e
        return str(Client().get_schedule(name, allow_name_prefix_match=False).id)


def forget_recorded(name: str) -> None:
    """Take ZenML's schedule of that name away, if there is one; what the service has of it is another matter."""
    from zenml.client import Client

    for found in Client().list_schedules(name=f"equals:{name}").items:
        Client().zen_store.delete_schedule(found.id)


def _zenml_schedule(name: str, native_cron: str) -> Any:
    from zenml.config.schedule import Schedule as ZenMLSchedule

    return ZenMLSchedule(name=name, cron_expression=native_cron)


def unchanged_since(root: Path, config: RunConfig) -> str:
    """Name of the newest completed run of this config, if a run would read just what that one did; else ""."""
    from ops.run_index import known_runs

    newest = next((r for r in known_runs(root) if r.config_name == config.name and r.status == "completed"), None)
    if newest is None or newest.read_digest is None:
        return ""
    dataset = trained_on(root, config.dataset, config.name).dataset.digest if config.dataset else ""
    return newest.name if newest.read_digest == read_digest(config, read_inputs(root, config), dataset) else ""


def execute(root: Path, plan: Plan) -> RunRecord:
    """Start the plan on its stack and record what came of it, also when it fails. Where its steps run elsewhere the end
    is waited for, unless the plan says to detach: then the record is of a run that goes on.

    Raises:
        AssayError: the run failed: the error of the step that did.
    """
    from ops.live_run import live_run
    from steps.zenml_runtime.state import clear_workspaces

    launch = uuid4().hex
    error: BaseException | None = None
    try:
        with live_run(root, plan, launch) as stack:
            try:
                pipeline = pipeline_of(replace(plan, infra=plan.infra.filled(os.environ)), launch, stack)
                shares = {"shares": dict(plan.shares)} if plan.shares else {}
                pipeline(config=with_defaults(plan.config), brought=_brought(root, plan.config), **shares)
            except BaseException as e:  # noqa: BLE001 - recorded, then raised again as it is
                error = e
            record, error = _recorded(root, plan, launch, error)
    finally:
        clear_workspaces()
    if record is None or error is not None or record.status in _BADLY:
        raise _failure(error, record, plan.stack if runs_elsewhere(stack_file(root, plan.stack)) else "")
    return record


def pipeline_of(plan: Plan, launch: str, stack: Applied, times: Mapping[str, str] | None = None) -> Any:
    """The configured pipeline, ready to be called. `launch` leads from this process to the run that it starts; "" where
    a service's clock will, by its `times`.
    """
    from zenml import Model

    from pipelines import runs
    from pipelines.openlineage.tell import OPENLINEAGE
    from steps.zenml_runtime.containers import be_patient
    from steps.zenml_runtime.context import EXECUTOR, FAN_OUT, SCHEDULE, SLOT, STATE, TAGS, TIMES
    from steps.zenml_runtime.following import returning_early
    from steps.zenml_runtime.local_store import LAUNCH, execution_mode, runs_here
    from steps.zenml_runtime.owner import OWNER, this_process

    options: dict[str, Any] = {
        # ZenML fills in when the run starts: a snapshot that is started twice gives two runs.
        "run_name": f"{plan.config.name}-{{date}}-{{time}}",
        "steps": _steps(plan, stack),
        "settings": returning_early(plan.infra.settings),
        "tags": [f"config:{plan.config.name}"],
        "extra": {
            **({LAUNCH: launch, OWNER: this_process().said()} if launch else {}),
            **({TIMES: dict(times)} if times else {}),
            STATE: plan.infra.state_uri(stack.artifact_store) or "",
            **({FAN_OUT: dict(plan.shares)} if plan.shares else {}),
            **({TAGS: dict(plan.tags)} if plan.tags else {}),
            EXECUTOR: plan.infra.run.executor.model_dump(mode="json"),
            **({OPENLINEAGE: plan.events.model_dump(mode="json")} if plan.events else {}),
            **{name: said for name, said in ((SLOT, plan.slot), (SCHEDULE, plan.schedule)) if said},
        },
    }
    if plan.config.evaluates and plan.config.registry is not None:
        options["model"] = Model(name=plan.config.registry.name)
    if plan.infra.run.enable_step_logs:
        store_logs()
    if "local_docker" in stack.flavors.get("orchestrator", {}).values():
        be_patient()
    options |= pipeline_options(plan.infra, os.environ, elsewhere=not runs_here())
    chosen = getattr(runs, f"{plan.config.pipeline}_in_shares" if plan.shares else plan.config.pipeline)
    return chosen.with_options(**options, execution_mode=execution_mode())


def _steps(plan: Plan, stack: Applied) -> dict[str, dict[str, Any]]:
    """What the infra file says of each step, as ZenML takes it."""
    from steps.zenml_runtime.local_store import runs_here

    steps = plan.steps
    if plan.shares:
        steps = (*dict.fromkeys(map(by_function, steps)), *share_steps(plan.shares))
    # Those of a dynamic pipeline would run in its orchestrator's own container.
    placed = {"runtime": "isolated"} if plan.shares and not runs_here() else {}
    said = plan.infra.step_configurations(steps, stack.flavors, stack.names, cache=plan.cache)
    reaching = {step: step_options(plan.infra, step, os.environ) for step in steps}
    options = {step: {**merged(said.get(step, {}), reaching[step]), **placed} for step in steps}
    return {step: options[step] for step in steps if options[step]}


def with_defaults(config: RunConfig) -> RunConfig:
    """The same, every value said: ZenML's store drops what was left to its default, and a default may change."""
    return RunConfig.model_validate(config.model_dump())


def _brought(root: Path, config: RunConfig) -> dict[str, dict[str, str]]:
    """What steps read from the artifact store; nothing where they run on this machine."""
    from pipelines.start import to_bring
    from steps.zenml_runtime.local_store import runs_here

    return {} if runs_here() else to_bring(config, root)


def _recorded(
    root: Path, plan: Plan, launch: str, error: BaseException | None
) -> tuple[RunRecord | None, BaseException | None]:
    """The record of the run that this process started, in the index, and what ended it here; None when it never came
    to a run.
    """
    from ops.sync import refresh
    from steps.zenml_runtime.containers import explain
    from steps.zenml_runtime.local_store import launched_run, runs_here
    from steps.zenml_runtime.settling import archive_model, end_as_failed, is_driven
    from steps.zenml_runtime.usage import note_usage

    run = launched_run(launch, plan.config.name)
    if run is None:
        return None, error
    goes_on = False
    if error is not None:
        explain(error, run)
    if not is_driven(run) and not run.status.is_finished:
        run, error = _waited_for(run, plan, error)
        goes_on = not run.status.is_finished
    elif error is not None and not run.status.is_finished:
        end_as_failed(run)
    if not goes_on and (error is not None or run.status.value in _BADLY):
        archive_model(run)
    if error is not None and runs_here():
        note_usage(run.id)
    return refresh(root, run.id), error


def _waited_for(run: Any, plan: Plan, error: BaseException | None) -> tuple[Any, BaseException | None]:
    """The run as it is when this process is done with it. It was submitted, so that nothing that goes wrong here ends
    it: a watch that was cut off is no error, but whoever wants this command to end gets that.
    """
    from steps.zenml_runtime.following import followed, how_to_follow

    if plan.detach:
        return run, None
    if error is not None and not isinstance(error, Exception):
        complain(how_to_follow(run.name))
        return run, error
    try:
        return followed(run.id), None
    except BaseException as e:  # noqa: BLE001 - recorded, then raised again as it is
        return run, e


def _failure(error: BaseException | None, record: RunRecord | None, elsewhere: str = "") -> BaseException:
    """What ended a run: the step's own error where this process saw it, else what ZenML's store knows of it.

    `elsewhere`: the stack, where steps run in other processes; what is raised here then comes from submitting them.
    """
    if isinstance(error, Exception):
        seen = _as_ours(error, record.name if record else "")
        if not elsewhere or isinstance(seen, AssayError):
            return seen
        if record is None or not record.failed_step:
            hint = f"`assay stack doctor {elsewhere}` looks for what is missing; ASSAY_TRACEBACK=1 shows more"
            return ServiceError(f"stack '{elsewhere}' didn't take the run: {told(error)}", hint=hint)
    elif error is not None:
        return error
    assert record is not None
    from steps.zenml_runtime.containers import log_command

    where = f"run {record.name}" + (f", {record.failed_step}" if record.failed_step else "")
    log = record.log or log_command(error)
    hint = f"its log: {log}" if log else f"assay runs {record.name} shows more"
    kind = getattr(errors, record.error_kind or "", StepFailedError)
    return kind(record.error or "the run failed", where=where, hint=hint)


def _as_ours(error: Exception, run: str) -> AssayError | Exception:
    """The step's own error where it is one of ours, with its run named."""
    from steps.zenml_runtime.containers import daemon_error, killed
    from steps.zenml_runtime.remote_store import store_error

    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, AssayError):
            return seen
        if (lost := killed(seen, run) or daemon_error(seen)) is not None:
            return lost
        if (of_store := store_error(seen)) is not None:
            return of_store
        if type(seen).__module__.startswith(("mlflow", "requests", "urllib3")):
            return ServiceError(
                f"the experiment tracker doesn't answer: {str(seen).splitlines()[0][:300]}",
                where=f"run {run}",
                hint="start it, or name another stack; finished steps are reused",
            )
        seen = seen.__cause__ or seen.__context__
    return error
