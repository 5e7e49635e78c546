"""`assay deploy` and `assay undeploy`: a model behind an address that stays."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from ops.console import complain, emit, say, show_table
from ops.deploy import kubernetes, processes, sagemaker, state
from ops.deploy.deploy import Wish, again, deploy, go_back, undeploy
from ops.deploy.state import Deployment, Server, Target
from ops.export.model import read_prompts
from steps.contracts.errors import AssayError, ConfigError

_SERVICES = {"kubernetes": "Kubernetes", "sagemaker": "SageMaker"}


def deploy_model(
    root: Path, model: str | None, to: str, name: str, port: int | None, timeout: float, prompts: Path | None,
    over: str | None, overrides: Sequence[str], previous: bool, once_more: bool, show: bool, json_output: bool,
) -> int:  # fmt: skip
    """Deploy a model, or go back, or start again what is down, or show what is there. Returns the exit status.

    Raises: as `ops.deploy.deploy`; ConfigError: not one of these is asked for.
    """
    if [model is not None, previous, once_more, show].count(True) != 1:
        raise ConfigError("one of MODEL, --previous, --again and --show", where="assay deploy")
    if show:
        return show_deployments(root, json_output)
    target = next((t for t in get_args(Target) if t == to), None)
    if target is None:
        raise ConfigError(f"nothing is deployed to {to!r}", where="--to", hint="one of " + ", ".join(get_args(Target)))
    if overrides and target == "mlflow":
        raise ConfigError("MLflow's server takes no settings of the evaluation", where="--set", hint="--to serve")
    if prompts is not None and target in _SERVICES:
        raise ConfigError(f"nothing is tested in {_SERVICES[target]}", where="--prompts")
    wish = Wish(name, port, timeout, read_prompts(prompts) if prompts is not None else ())
    if model is not None:
        done = deploy(root, model, target, wish, over, overrides, complain)
    else:
        done = go_back(root, wish, complain) if previous else again(root, wish, complain)
    if json_output:
        emit(_told(root, done))
    else:
        _say(done)
    return 0


def _say(done: Deployment) -> None:
    server = done.current
    say(f"{done.name}: {server.asked} ({server.digest[:12]}) at {done.url}, by {server.by}")
    if server.to == "kubernetes":
        say("  applied; nothing was tested, and whether its pods come up Kubernetes tells:")
        say(f"  kubectl --namespace {server.place['namespace']} rollout status deployment/assay-{done.name}")
    elif server.to == "sagemaker":
        say("  applied; nothing was tested, and whether its machine comes up SageMaker tells:")
        say(f"  aws sagemaker describe-endpoint --endpoint-name {sagemaker.endpoint_of(server)}")
        say(f"  its {server.place['machine']} is paid from now on, until assay undeploy --as {done.name}")
    else:
        say(f"  its smoke test: {server.tested} questions answered, twice alike, at {server.since}")
    for line in server.against:
        say(f"  note: {line}")
    if server.to == "mlflow":
        say(f"  MLflow's: {done.url}/invocations")
    elif server.to == "sagemaker":
        say(f"  InvokeEndpoint's, with OpenAI's chat completions as JSON, model {done.name}")
    else:
        say(f"  OpenAI's: {done.url}/v1, model {done.name}")
    if done.previous is not None:
        say(f"  before: {done.previous.asked} ({done.previous.digest[:12]}); assay deploy --previous --as {done.name}")


def _told(root: Path, done: Deployment) -> dict[str, Any]:
    told = {"url": done.url, "by": done.current.by, **done.model_dump(mode="json")}
    if done.current.elsewhere:
        ready, found = _elsewhere(done.current)
        return {**told, "running": {"server": ready}, "said": found}
    folder = state.folder_of(root, done.name)
    up = {
        "server": bool(processes.running(folder, done.current.id)),
        "address": bool(processes.running(folder, done.front)),
    }
    return {**told, "running": up}


def _elsewhere(server: Server) -> tuple[bool, str]:
    try:
        return {"kubernetes": kubernetes.applied, "sagemaker": sagemaker.applied}[server.to](server)
    except AssayError as e:
        complain(str(e))
        return False, "not reached"


def show_deployments(root: Path, json_output: bool) -> int:
    """What is deployed, and whether it runs. Returns 5 where something of it doesn't."""
    found, broken = [], []
    for name in state.all_names(root):
        try:
            deployment = state.read(state.folder_of(root, name))
        except AssayError as e:
            broken.append(e)
            complain(str(e))
            continue
        if deployment is not None:
            found.append(_told(root, deployment))
    down = [d["name"] for d in found if not all(d["running"].values())]
    if json_output:
        emit({"deployments": found})
    elif not found:
        say("nothing is deployed")
    else:
        rows = [
            [d["name"], d["url"], d["by"], d["current"]["asked"], d["current"]["digest"][:12],
             d["current"]["since"], d.get("said") or ("down" if d["name"] in down else "runs")]
            for d in found
        ]  # fmt: skip
        show_table(["deployment", "address", "by", "model", "weights", "since", ""], rows)
        for name in down:
            say(f"{name} is down: assay deploy --again --as {name}")
    return max([5 if down else 0, *(e.exit_code for e in broken)])


def undeploy_model(root: Path, name: str, json_output: bool) -> None:
    """End it.

    Raises: as `undeploy`.
    """
    ended = undeploy(root, name, complain)
    if json_output:
        emit({"name": name, "ended": ended})
    else:
        say(f"{name}: {ended} processes or objects ended")
