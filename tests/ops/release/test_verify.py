"""`assay verify`: no change of a release passes, and each is told by the name of its file."""

import json
import os
import shutil
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ops.release import manifest as place
from ops.release import verify as verify_module
from ops.release.manifest import ReleaseManifest, files_below
from ops.release.verify import verify_release
from steps.contracts.digests import value_digest
from steps.engines.signing.keys import public_key, sign
from tests.ops.release.conftest import invoke, told


@pytest.fixture
def copy(released, tmp_path, monkeypatch) -> Path:
    """On another machine: nothing but the folder, and no state."""
    shutil.copytree(released[0], tmp_path / "copy")
    shutil.copytree(released[0], tmp_path / "pristine")
    monkeypatch.setenv("ASSAY_STATE", str(tmp_path / "no-state"))
    return tmp_path / "copy"


def wrong(folder: Path, key: str | None = None) -> dict[str, str]:
    return {f.what: f.detail for f in verify_release(folder, key).findings if f.broken}


def restore(folder: Path) -> None:
    shutil.rmtree(folder)
    shutil.copytree(folder.with_name("pristine"), folder)


def names(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def test_a_release_is_verified_without_any_store(released, copy):
    _, made, _ = released
    done = invoke("verify", copy)
    assert done.exit_code == 0 and f"verified: {len(made['files'])} files" in done.stdout
    assert "not known: whose key signed it" in done.stdout
    by_key = told("verify", copy, "--key", made["signed_by"])
    assert by_key["ok"] and by_key["signer"] == made["signed_by"]
    assert not any("whose key" in line for line in by_key["unknown"])
    assert any("the base that the adapter lies over" in line for line in by_key["unknown"])
    assert not (copy.parent / "no-state").exists()


def test_every_file_by_itself(copy):
    """One byte in several places, a byte less, one more, nothing, gone, renamed, a link, a folder in its place."""
    tried = 0
    for name in names(copy):
        file, whole = copy / name, (copy / name).read_bytes()
        middle = len(whole) // 2
        variants = [bytes([*whole[:i], whole[i] ^ 1, *whole[i + 1 :]]) for i in (0, middle, len(whole) - 1)]
        for raw in (*variants, whole[:-1], whole + b"\n", b""):
            file.write_bytes(raw)
            found = wrong(copy)
            assert name in found, (name, found)
            tried += 1
        file.unlink()
        assert name in wrong(copy)
        file.with_name("other.bin").write_bytes(whole)
        beside = Path(name).with_name("other.bin").as_posix()
        assert {name, beside} <= wrong(copy).keys() or (name == place.MANIFEST and name in wrong(copy))
        file.symlink_to(file.with_name("other.bin"))
        assert name in wrong(copy)
        file.unlink()
        file.symlink_to(copy.parent / "pristine" / name)
        assert name in wrong(copy)
        file.unlink()
        file.with_name("other.bin").unlink()
        file.mkdir()
        assert name in wrong(copy)
        file.rmdir()
        file.write_bytes(whole)
        assert wrong(copy) == {}
        tried += 6
    assert tried == 12 * len(names(copy)) and len(names(copy)) == 19


def test_no_byte_of_the_signature_can_change(copy):
    file = copy / place.SIGNATURE
    whole = file.read_bytes()
    # The last characters of base64 hold bits that decoders pass over.
    ends = {i for part in (b'=="', b'="}') for i in range(whole.index(part) - 1, whole.index(part) + 2)}
    for i in range(len(whole)):
        for bit in range(8) if i in ends else [0]:
            file.write_bytes(bytes([*whole[:i], whole[i] ^ (1 << bit), *whole[i + 1 :]]))
            assert place.SIGNATURE in wrong(copy), (i, bit)


@pytest.mark.slow
def test_no_byte_of_the_manifest_can_change(copy):
    file = copy / place.MANIFEST
    whole = file.read_bytes()
    for i in range(len(whole)):
        file.write_bytes(bytes([*whole[:i], whole[i] ^ 1, *whole[i + 1 :]]))
        assert wrong(copy).keys() & {place.MANIFEST, place.SIGNATURE}, i


def test_files_that_came_later_or_changed_places(copy):
    (copy / "extra.txt").write_text("more")
    (copy / "deep/er").mkdir(parents=True)
    (copy / "release/.hidden").write_text("")
    os.mkfifo(copy / "pipe")
    assert wrong(copy).keys() == {"extra.txt", "deep/er", "release/.hidden", "pipe"}
    done = invoke("verify", copy)
    assert done.exit_code == 7 and "NOT VERIFIED: 4 of" in done.stdout and "extra.txt" in done.stdout
    restore(copy)
    a, b = copy / place.LINEAGE, copy / place.LICENCES
    a.rename(copy / "x"), b.rename(a), (copy / "x").rename(b)
    assert wrong(copy).keys() == {place.LINEAGE, place.LICENCES}
    restore(copy)
    (copy / os.fsdecode(b"bad\xff\nname")).write_text("x")
    assert list(wrong(copy)) == ["bad\\xff\nname"] and invoke("verify", copy).exit_code == 7


def signed_anew(folder: Path, key: Ed25519PrivateKey, **changed: object) -> None:
    """As somebody would who has the folder and a key of their own."""
    old = ReleaseManifest.model_validate_json((folder / place.MANIFEST).read_bytes())
    files = {n: f for n, f in files_below(folder).items() if n not in (place.MANIFEST, place.SIGNATURE)}
    made = old.model_copy(update={"files": files, "signed_by": public_key(key), **changed})
    text = made.model_dump_json(indent=1) + "\n"
    (folder / place.MANIFEST).write_text(text)
    (folder / place.SIGNATURE).write_text(sign(key, place.PURPOSE, text).model_dump_json() + "\n")


def test_another_key(released, copy):
    other = Ed25519PrivateKey.generate()
    text = (copy / place.MANIFEST).read_text()
    (copy / place.SIGNATURE).write_text(sign(other, place.PURPOSE, text).model_dump_json() + "\n")
    assert "the manifest names" in wrong(copy)[place.SIGNATURE]
    (copy / place.SIGNATURE).write_text(sign(other, "chain", text).model_dump_json() + "\n")
    assert "no signature of" in wrong(copy)[place.SIGNATURE]
    signed_anew(copy, other)
    # Without a key that came another way nobody can tell, and that is said.
    assert wrong(copy) == {} and "whose key signed it" in invoke("verify", copy).stdout
    done = invoke("verify", copy, "--key", released[1]["signed_by"])
    assert done.exit_code == 7 and place.SIGNATURE in done.stdout
    assert "which is not the key that was given" in wrong(copy, released[1]["signed_by"])[place.SIGNATURE]


@pytest.mark.parametrize(
    "name", [place.GATE, place.LINEAGE, place.LICENCES, place.CONTENT, place.BOM, place.CROISSANT, place.CARD]
)
@pytest.mark.parametrize("digest", ["model", "weights", "dataset"])
def test_documents_of_another_model_are_told_though_they_are_signed(released, copy, name, digest):
    value = released[1][digest]
    file = copy / name
    text = file.read_text()
    assert value in text
    file.write_text(text.replace(value, "0" * 64))
    signed_anew(copy, Ed25519PrivateKey.generate())
    found = wrong(copy)
    assert any(what.startswith(name) and value in detail for what, detail in found.items()), found


def test_other_weights_are_told_though_they_are_signed(released, copy):
    file = copy / "adapter_model.safetensors"
    raw = bytearray(file.read_bytes())
    raw[-1] ^= 1
    file.write_bytes(raw)
    signed_anew(copy, Ed25519PrivateKey.generate())
    found = wrong(copy)
    assert {"the weights have the digest that the manifest names", f"{place.BOM} lists the files of the weights",
            f"{place.EXPORT} lists the files of the weights"} == found.keys()  # fmt: skip
    weights = {n: f.sha256 for n, f in files_below(copy).items() if n != place.CARD and not n.startswith("release/")}
    signed_anew(copy, Ed25519PrivateKey.generate(), weights=value_digest(weights))
    assert len([what for what in wrong(copy) if what.endswith("as the manifest")]) == 7


def test_a_refused_model_isn_t_made_a_promoted_one(copy):
    said = json.loads((copy / place.GATE).read_text())
    said["against"] = ["0 of 2 approvals"]
    (copy / place.GATE).write_text(json.dumps(said))
    signed_anew(copy, Ed25519PrivateKey.generate(), promoted=False)
    found = wrong(copy)
    assert len(found) == 2 and all(what.startswith((place.GATE, f"nothing in {place.GATE}")) for what in found)
    said["against"], said["decision"] = [], "yes"
    (copy / place.GATE).write_text(json.dumps(said))
    signed_anew(copy, Ed25519PrivateKey.generate())
    assert list(wrong(copy)) == ["the documents can be read"]


def test_hostile_folders(copy):
    key = Ed25519PrivateKey.generate()
    # The manifest names what lies elsewhere: it is never opened.
    old = ReleaseManifest.model_validate_json((copy / place.MANIFEST).read_bytes())
    one = next(iter(old.files.values()))
    for name in (
        "../pristine/README.md",
        "/etc/passwd",
        "a/../README.md",
        "README.md/",
        "release\\gate.json",
        "\u202e",
    ):
        text = old.model_copy(
            update={"files": {**old.files, name: one}, "signed_by": public_key(key)}
        ).model_dump_json()
        (copy / place.MANIFEST).write_text(text)
        (copy / place.SIGNATURE).write_text(sign(key, place.PURPOSE, text).model_dump_json() + "\n")
        assert wrong(copy) == {name: "it is missing"}
    restore(copy)
    for name in (place.MANIFEST, place.SIGNATURE, "README.md"):
        with (copy / name).open("r+b") as f:
            f.truncate(1 << 40)
        assert name in wrong(copy)
        restore(copy)
    (copy / place.MANIFEST).write_text("[" * 200_000)
    assert place.MANIFEST in wrong(copy)


@pytest.mark.slow
def test_bombs_in_signed_documents_end_nothing(copy):
    for name, text in (
        (place.CARD, "---\n" + "[" * 3_000 + "\n---\n"), (place.CARD, "no metadata"), (place.BOM, "[" * 100_000),
        (place.CROISSANT, "{}"), (place.EVALUATION, "[]"), (place.EXPORT, "null"),
    ):  # fmt: skip
        (copy / name).write_text(text)
        signed_anew(copy, Ed25519PrivateKey.generate())
        assert wrong(copy), name
        restore(copy)


def test_what_is_no_release(tmp_path):
    for folder in (tmp_path, tmp_path / "gone"):
        done = invoke("verify", folder)
        assert done.exit_code == 3 and "no folder release: no release" in done.stderr
    done = invoke("verify", tmp_path, "--key", "nobody")
    assert done.exit_code == 3 and "neither a public key nor a file with one" in done.stderr


def test_a_damaged_release_is_not_loaded(copy, tiny_model):
    from ops.found_models import find_model
    from steps.contracts.errors import IntegrityError

    assert find_model(copy, str(copy), str(tiny_model.path)).tuned is not None
    file = copy / "adapter_model.safetensors"
    raw = bytearray(file.read_bytes())
    raw[-1] ^= 1
    file.write_bytes(raw)
    with pytest.raises(IntegrityError, match=r"adapter_model\.safetensors: SHA-256"):
        find_model(copy, str(copy), str(tiny_model.path))


def test_what_can_t_be_read_is_told(copy, monkeypatch):
    whole = verify_module.file_digest

    def refused(file):
        if file.name == "tokenizer.json":
            raise PermissionError(13, "Permission denied", str(file))
        return whole(file)

    monkeypatch.setattr(verify_module, "file_digest", refused)
    assert wrong(copy) == {"tokenizer.json": "it can't be read: Permission denied"}
    monkeypatch.setattr(verify_module, "file_digest", whole)
    seen = os.scandir

    def closed(place_):
        if Path(place_).name == "release":
            raise PermissionError(13, "Permission denied", str(place_))
        return seen(place_)

    monkeypatch.setattr(verify_module.os, "scandir", closed)
    found = wrong(copy)
    assert found["release"] == "it can't be read: Permission denied" and found[place.MANIFEST] == "it is missing"
