"""Whether a run's row-wise work is spread over steps of its own, by ZenML's dynamic pipelines; and if not, why."""

from dataclasses import replace
from pathlib import Path

from ops.infra import kind_of
from ops.plan import Plan
from ops.stacks.files import orchestrator_flavor, runs_elsewhere
from pipelines.stages import STAGES

# The only one of its kind that is a function of its own.
CHAMPION_STEP = "evaluate_champion_step"
SEQUENTIAL = "run.fan_out of the infra file has no effect, each stage decides about all its rows in one step"
PAID_TWICE = (
    "run.fan_out of the infra file has no effect on judge: the replies that its shares pay for would be lost with their"
    " machines; name a place for them (`state` of the infra file)"
)


def fanned_out(plan: Plan, stack_file: Path) -> Plan:
    """The plan with as many shares as its infra file asks for, or with a note that says why it has none. Results are
    equal.
    """
    wanted = plan.infra.run.fan_out
    able = [s for s in STAGES if s.share and f"{s.name}_step" in plan.steps]
    if wanted == 1 or not able:
        return plan
    if why := _hindered(plan, stack_file):
        return replace(plan, notes=(*plan.notes, f"{SEQUENTIAL}: {why}"))
    most = {s.name: s.most_shares(getattr(plan.config, s.field)) for s in able}
    spread = {stage: min(wanted, limit or wanted) for stage, limit in most.items()}
    if "judge" in spread and _loses_replies(plan, stack_file):
        del spread["judge"]
        plan = replace(plan, notes=(*plan.notes, PAID_TWICE))
    return replace(plan, shares={stage: n for stage, n in spread.items() if n > 1})


def _hindered(plan: Plan, stack_file: Path) -> str:
    """What doesn't allow it; "": nothing."""
    from steps.zenml_runtime.dynamic import has_dynamic_pipelines

    alone = sorted(s for s in plan.steps if s in plan.infra.steps and s != by_function(s))
    if alone:
        return (
            f"ZenML finds what is said of a step by its function, and {', '.join(alone)} would be as any other of"
            f" {by_function(alone[0])}: say it of that one"
        )
    flavor = orchestrator_flavor(stack_file)
    if not has_dynamic_pipelines(flavor):
        return f"orchestrator '{flavor}' has no dynamic pipelines"
    return ""


def by_function(step: str) -> str:
    """What ZenML calls a step where it isn't known before: by its function, which may make several of a run."""
    return step if step == CHAMPION_STEP else kind_of(step)


def _loses_replies(plan: Plan, stack_file: Path) -> bool:
    """Whether what one step has bought of a model isn't there for the next one."""
    return plan.config.judge.endpoint is not None and runs_elsewhere(stack_file) and plan.infra.state is None
