"""`assay stack ...`: stacks as files, and as ZenML has them."""

import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from ops.commands.options import Json, root_folder

stack = typer.Typer(
    name="stack", no_args_is_help=True, help="Stacks: what is declared, what ZenML has, what is missing."
)

Name = Annotated[str, typer.Argument(metavar="NAME", help="a stack: .zenml/stacks/NAME.yaml")]
Infra = Annotated[str | None, typer.Option(help="infra file to look at as well; default: that of the stack's name")]
Yes = Annotated[bool, typer.Option("--yes", help="do it; without this only what would be done is shown")]


@stack.command("list")
def list_stacks(json_output: Json = False) -> None:
    """List the declared stacks, with what was seen of each."""
    from ops.console import emit, show_table
    from ops.infra import load_infra
    from ops.stacks.files import declared_stacks

    root = root_folder()
    used = load_infra(root, None).stack
    rows = [_row(root, name, name == used) for name in declared_stacks(root)]
    if json_output:
        emit({"stacks": rows})
        return
    columns = ("name", "used", "evidence", "orchestrator", "artifacts", "tracker", "missing")
    cells = [[*(r[c] if c != "used" else "*" if r[c] else "" for c in columns)] for r in rows]
    show_table(columns, [[", ".join(c) if isinstance(c, list) else c for c in row] for row in cells])


def _row(root: Path, name: str, used: bool) -> dict[str, Any]:
    from ops.stacks.doctor import missing_extras
    from ops.stacks.files import StackFile, missing_variables, stack_file
    from pipelines.load import load_model

    path = stack_file(root, name)
    file = load_model(StackFile, path)

    def flavors(kind: str) -> str:
        return ", ".join(c.flavor for c in file.components.get(kind, ()))

    missing = [f"extra {e}" for e in missing_extras(file)] + missing_variables(path, os.environ)
    return {
        "name": name, "used": used, "evidence": file.evidence or "not stated", "proof": file.proof,
        "orchestrator": flavors("orchestrator"), "artifacts": flavors("artifact_store"),
        "tracker": flavors("experiment_tracker"), "missing": missing,
    }  # fmt: skip


@stack.command()
def show(name: Name, json_output: Json = False) -> None:
    """Show one stack: its components as the file has them, what it needs, and what its infra file asks for in vain."""
    from ops.console import emit, heading, say
    from ops.stacks.files import StackFile, stack_file, variables
    from pipelines.load import load_model

    root = root_folder()
    path = stack_file(root, name)
    file = load_model(StackFile, path)
    named = [c.configuration for components in file.components.values() for c in components]
    needs = {variable: {"needed": must, "set": variable in os.environ} for variable, must in variables(named)}
    ignored = list(_ignored(root, name, file))
    if json_output:
        emit({**file.model_dump(mode="json"), "variables": needs, "ignored": ignored, "path": str(path)})
        return
    heading(f"{name} · evidence: {file.evidence or 'not stated'}")
    say(f"{path}\n{file.proof or ''}".strip())
    for kind, components in file.components.items():
        for component in components:
            # As the file has it: what variables stand for, secrets among them, isn't shown.
            values = ", ".join(f"{k}: {v}" for k, v in component.configuration.items())
            say(f"  {kind}: {component.name} ({component.flavor}){f' {values}' if values else ''}")
    for variable, known in needs.items():
        state = "set" if known["set"] else "not set" if known["needed"] else "not set, and may be"
        say(f"  {variable}: {state}")
    for line in ignored:
        say(f"  not heeded: {line}")


def _ignored(root: Path, name: str, file: Any) -> Iterator[str]:
    from ops.stacks.checks import misfits
    from pipelines.step_names import KNOWN_STEPS

    infra = _infra_of(root, name, None)
    if infra is not None:
        yield from (m.what for m in misfits(infra, file, KNOWN_STEPS, os.environ) if not m.stops)


def _infra_of(root: Path, name: str, infra: str | None) -> Any:
    """The infra file that is named, else the one of the stack's name, if there is one."""
    from ops.infra import load_infra

    if infra is None and not (root / "configs" / "infra" / f"{name}.yaml").is_file():
        return None
    return load_infra(root, infra or name)


