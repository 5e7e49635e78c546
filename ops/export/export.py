"""A dataset version as files for other programs, or as a data set on the hub."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ops.export.card import card, origin_of
from ops.export.files import Target, files_of, write_files
from ops.export.folder import CARD, RECORD, REFUSED, ExportRecord, whole_folder
from ops.versions import Version
from steps.contracts.errors import ConfigError, InputError
from steps.contracts.records import Split
from steps.contracts.storage import write_whole


@dataclass(frozen=True)
class Export:
    """What was written: the folder, and what it says of itself."""

    out: Path
    record: ExportRecord

    @property
    def refused(self) -> Path | None:
        """The list of rows that the format can't express; None where there are none."""
        return self.out / REFUSED if self.record.refused else None


def export(
    root: Path,
    version: Version,
    to: Target,
    out: Path,
    splits: Sequence[Split] = (),
    raw: bool = False,
    title: str = "",
) -> Export:
    """Write the version's rows (of these splits, where any are named) as `to` into the folder `out`.

    Rows that the format can't express are listed by id in `.assay-refused.jsonl`.

    Raises:
        ConfigError: `out` holds files that no export wrote; or rows that were never scrubbed would be made ready for
            the hub, and `raw` doesn't allow it.
        InputError: no row would be written.
    """
    if to == "hub" and not version.scrubbed and not raw:
        hint = "name a version behind scrub, or allow it with --raw"
        raise ConfigError("these rows were never scrubbed of personal data", where=_name(version), hint=hint)
    missing = set(splits) - version.dataset.manifest.splits.keys()
    if missing:
        there = ", ".join(s for s in version.dataset.manifest.splits if s) or "none: it was never split"
        raise InputError(f"no rows of split {', '.join(sorted(missing))}; there are {there}", where=_name(version))
    with whole_folder(out) as folder:
        with (folder / REFUSED).open("w", encoding="utf-8") as lines:
            written = write_files(version.dataset, to, folder, splits, lines)
        if not written.refused:
            (folder / REFUSED).unlink()
        files = files_of(folder)
        if not files:
            said = ", ".join(f"{reason} {rows:,}" for reason, rows in written.refused.most_common()) or "no rows"
            what = f"nothing to write: {to} can't express any of {written.refused.total():,} rows ({said})"
            raise InputError(what, where=_name(version), hint="choose another format: jsonl and parquet take all kinds")
        record = ExportRecord(
            to=to, run=version.run.name, dataset=version.dataset.digest, stage=version.dataset.manifest.stage,
            scrubbed=version.scrubbed, files=files, refused=dict(written.refused.most_common()),
        )  # fmt: skip
        name = title or f"{version.run.config_name}, {record.stage}"
        write_whole(folder / CARD, card(record, version, origin_of(root, version), written.fields, name))
        write_whole(folder / RECORD, record.model_dump_json(indent=1))
    return Export(out, record)


def _name(version: Version) -> str:
    return f"run {version.run.name}, {version.artifact.name}"
