"""The one error hierarchy. Each error is also the standard-library error that a caller would expect."""

from typing import Any


class AssayError(Exception):
    """Base of every error that a user can cause and mend: what clashed, where, and the way out.

    Attributes:
        exit_code: process exit status of the command line when this error ends it.
    """

    exit_code = 1

    def __init__(self, what: str, *, where: str | None = None, hint: str | None = None) -> None:
        self.what = what
        self.where = where
        self.hint = hint
        super().__init__(self._render())

    def _render(self) -> str:
        where = f"{self.where}: " if self.where else ""
        hint = f"\n  way out: {self.hint}" if self.hint else ""
        return f"{where}{self.what}{hint}"


class ConfigError(AssayError, ValueError):
    """A setting is unknown, out of range, or contradicts another one."""

    exit_code = 2


class OutOfMemoryError(ConfigError, MemoryError):
    """Memory ended, of the machine or of a GPU: what was asked for needs more than there is."""


class InputError(AssayError, ValueError):
    """Input data can't be used: unreadable, in an unknown format, or too many rejected rows."""

    exit_code = 3


class InputNotFoundError(InputError, FileNotFoundError):
    """A named file, folder, artifact, model or run doesn't exist."""


class MissingDependencyError(AssayError, ImportError):
    """A package, model or program that the configuration asks for is not installed."""

    exit_code = 4


class ServiceError(AssayError, ConnectionError):
    """A server that the run needs (judge, tracker, artifact store) is down, refuses or answers rubbish."""

    exit_code = 5


class StorageError(AssayError, OSError):
    """Something can't be written whole: no space, no permission."""

    exit_code = 6


class IntegrityError(AssayError, RuntimeError):
    """Stored bytes are not the bytes that were recorded: a digest, row count or balance doesn't match."""

    exit_code = 7


class StepFailedError(AssayError, RuntimeError):
    """A step failed in another process, for a reason that isn't one of ours; its log says more."""


class StepTimeoutError(AssayError, TimeoutError):
    """A step took longer than the infra file allows."""

    exit_code = 9


class UnsafeSerializationError(AssayError, TypeError):
    """Something would be stored or read by pickle, or by a materializer that isn't on the list of safe ones."""

    exit_code = 8


class TrainingDataError(InputError):
    """The rows can't be trained on as configured: no trained tokens, a broken template, too few rows."""


class WorkerDiedError(AssayError, RuntimeError):
    """Worker processes died again and again on one item of work.

    Attributes:
        item: the work that they died on.
    """

    def __init__(self, what: str, item: Any = None, *, where: str | None = None, hint: str | None = None) -> None:
        super().__init__(what, where=where, hint=hint)
        self.item = item
