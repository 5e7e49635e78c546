"""The folder of an export: it appears whole, and never in the place of files that no export wrote."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from pydantic import ValidationError

from ops.export.files import ExportedFile, Target
from steps.contracts.errors import ConfigError
from steps.contracts.locks import OwnFolder, remove_left
from steps.contracts.reports import Frozen
from steps.contracts.storage import writing

CARD = "README.md"
RECORD = ".assay-export.json"
# Rows that the format can't express: ids and reasons.
REFUSED = ".assay-refused.jsonl"
_ASIDE = ".assay-export-"


class ExportRecord(Frozen):
    """What an export holds and what it was made of; it lies beside the files.

    Attributes:
        dataset: digest of the dataset version; `stage`: the one that made it.
        scrubbed: whether its rows went through scrub.
        refused: rows that the format can't express, per reason.
    """

    to: Target
    run: str
    dataset: str
    stage: str
    scrubbed: bool
    files: tuple[ExportedFile, ...]
    refused: dict[str, int]

    @property
    def rows(self) -> int:
        """Rows in all files."""
        return sum(f.rows for f in self.files)


def _of_rows(out: Path) -> set[str]:
    """Files that an export of rows wrote there."""
    record = read_record(out)
    return {RECORD, CARD, REFUSED, *(f.path for f in record.files)} if record else set()


@contextmanager
def whole_folder(out: Path, written: Callable[[Path], set[str]] = _of_rows) -> Iterator[Path]:
    """An empty folder that takes the name `out` when the block ends well, in the place of an earlier export there.

    `written`: names of the files in a folder that may be replaced. Beside the folder that is yielded there is room for
    others, which are removed with it.

    Raises:
        ConfigError: `out` is a file, or holds files that no export wrote.
        StorageError: it can't be made.
    """
    out = out.expanduser().absolute()
    _check(out, written)
    with writing(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        remove_left(out.parent, _ASIDE)
        with closing(OwnFolder(out.parent, _ASIDE)) as own:
            made, old = own.path / "new", own.path / "old"
            made.mkdir()
            yield made
            _check(out, written)
            if out.exists():
                out.rename(old)
            made.rename(out)
            shutil.rmtree(old, ignore_errors=True)


def _check(out: Path, written: Callable[[Path], set[str]]) -> None:
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        what = "a link" if out.is_symlink() else "a file"
        raise ConfigError(f"this is {what}; --out names a folder", where=str(out), hint="name another one")
    if not out.exists():
        return
    own = written(out)
    other = sorted(p.relative_to(out).as_posix() for p in out.rglob("*") if not p.is_dir())
    other = [name for name in other if name not in own]
    if other:
        shown = ", ".join(other[:3]) + (f" and {len(other) - 3} more" if len(other) > 3 else "")
        hint = "name another --out folder, or move these files away"
        raise ConfigError(f"files that no export wrote would be lost: {shown}", where=str(out), hint=hint)


def read_record(folder: Path) -> ExportRecord | None:
    """What an export says of itself; None where there is none."""
    try:
        return ExportRecord.model_validate_json((folder / RECORD).read_bytes())
    except (ValidationError, OSError):
        return None
