"""What an opened dedup index is checked for."""

from pathlib import Path

import pytest

from steps.contracts.dedup_index import DedupIndex, IndexManifest, PartEntry
from steps.contracts.errors import InputNotFoundError, IntegrityError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    parts = [PartEntry(name=name, rows=1, files={"a.npy": (3, "0" * 64)}) for name in ("one", "two")]
    manifest = IndexManifest(settings="s", rows=2, last_batch=0, compared=0, capped=0, parts=tuple(parts))
    (tmp_path / "manifest.json").write_text(manifest.model_dump_json())
    for part in parts:
        (tmp_path / "parts" / part.name).mkdir(parents=True)
        (tmp_path / "parts" / part.name / "a.npy").write_bytes(b"abc")
    return tmp_path


def test_parts_lie_in_order_and_elsewhere_where_one_says_so(folder: Path) -> None:
    found = DedupIndex.open(folder)
    assert (found.folder, found.parts) == (folder, (folder / "parts" / "one", folder / "parts" / "two"))
    assert (found.manifest.rows, found.manifest.version) == (2, 1)
    (folder / "parts").rename(folder / "moved")
    assert DedupIndex.open(folder, lambda name: folder / "moved" / name).parts[1] == folder / "moved" / "two"


def test_no_index_a_missing_file_and_another_size_are_refused(folder: Path) -> None:
    with pytest.raises(InputNotFoundError) as nothing:
        DedupIndex.open(folder / "parts")
    assert str(nothing.value) == f"{folder / 'parts'}: not a dedup index: no manifest.json"
    file = folder / "parts" / "two" / "a.npy"
    file.write_bytes(b"ab")
    with pytest.raises(IntegrityError) as short:
        DedupIndex.open(folder)
    assert str(short.value) == (
        f"{file}: a file of this dedup index has 2 bytes, not 3\n"
        "  way out: run once without reuse: it makes a new index"
    )
    file.unlink()
    with pytest.raises(InputNotFoundError) as missing:
        DedupIndex.open(folder)
    assert str(missing.value) == f"{file}: a file of this dedup index is missing"
