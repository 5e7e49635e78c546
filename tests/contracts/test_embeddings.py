"""What opened cached embeddings are checked for; their bytes are nobody's business here."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from steps.contracts.digests import text_digest, value_digest
from steps.contracts.embeddings import MANIFEST, CachedEmbeddings, EmbeddingsManifest, EmbeddingsPart
from steps.contracts.errors import InputNotFoundError, IntegrityError

WAY_OUT = "\n  way out: run once with `reuse: null`: every text is embedded and kept anew"


def part(letter: str, rows: int) -> EmbeddingsPart:
    return EmbeddingsPart(
        name=f"{letter * 32}.arrow", space="s", rows=rows, dimensions=2, sha256=text_digest(letter)
    )  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    manifest = EmbeddingsManifest(parts=(part("b", 3), part("a", 4)))
    (tmp_path / MANIFEST).write_text(manifest.model_dump_json())
    for letter in "ab":
        (tmp_path / f"{letter * 32}.arrow").write_text(letter)
    return tmp_path


def test_files_follow_the_manifest_and_rows_add_up(folder: Path) -> None:
    found = CachedEmbeddings.open(folder)
    assert [f.name[0] for f in found.files] == ["b", "a"]
    assert (found.rows, found.manifest.format) == (7, 1)
    assert found.digest == value_digest(found.manifest.model_dump(mode="json")) != CachedEmbeddings().digest


def test_what_cannot_be_used_is_refused_with_a_way_out(folder: Path) -> None:
    manifest, file = folder / MANIFEST, folder / f"{'a' * 32}.arrow"
    text = manifest.read_text()

    def refused(kind: type[Exception]) -> str:
        with pytest.raises(kind) as e:
            CachedEmbeddings.open(folder)
        return str(e.value)

    file.write_text("other")
    assert refused(IntegrityError) == f"{file}: not the bytes that the manifest names{WAY_OUT}"
    file.unlink()
    assert refused(InputNotFoundError) == f"{file}: a file of the cached embeddings is missing{WAY_OUT}"
    manifest.write_text(text.replace('"format":1', '"format":2'))
    assert refused(IntegrityError) == f"{manifest}: format 2, this version reads 1{WAY_OUT}"
    manifest.write_text(text.replace('"rows":3', '"rows":0'))
    assert refused(IntegrityError) == (f"{manifest}: not readable: Input should be greater than or equal to 1{WAY_OUT}")
    manifest.unlink()
    assert refused(InputNotFoundError) == f"{folder}: no manifest.json: no cached embeddings{WAY_OUT}"


def test_a_part_has_a_safe_name_and_at_least_one_vector_of_one_number() -> None:
    good = part("a", 1).model_dump()
    assert EmbeddingsPart(**{**good, "dimensions": 1}).rows == 1
    for wrong in ({"name": "../x.arrow"}, {"rows": 0}, {"dimensions": 0}):
        with pytest.raises(ValidationError):
            EmbeddingsPart(**{**good, **wrong})
