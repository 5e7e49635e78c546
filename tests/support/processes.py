"""Processes of our own that are killed at a named place, or started together."""

import os
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[2]


def killing_at(place: str, count: int = 1) -> str:
    """Code that lets this process kill itself (SIGKILL) when `module:Class.function` is called the `count`-th time.

    The module is patched when it has been imported, so that nothing is imported earlier than it would be.
    """
    module, _, name = place.partition(":")
    return textwrap.dedent(f"""
        import builtins, functools, importlib, os, signal, sys
        _left, _import = [{count}], builtins.__import__

        def _patch(module):
            *path, name = {name!r}.split(".")
            owner = functools.reduce(getattr, path, module)
            raw = owner.__dict__[name]
            kind = type(raw) if isinstance(raw, (staticmethod, classmethod)) else None
            function = raw.__func__ if kind else raw
            @functools.wraps(function)
            def dying(*args, **kwargs):
                _left[0] -= 1
                if _left[0] == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                return function(*args, **kwargs)
            setattr(owner, name, kind(dying) if kind else dying)

        def _watching(name, *args, **kwargs):
            found = _import(name, *args, **kwargs)
            module = sys.modules.get({module!r})
            ready = module is not None and not getattr(module.__spec__, "_initializing", False)
            # Once: imports that this one is within see the module as well.
            if ready and builtins.__import__ is _watching:
                builtins.__import__ = _import
                _patch(module)
            return found

        builtins.__import__ = _watching
    """)


def python(code: str, state: Path, *, arguments: Sequence[str] = (), **environment: str) -> subprocess.Popen[str]:
    """A process that runs `code` with a state folder of its own choice."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("ZENML_", "MLFLOW_"))}
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments], cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env={**kept, "ASSAY_STATE": str(state), "PYTHONPATH": str(ROOT), **environment},
    )  # fmt: skip


def command(*arguments: str, before: str = "") -> str:
    """Code of an `assay` command; `before` runs first."""
    return f"{before}\nimport sys\nfrom ops.main import main\nsys.argv = {['assay', *arguments]!r}\nmain()\n"


def ended(process: subprocess.Popen[str], timeout: float = 600) -> tuple[int, str]:
    """Exit status and standard error of a process, once it is done."""
    out, error = process.communicate(timeout=timeout)
    return process.returncode, f"{out}\n{error}"


def children() -> set[psutil.Process]:
    """Those of this process; other tests of it may have left some that end with it."""
    return set(psutil.Process().children())
