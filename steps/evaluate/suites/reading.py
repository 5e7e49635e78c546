"""A suite's YAML file, every mistake with its line, and the files that it names, which lie below it or behind a URL."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from steps.contracts.digests import file_digest, value_digest
from steps.contracts.errors import ConfigError, InputError, InputNotFoundError, IntegrityError
from steps.contracts.evaluation import UsedSuite
from steps.contracts.pinned import is_url, pinned, unpinned
from steps.engines.yaml_lines.model_file import read_model
from steps.engines.yaml_lines.parse import KeyPath
from steps.evaluate.suites.settings import StyleRules, SuiteFile, SuiteTask

# Where a file lies that a config names: by its name.
Place = Callable[[str], Path]


@dataclass(frozen=True)
class Suite:
    """A suite as its file says it. `where`: the file's name in the config."""

    where: str
    says: SuiteFile

    def name_of(self, file: str, sha256: str | None) -> str:
        """The name, below the folder that paths in a config start from or as a URL, of a file that the suite names.

        Raises:
            ConfigError: it leads out of the suite's folder, or stands behind a URL without a SHA-256.
        """
        if (is_url(file) or is_url(self.where)) and sha256 is None:
            hint = "give its sha256 beside it: other bytes are then refused"
            raise ConfigError(f"{file} is read from a URL", where=self.where, hint=hint)
        if is_url(file):
            return pinned(file, sha256 or "")
        if ".." in PurePosixPath(file).parts or PurePosixPath(file).is_absolute() or "\\" in file:
            hint = "a suite's files lie in its folder or below, or are named by URL with their sha256"
            raise ConfigError(f"{file} leads out of the suite's folder", where=self.where, hint=hint)
        if is_url(self.where):
            return pinned(f"{unpinned(self.where)[0].rpartition('/')[0]}/{file}", sha256 or "")
        return str(PurePosixPath(self.where).parent / file)

    @property
    def files(self) -> tuple[str, ...]:
        """Names of all that its tasks are made of."""
        named = [(t.file, t.sha256) for t in self.says.tasks]
        named += [(t.json_schema, t.json_schema_sha256) for t in self.says.tasks if t.json_schema]
        return tuple(dict.fromkeys(self.name_of(file, sha256) for file, sha256 in named))

    def used(self, place: Place) -> UsedSuite:
        """What an evaluation says of it."""
        digests = [file_digest(place(name)) for name in (self.where, *self.files)]
        says = self.says
        return UsedSuite(name=says.name, version=says.version, licence=says.licence, digest=value_digest(digests))


def read_suite(name: str, place: Place) -> Suite:
    """The suite of that name.

    Raises:
        InputNotFoundError: no such file. ConfigError: it isn't YAML, or says something that a suite can't.
    """
    path = place(name)
    if not path.is_file():
        raise InputNotFoundError("no such suite", where=name, hint="evaluate.suites: paths from the project root")
    says = read_model(
        path, name, SuiteFile, "suite", keys=_keys, too_long="the questions stand in files beside it"
    )  # fmt: skip
    suite = Suite(name, says)
    _ = suite.files
    return suite


def read_suites(names: Sequence[str], place: Place) -> list[Suite]:
    """All of them.

    Raises: as `read_suite`; ConfigError: two have one name.
    """
    suites = [read_suite(name, place) for name in names]
    called = [s.says.name for s in suites]
    if twice := sorted({n for n in called if called.count(n) > 1}):
        raise ConfigError(f"two suites are called {', '.join(twice)}", where="evaluate.suites")
    return suites


def checked(suite: Suite, task: SuiteTask, place: Place) -> Path:
    """The file with a task's questions.

    Raises:
        InputNotFoundError: it isn't there. IntegrityError: its bytes aren't those that the suite says.
    """
    return _file(suite, task.file, task.sha256, place)


def checked_schema(suite: Suite, task: SuiteTask, place: Place) -> str:
    """The name of a task's JSON schema; "": it has none.

    Raises: as `checked`.
    """
    if task.json_schema is None:
        return ""
    _file(suite, task.json_schema, task.json_schema_sha256, place)
    return suite.name_of(task.json_schema, task.json_schema_sha256)


def _file(suite: Suite, file: str, sha256: str | None, place: Place) -> Path:
    path = place(suite.name_of(file, sha256))
    if not path.is_file():
        raise InputNotFoundError(f"no file {file}", where=suite.where, hint="it lies beside the suite")
    _stays_inside(suite, path, place)
    if sha256 is not None and (found := file_digest(path)) != sha256:
        hint = "if the new bytes are meant, name their SHA-256, and raise the suite's version"
        raise IntegrityError(f"{file} has SHA-256 {found}, not {sha256}", where=suite.where, hint=hint)
    return path


def _stays_inside(suite: Suite, path: Path, place: Place) -> None:
    """Of files that lie beside the suite here: a link must not lead out of its folder."""
    if is_url(suite.where) or place(suite.where).is_symlink() or not path.is_symlink():
        return
    if not path.resolve().is_relative_to(place(suite.where).parent.resolve()):
        raise InputError("a link that leads out of the suite's folder", where=str(path), hint="put the file there")


def _keys(place: KeyPath) -> list[str]:
    return [*SuiteFile.model_fields] if len(place) == 1 else [*StyleRules.model_fields, *SuiteTask.model_fields]