@stack.command()
def diff(name: Name, json_output: Json = False) -> None:
    """Say what `apply` would change in ZenML's store."""
    from ops.stacks.apply import differences
    from ops.stacks.files import stack_file

    root = _prepared()
    _tell(name, differences(stack_file(root, name), os.environ), "ZenML's store says the same", json_output)


@stack.command()
def apply(names: Annotated[list[str], typer.Argument(metavar="NAME...")], json_output: Json = False) -> None:
    """Make ZenML's store say what the stacks' files say. `assay run` does it before each run."""
    root = _prepared()
    from ops.console import emit
    from ops.stacks.apply import apply as apply_stack
    from ops.stacks.files import stack_file
    from steps.zenml_runtime.database import starting

    changes: dict[str, tuple[str, ...]] = {}
    for name in names:
        with starting():
            changes[name] = apply_stack(stack_file(root, name), dict(os.environ)).changes
        if not json_output:
            _tell(name, changes[name], "nothing to change", json_output)
    if json_output:
        emit({"stacks": {name: {"changes": changes[name]} for name in names}})


@stack.command()
def use(
    name: Annotated[str, typer.Argument(metavar="INFRA", help="an infra file: configs/infra/NAME.yaml")],
    json_output: Json = False,
) -> None:
    """Let `assay run` without --infra and --stack take this infra file, and ZenML's own command its stack."""
    root = _prepared()
    from zenml.client import Client

    from ops.console import emit, say
    from ops.infra import load_infra, remember
    from ops.stacks.apply import apply as apply_stack
    from ops.stacks.files import stack_file
    from steps.zenml_runtime.database import starting

    infra = load_infra(root, name)
    with starting():
        applied = apply_stack(stack_file(root, infra.stack), dict(os.environ))
        Client().activate_stack(applied.id)
    remember(root, name)
    if json_output:
        emit({"infra": name, "stack": infra.stack, "changes": applied.changes})
    else:
        say(f"runs go by configs/infra/{name}.yaml on stack '{infra.stack}' from now on")


@stack.command()
def doctor(name: Name, infra: Infra = None, json_output: Json = False) -> None:
    """Check what a run on this stack needs: libraries, variables, credentials, servers, the bucket. Changes nothing."""
    from ops.console import emit, show_table
    from ops.stacks.doctor import examine
    from ops.stacks.files import stack_file
    from steps.contracts.errors import ConfigError

    root = _prepared()
    checks = examine(stack_file(root, name), _infra_of(root, name, infra), dict(os.environ))
    if json_output:
        emit({"stack": name, "checks": [asdict(c) for c in checks]})
    else:
        show_table(["", "status", "found", "way out"], [[c.name, c.status, c.found, c.fix] for c in checks])
    raise typer.Exit(ConfigError.exit_code if any(c.status == "missing" for c in checks) else 0)


@stack.command()
def remove(name: Name, yes: Yes = False, json_output: Json = False) -> None:
    """Take a stack and what only it has out of ZenML's store. Its file, artifacts and their store stay."""
    root = _prepared()
    from ops.stacks.apply import remove as remove_stack
    from ops.stacks.files import stacks_folder
    from steps.zenml_runtime.database import starting

    path = stacks_folder(root) / f"{name}.yaml"
    if not yes:
        _tell(name, (), f"'{name}' would be removed from ZenML's store; do it with --yes", json_output)
        return
    with starting():
        lines = remove_stack(name, path if path.is_file() else None, dict(os.environ))
    _tell(name, lines, "", json_output)


def _prepared() -> Path:
    """The checkout, with the environment that ZenML reads when it is imported, which must come after this."""
    from ops.environment import prepare

    root = root_folder()
    prepare(root)
    return root


def _tell(name: str, lines: tuple[str, ...], nothing: str, json_output: bool) -> None:
    from ops.console import emit, say

    if json_output:
        emit({"stack": name, "changes": lines})
        return
    for line in lines or (nothing,):
        say(f"{name}: {line}")
