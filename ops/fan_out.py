"""Whether a run's row-wise work is spread over steps of its own, by ZenML's dynamic pipelines; and if not, why."""

from dataclasses import replace
from pathlib import Path

from ops.plan import Plan
from ops.stacks.files import orchestrator_flavor
from pipelines.step_names import share_steps

SEQUENTIAL = "run.fan_out of the infra file has no effect, each stage decides about all its rows in one step"


def fanned_out(plan: Plan, stack_file: Path) -> Plan:
    """The plan with as many shares as its infra file asks for, or with a note that says why it has none. Results are
    equal.
    """
    wanted = plan.infra.run.fan_out
    if wanted == 1 or not share_steps(plan.steps):
        return plan
    if why := _hindered(plan, stack_file):
        return replace(plan, notes=(*plan.notes, f"{SEQUENTIAL}: {why}"))
    return replace(plan, shares=wanted)


def _hindered(plan: Plan, stack_file: Path) -> str:
    """What doesn't allow it; "": nothing."""
    from steps.zenml_runtime.dynamic import has_dynamic_pipelines

    if plan.config.pipeline != "curate":
        return "the run also trains, and steps of models side by side need a graph that is known before"
    flavor = orchestrator_flavor(stack_file)
    if not has_dynamic_pipelines(flavor):
        return f"orchestrator '{flavor}' has no dynamic pipelines"
    return ""
