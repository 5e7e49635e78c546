"""Templates rendered by Go's own text/template, in a program that gives them Ollama's variables (render.go)."""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steps.contracts.errors import IntegrityError, MissingDependencyError

_PROGRAM = Path(__file__).with_name("render.go")
# Chosen: seconds; a first run compiles Go's library.
_PATIENCE = 600
NO_GO = "Go isn't here, by whose text/template it would be proven (Debian: apt-get install golang-go)"


@dataclass(frozen=True)
class Asked:
    """A conversation as Ollama's templates are given it; `think`: what the request says of thinking, None: nothing."""

    template: str
    messages: Sequence[Mapping[str, Any]]
    tools: Sequence[Mapping[str, Any]] | None = None
    think: bool | None = None


@dataclass(frozen=True)
class Said:
    """A rendering, or the error that took its place."""

    text: str
    error: str | None


def has_go() -> bool:
    """Whether Go's compiler is on the PATH."""
    return shutil.which("go") is not None


def rendered_by_go(asked: Sequence[Asked]) -> list[Said]:
    """One outcome for each, in their order.

    Raises:
        MissingDependencyError: there is no Go. IntegrityError: the program didn't run.
    """
    program = shutil.which("go")
    if program is None:
        raise MissingDependencyError(NO_GO)
    cases = [vars(one) | {"messages": [_message(m) for m in one.messages]} for one in asked]
    with tempfile.TemporaryDirectory() as folder:
        # Nothing is fetched: neither another toolchain nor modules.
        own = {"GO111MODULE": "off", "GOFLAGS": "", "GOPROXY": "off", "GOTOOLCHAIN": "local", "CGO_ENABLED": "0"}
        homeless = {} if os.environ.get("HOME") or os.environ.get("GOCACHE") else {"GOCACHE": f"{folder}/cache"}
        try:
            done = subprocess.run(
                [program, "run", str(_PROGRAM)], input=json.dumps({"cases": cases}), capture_output=True, text=True,
                encoding="utf-8", cwd=folder, env={**os.environ, **own, **homeless}, timeout=_PATIENCE, check=False,
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired) as e:
            raise IntegrityError(f"Go can't render templates: {e}", where=program) from e
    if done.returncode:
        raise IntegrityError(f"Go can't render templates: {done.stderr.strip()[-300:]}", where=program)
    return [Said(one["text"], one.get("error")) for one in json.loads(done.stdout)]


def _message(message: Mapping[str, Any]) -> dict[str, Any]:
    """As Ollama's API has it: reasoning under its own name."""
    names = {"reasoning_content": "thinking", "name": "tool_name"}
    return {names.get(key, key): value for key, value in message.items()}
