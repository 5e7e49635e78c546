"""Where exports of dataset versions went: noted when one is made, so that rows can be followed there."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, TypeAlias

from pydantic import ValidationError

from ops.export.files import Target
from ops.export.folder import ExportRecord, read_record
from steps.contracts.digests import short_id
from steps.contracts.records import Split
from steps.contracts.reports import Frozen
from steps.contracts.storage import write_whole
from steps.zenml_runtime.state import state_folder

# Whether the export still stands where it was written; a hub isn't asked.
Standing: TypeAlias = Literal["there", "gone", "replaced", "not asked"]


class ExportMade(Frozen):
    """One export, as it was written.

    Attributes:
        place: its folder, or the address of its commit on a hub.
        dataset: digest of the version; `splits`: those that were written, all where none is named.
        at: when, ISO 8601 in UTC.
    """

    place: str
    to: Target
    run: str
    dataset: str
    splits: tuple[Split, ...]
    at: str

    @property
    def standing(self) -> Standing:
        """Whether it is still there, by what its folder says of itself."""
        if "://" in self.place:
            return "not asked"
        found = read_record(Path(self.place))
        if found is None:
            return "gone"
        return "there" if (found.dataset, found.to) == (self.dataset, self.to) else "replaced"


def note_export(root: Path, place: str, record: ExportRecord, splits: tuple[Split, ...]) -> None:
    """Note that a version went to a folder (absolute) or a hub. A later export to the same folder replaces it."""
    made = ExportMade(
        place=place, to=record.to, run=record.run, dataset=record.dataset, splits=splits,
        at=datetime.now(UTC).isoformat(timespec="seconds"),
    )  # fmt: skip
    write_whole(state_folder(root) / "exports" / f"{short_id(place)}.json", made.model_dump_json(indent=1))


def exports_made(root: Path) -> tuple[list[ExportMade], list[tuple[Path, str]]]:
    """All exports that were noted, oldest first; and the notes that can't be read, with why."""
    found, broken = [], []
    for file in sorted((state_folder(root) / "exports").glob("[!.]*.json")):
        try:
            found.append(ExportMade.model_validate_json(file.read_bytes()))
        except (ValidationError, OSError):
            broken.append((file, "not a note of an export"))
    return sorted(found, key=lambda e: (e.at, e.place)), broken
