"""What reaches the processes of steps: variables, secrets by reference, and the switches that the launcher has."""

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ops.environment import SWITCHES
from ops.infra import InfraConfig
from ops.stacks.files import VARIABLE, filled, variables
from ops.stacks.secrets import stale_keys, stored_secret, write_secret
from steps.contracts.errors import ConfigError

# A step that opens ZenML's database itself, and not by a server, finds it as its launcher has made it: it never changes
# it, and doesn't read all changes that there ever were, which measured 0.2 CPU seconds per step.
_NO_MIGRATION = {"DISABLE_DATABASE_MIGRATION": "true"}
_LOGS = ("ZENML_DISABLE_STEP_LOGS_STORAGE", "ZENML_DISABLE_PIPELINE_LOGS_STORAGE")


@dataclass(frozen=True)
class _Reaching:
    """Variables in clear, and ZenML secrets by name."""

    environment: Mapping[str, str]
    secrets: tuple[str, ...]

    def options(self) -> dict[str, Any]:
        """As ZenML takes them, for a pipeline or a step."""
        return {
            **({"environment": dict(self.environment)} if self.environment else {}),
            **({"secrets": list(self.secrets)} if self.secrets else {}),
        }


def pipeline_options(infra: InfraConfig, environment: Mapping[str, str], *, elsewhere: bool) -> dict[str, Any]:
    """What all steps get, as ZenML takes it for a pipeline. Secrets are stored. `elsewhere`: steps don't inherit the
    launcher's own variables.

    Raises:
        ConfigError: a variable isn't set, or ZenML has no such secret.
    """
    switches = _switches(infra) if elsewhere else {}
    reaching = _reaching("all", infra.stack, infra.environment, infra.secrets, environment)
    logs = infra.run.enable_step_logs
    return {
        **_Reaching({**switches, **reaching.environment}, reaching.secrets).options(),
        "enable_step_logs": logs,
        "enable_pipeline_logs": logs,
    }


def step_options(infra: InfraConfig, step: str, environment: Mapping[str, str]) -> dict[str, Any]:
    """What one step gets besides, as ZenML takes it for a step. Secrets are stored.

    Raises:
        ConfigError: as `pipeline_options`.
    """
    own = infra.of(step)
    return _reaching(step, infra.stack, own.environment, own.secrets, environment).options()


def unset(infra: InfraConfig, environment: Mapping[str, str]) -> list[str]:
    """Variables of the launcher that the file needs and that aren't set."""
    values = [infra.environment, infra.settings, *((s.environment, s.settings) for s in infra.steps.values())]
    needed = (name for name, must in variables(values) if must)
    return [name for name in dict.fromkeys(needed) if name not in environment]


def log_switches(enabled: bool) -> dict[str, str]:
    """Whether ZenML stores what steps print. It asks these before anything else, and stores what is as grave as its own
    verbosity asks for: what goes to standard error counts as an error.
    """
    said = dict.fromkeys(_LOGS, "false" if enabled else "true")
    return {**said, "ZENML_LOGGING_VERBOSITY": "ERROR"} if enabled else said


def store_logs() -> None:
    """Let ZenML store what steps of this process print."""
    os.environ.update(log_switches(True))
    # ZenML has read its verbosity by now.
    logging.root.setLevel(logging.ERROR)


def _switches(infra: InfraConfig) -> dict[str, str]:
    """The same for every run of a file, since ZenML has them in its cache keys."""
    quiet = {} if infra.run.progress else {"ASSAY_PROGRESS": "off"}
    return {**SWITCHES, **_NO_MIGRATION, **log_switches(infra.run.enable_step_logs), **quiet}


def _reaching(
    who: str, stack: str, said: Mapping[str, str], secrets: tuple[str, ...], environment: Mapping[str, str]
) -> _Reaching:
    plain = {n: text for n, text in said.items() if not _is_secret(text)}
    own = f"assay-step-{stack}-{who}"
    hidden = _hidden({n: text for n, text in said.items() if n not in plain}, own, environment)
    for secret in secrets:
        _check_there(secret)
    if hidden and (stale := stale_keys(own, hidden)):
        write_secret(own, stale)
    given = {name: value for name, text in plain.items() if (value := _filled(name, text, environment))}
    return _Reaching(given, (*secrets, *([own] if hidden else ())))


def _is_secret(text: str) -> bool:
    return any(m.group(1) for m in VARIABLE.finditer(text))


def _hidden(said: Mapping[str, str], own: str, environment: Mapping[str, str]) -> dict[str, str]:
    """Secrets by the name of the step's variable. What isn't set here keeps the value that is stored, as for a launcher
    that a clock starts somewhere.
    """
    set_ = {n: all(m.group(2) in environment for m in VARIABLE.finditer(text)) for n, text in said.items()}
    stored = stored_secret(own) if not all(set_.values()) else {}
    found = {n: stored[n] if not set_[n] and n in stored else _filled(n, text, environment) for n, text in said.items()}
    return {n: value for n, value in found.items() if value}


def _filled(name: str, value: str, environment: Mapping[str, str]) -> str:
    missing = [m.group(2) for m in VARIABLE.finditer(value) if m.group(3) is None and m.group(2) not in environment]
    if missing:
        what = f"steps are to have {name}, for which the environment variable {missing[0]} is needed"
        raise ConfigError(what, where="infra file", hint=f"export {missing[0]}=...")
    return str(filled(value, environment))


def _check_there(secret: str) -> None:
    from zenml.client import Client

    try:
        Client().get_secret(secret, allow_partial_name_match=False, allow_partial_id_match=False, hydrate=False)
    except KeyError as e:
        hint = f"assay zenml secret create {secret} --NAME=VALUE, or write ${{secret:NAME}} under environment"
        raise ConfigError(f"ZenML has no secret {secret!r} that you may read", where="infra file", hint=hint) from e
