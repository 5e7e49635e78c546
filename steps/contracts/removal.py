"""What was removed on purpose, and by whom: what tells it apart from what is gone.

A removal lies as `removed/ID.json` below the root of every artifact store that something was removed from, its
signature beside it as `removed/ID.json.sig`.
"""

from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Literal, TypeAlias

from pydantic import Field

from steps.contracts.reports import Frozen

# Below the root of an artifact store, and of the state folder.
FOLDER = "removed"
SIGNATURE = ".sig"
# What a signature of one vouches for, so that it can't be passed off as another.
PURPOSE = "removal"

By: TypeAlias = Literal["erase", "gc"]


class RemovedFile(Frozen):
    """A file, or a folder with all that lay in it.

    Attributes:
        uri: where it was.
        what: its kind, in words.
        sha256: of a file, where it was known.
    """

    uri: str
    what: str
    sha256: str | None = None


class StayingWeights(Frozen):
    """Weights that were trained on erased rows. Nothing takes a row out of weights: they are trained anew, or retired.

    Attributes:
        model: the weights' digest.
        run: that trained them.
        registered: versions that have them, as MODEL/VERSION.
        sure: False where the rows that they were trained on can't be looked up any more.
    """

    model: str
    run: str
    registered: tuple[str, ...] = ()
    sure: bool = True


class Removal(Frozen):
    """What one `erase` or `gc` removed.

    Attributes:
        id: of the erasure, or of the collection of garbage.
        removed: UTC, ISO 8601: when all of it was gone.
        host: where it was done; user: by whom.
        request: what was asked for, without a value: numbers of records, sources and values.
        folders: those of artifacts that went with all that lay in them; each file is among `files` too.
        rows: how many rows of how many ids were erased; copies counted once.
        versions: digests of dataset versions that held them; each is to be made anew by a run.
        runs: names of the runs that have lost something.
        weights: that stay, and have to be trained anew or retired.
        sources: source and place of the rows in files that aren't assay's: whoever keeps those removes them there.
        searched: what was looked through afterwards; files: how many there were.
        not_searched: what couldn't be, and why.
        left: where something was still found, in words; () makes the certificate true.
    """

    id: str
    by: By
    removed: str
    host: str = ""
    user: str = ""
    request: dict[str, int] = Field(default_factory=dict)
    files: tuple[RemovedFile, ...] = ()
    folders: tuple[str, ...] = ()
    rows: int = 0
    versions: tuple[str, ...] = ()
    runs: tuple[str, ...] = ()
    weights: tuple[StayingWeights, ...] = ()
    sources: tuple[str, ...] = ()
    searched: tuple[str, ...] = ()
    searched_files: int = 0
    not_searched: tuple[str, ...] = ()
    left: tuple[str, ...] = ()

    @property
    def holds(self) -> bool:
        """Whether nothing of what was to go was found again."""
        return not self.left

    def covers(self, uri: str) -> bool:
        """Whether the file at this URI was among what was removed, by itself or with its folder; one of this machine
        may be named through links.
        """
        plain = uri.removeprefix("file://")
        paths = {plain} if "://" in plain else {plain, str(Path(plain).resolve())}
        each = (PurePosixPath(path) for path in paths)
        return any(str(above) in self._named for path in each for above in (path, *path.parents))

    @cached_property
    def _named(self) -> frozenset[str]:
        """Files and folders as `covers` looks for them: a URI keeps one of the slashes behind its scheme."""
        uris = (*(f.uri for f in self.files), *self.folders)
        return frozenset(str(PurePosixPath(uri.removeprefix("file://"))) for uri in uris)
