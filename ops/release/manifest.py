"""The manifest of a release: every file with its SHA-256 and size, signed."""

from pathlib import Path

from pydantic import Field

from steps.contracts.digests import file_digest
from steps.contracts.reports import Frozen

# Below the release: what isn't the weights.
FOLDER = "release"
MANIFEST = f"{FOLDER}/manifest.json"
SIGNATURE = f"{FOLDER}/manifest.json.sig"
CARD = "README.md"
EXPORT = f"{FOLDER}/export.json"
GATE = f"{FOLDER}/gate.json"
EVALUATION = f"{FOLDER}/evaluation.json"
PAGE = f"{FOLDER}/report.html"
LINEAGE = f"{FOLDER}/lineage.json"
LICENCES = f"{FOLDER}/licences.json"
LICENCE_TEXTS = f"{FOLDER}/licences"
CONTENT = f"{FOLDER}/training-content.json"
CONTENT_TEXT = f"{FOLDER}/training-content.md"
CROISSANT = f"{FOLDER}/croissant.json"
BOM = f"{FOLDER}/bom.cdx.json"
# What a signature of a manifest says that it is of.
PURPOSE = "release"
# Chosen: a manifest of a million files is as large; more is none of ours.
LARGEST_MANIFEST = 256 << 20
LARGEST_SIGNATURE = 4096


class ReleasedFile(Frozen):
    """A file of the release."""

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    bytes: int = Field(ge=0)


class ReleaseManifest(Frozen):
    """What a release is.

    Attributes:
        created: UTC, ISO 8601; tool: version of assay that wrote it.
        model: digest of the trained model; weights: of the files of its export; dataset: of the rows, None where that
            isn't recorded.
        promoted: the gate's word; although: why it was released where something spoke against it.
        signed_by: the public key whose signature lies beside it.
        files: of all others, by path with slashes.
    """

    schema_version: int = 1
    name: str
    created: str
    tool: str
    format: str
    number_format: str
    model: str
    weights: str
    dataset: str | None
    promoted: bool
    although: str | None
    signed_by: str
    files: dict[str, ReleasedFile]


def files_below(folder: Path) -> dict[str, ReleasedFile]:
    """Every file, by path with slashes, sorted."""
    found = sorted(p for p in folder.rglob("*") if p.is_file())
    return {
        p.relative_to(folder).as_posix(): ReleasedFile(sha256=file_digest(p), bytes=p.stat().st_size) for p in found
    }
