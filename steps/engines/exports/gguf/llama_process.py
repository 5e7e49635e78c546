"""A GGUF file in llama.cpp's server, in another process, which may die alone."""

import json
import secrets
import subprocess
import sys
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from steps.contracts.errors import IntegrityError, MissingDependencyError

_PROGRAM = Path(__file__).with_name("serve_model.py")
# How llama.cpp marks errors in its log.
_ERROR = " E "
# Seconds that it has to end by itself.
_LAST = 20


@dataclass(frozen=True)
class LlamaSettings:
    """How it is run.

    Attributes:
        context: tokens of all prompts and answers that are under way.
        parallel: how many are answered at once.
        threads: of the CPU.
        tells_special: whether special tokens stand in the text of answers.
    """

    context: int
    parallel: int = 1
    threads: int = 1
    tells_special: bool = False


class LlamaProcess:
    """The process, from when it answers at `address` until `stop`. Requests bear `key`: other programs of this machine
    know neither.
    """

    def __init__(self, file: Path, settings: LlamaSettings, log: Path) -> None:
        """Start it, and wait until the file is loaded.

        Raises:
            MissingDependencyError: llama.cpp isn't installed. IntegrityError: it can't load the file.
        """
        require_server()
        self.key = secrets.token_hex(16)
        self._log = log
        with log.open("wb") as errors:
            self._process = subprocess.Popen(
                [sys.executable, str(_PROGRAM)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors,
                text=True, start_new_session=True,
            )  # fmt: skip
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps({"file": str(file), "key": self.key, **asdict(settings)}) + "\n")
            self._process.stdin.flush()
            self.address = self._process.stdout.readline().strip()
        except BrokenPipeError:
            self.address = ""
        except BaseException:
            self.stop()
            raise
        if not self.address.startswith("http"):
            self.stop()
            raise IntegrityError(f"llama.cpp can't load the file: {self.last_words()[:300]}", where=file.name)

    @property
    def pid(self) -> int:
        """Its number."""
        return self._process.pid

    def wait(self) -> int:
        """Its status, when it has ended; negative: the signal that ended it."""
        return self._process.wait()

    def last_words(self) -> str:
        """The first error that it told of, else its last line."""
        lines = self._log.read_text(errors="replace").strip().splitlines() or ["no word"]
        errors = [line.partition(_ERROR)[2] for line in lines if _ERROR in line]
        return errors[0] if errors else lines[-1]

    def stop(self) -> None:
        """End it."""
        assert self._process.stdin is not None and self._process.stdout is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(timeout=_LAST)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()


def require_server() -> None:
    """Raises MissingDependencyError where llama.cpp isn't installed."""
    from importlib.util import find_spec

    missing = [name for name in ("xllamacpp", "gguf") if find_spec(name) is None]
    if missing:
        what = f"GGUF files are run and read with {', '.join(missing)}, which isn't installed"
        raise MissingDependencyError(what, hint="pip install 'assay[gguf]'")
