"""What a service that can run a container starts for a slot: `assay run CONFIG --slot T` in the project's image."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ops.infra import load_infra
from ops.schedule.schedule import Schedule
from ops.stacks.files import VARIABLE, StackFile, stack_file
from pipelines.load import load_model
from steps.contracts.errors import ConfigError
from steps.contracts.storage import STATE
from steps.engines.tracking.secrets import without_secret

# Besides what the files of stack and infra name, a launcher needs to know where ZenML's store is.
_STORE = "ZENML_STORE_URL"
# The image that steps run in, and launchers: it holds ops/ and configs/ (docs/image.md).
_IMAGE = "ASSAY_IMAGE"
# Variables that stay here, though a file names them: launchers get their secrets from the service's own.
_SECRET = re.compile("SECRET|PASSWORD|TOKEN|KEY|CREDENTIAL")


@dataclass(frozen=True)
class Launcher:
    """A container that starts a run. Secrets are in none of these.

    Attributes:
        command: program and arguments.
        environment: variables that the launcher's config names, as they are set here.
    """

    image: str
    command: tuple[str, ...]
    environment: Mapping[str, str]


def launcher_of(root: Path, schedule: Schedule, slot: str, environment: Mapping[str, str] = os.environ) -> Launcher:
    """The launcher of a schedule's slots. `slot`: how the service says which one.

    Raises:
        ConfigError: the image doesn't hold the config, or isn't named.
    """
    if Path(schedule.config).is_absolute():
        hint = "keep it below the checkout's configs/, which the image holds, and build the image anew"
        raise ConfigError("a launcher in the image can't read this config", where=schedule.config, hint=hint)
    if not environment.get(_IMAGE):
        hint = f"export {_IMAGE}=registry.example.org/team/assay@sha256:..., which holds this checkout"
        raise ConfigError(f"the launcher's image isn't named: {_IMAGE} isn't set", where="--on", hint=hint)
    command = ["assay", "run", schedule.config, "--slot", slot, "--schedule", schedule.name]
    for option, value in (("--infra", schedule.infra), ("--stack", schedule.stack)):
        command += [option, value] if value else []
    for override in schedule.overrides:
        command += ["--set", override]
    command += ["--if-changed"] if schedule.if_changed else []
    return Launcher(environment[_IMAGE], tuple(command), _reaching(root, schedule, environment))


def _reaching(root: Path, schedule: Schedule, environment: Mapping[str, str]) -> dict[str, str]:
    """Variables that the files of infra and stack name, where they are set and are no secrets."""
    infra = load_infra(root, schedule.infra or schedule.stack)
    stack = load_model(StackFile, stack_file(root, schedule.stack or infra.stack))
    written = infra.model_dump_json(include={"environment", "settings", "steps"}) + stack.model_dump_json()
    found = list(VARIABLE.finditer(written))
    hidden = {m.group(2) for m in found if m.group(1)} | {STATE}
    named = dict.fromkeys([*(m.group(2) for m in found), _STORE])
    given = {n: environment[n] for n in named if n in environment and n not in hidden}
    return {n: value for n, value in given.items() if not _SECRET.search(n) and without_secret(value) == value}
