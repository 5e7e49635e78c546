"""`assay verify`: a released folder read again on any machine, without the stores that it was made from."""

import base64
import binascii
import json
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from ops.audit.findings import Finding, held
from ops.release import manifest as place
from ops.release.manifest import ReleasedFile, ReleaseManifest
from steps.contracts.digests import file_digest, value_digest
from steps.contracts.errors import InputNotFoundError, IntegrityError
from steps.engines.signing.keys import Signature, holds

# Chosen: more is no document of ours.
_LARGEST_DOCUMENT = 256 << 20
_DIGESTS = ("model", "weights", "dataset")
# JSON documents that name all three digests at their top.
_PLAIN = (place.GATE, place.LINEAGE, place.LICENCES, place.CONTENT)
_AGREES = "names the same model, weights and rows as the manifest"


@dataclass(frozen=True)
class Verified:
    """What a verification found. `manifest`: None where it can't be trusted to say anything."""

    manifest: ReleaseManifest | None
    signer: str | None
    findings: tuple[Finding, ...]
    unknown: tuple[str, ...]


def verify_release(folder: Path, key: str | None) -> Verified:
    """Everything in the folder against its manifest, its signature, and the documents against each other.

    `key`: the public key that must have signed, raw in base64.

    Raises:
        InputNotFoundError: there is no release.
    """
    if not (folder / place.FOLDER).is_dir():
        raise InputNotFoundError(f"no folder {place.FOLDER}: no release", where=str(folder))
    found, strange = _walk(folder)
    try:
        text, manifest = _read_manifest(folder, found)
    except IntegrityError as e:
        return Verified(None, None, (*strange, Finding(place.MANIFEST, "differs", e.what)), ())
    signer, signed = _check_signature(folder, found, text, manifest, key)
    findings = [*strange, *signed, *_check_files(folder, found, manifest)]
    if not any(f.broken for f in findings):
        findings += _check_documents(folder, manifest)
    return Verified(manifest, signer, tuple(findings), tuple(_unknown(manifest, key)))


def _walk(folder: Path) -> tuple[dict[str, int], list[Finding]]:
    """Regular files with their sizes, by path; and whatever is none, or a folder without a file."""
    files: dict[str, int] = {}
    strange: list[Finding] = []
    waiting = [(folder, "")]
    while waiting:
        place_, prefix = waiting.pop()
        try:
            entries = sorted(os.scandir(place_), key=lambda e: e.name)
        except OSError as e:
            strange.append(Finding(_shown(prefix.rstrip("/") or "."), "differs", f"it can't be read: {e.strerror}"))
            continue
        if not entries and prefix:
            strange.append(
                Finding(_shown(prefix.rstrip("/")), "differs", "a folder without a file, which no release has")
            )
        for entry in entries:
            name = prefix + entry.name
            mode = entry.stat(follow_symlinks=False).st_mode
            if stat.S_ISDIR(mode):
                waiting.append((Path(entry.path), f"{name}/"))
            elif stat.S_ISREG(mode):
                files[name] = entry.stat(follow_symlinks=False).st_size
            else:
                what = "a link" if stat.S_ISLNK(mode) else "neither a file nor a folder"
                strange.append(Finding(_shown(name), "differs", f"{what}, which no release has"))
    return files, strange


def _shown(name: str) -> str:
    """A name that needn't be valid UTF-8 on disk, so that it can be printed."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _read_manifest(folder: Path, found: Mapping[str, int]) -> tuple[str, ReleaseManifest]:
    raw = _bounded(folder, place.MANIFEST, found, place.LARGEST_MANIFEST)
    try:
        text = raw.decode("utf-8")
        return text, ReleaseManifest.model_validate_json(text)
    except UnicodeDecodeError as e:
        raise IntegrityError("no text in UTF-8") from e
    except ValidationError as e:
        raise IntegrityError(f"no manifest of a release: {e.errors()[0]['msg']}") from e


def _bounded(folder: Path, name: str, found: Mapping[str, int], most: int) -> bytes:
    if name not in found:
        raise IntegrityError("it is missing")
    if found[name] > most:
        raise IntegrityError(f"{found[name]:,} bytes, of {most:,} that it may have")
    try:
        return (folder / name).read_bytes()
    except OSError as e:
        raise IntegrityError(f"it can't be read: {e.strerror}") from e


def _check_signature(
    folder: Path, found: Mapping[str, int], text: str, manifest: ReleaseManifest, key: str | None
) -> tuple[str | None, list[Finding]]:
    """The key that signed the manifest, and what is to be said of it."""
    name = place.SIGNATURE
    try:
        raw = _bounded(folder, name, found, place.LARGEST_SIGNATURE)
        signed = Signature.model_validate_json(raw)
    except (IntegrityError, ValidationError) as e:
        return None, [Finding(name, "differs", e.what if isinstance(e, IntegrityError) else "no signature")]
    # Of one value there is one way to write it, so that no byte of the file can change unseen.
    if raw != (signed.model_dump_json() + "\n").encode() or not all(map(_is_canonical, (signed.signature, signed.key))):
        return None, [Finding(name, "differs", "it isn't written as signatures are")]
    if not holds(signed, place.PURPOSE, text):
        # Which of the two was changed nobody can tell.
        said = f"it and its signature by {signed.key} don't belong together"
        return None, [
            Finding(place.MANIFEST, "differs", said),
            Finding(name, "differs", f"no signature of {place.MANIFEST}"),
        ]
    if signed.key != manifest.signed_by:
        said = f"signed by {signed.key}, the manifest names {manifest.signed_by}"
        return signed.key, [Finding(name, "differs", said)]
    if key is not None and signed.key != key:
        return signed.key, [Finding(name, "differs", f"signed by {signed.key}, which is not the key that was given")]
    return signed.key, [Finding(f"{place.MANIFEST} is signed", "holds", f"by {signed.key}")]


def _is_canonical(text: str) -> bool:
    try:
        return base64.b64encode(base64.b64decode(text, validate=True)).decode("ascii") == text
    except (binascii.Error, ValueError):
        return False


def _check_files(folder: Path, found: Mapping[str, int], manifest: ReleaseManifest) -> Iterator[Finding]:
    """Every file by its SHA-256; what is missing; what nobody released."""
    own = {place.MANIFEST, place.SIGNATURE}
    for name, said in sorted(manifest.files.items()):
        if name in own:
            yield Finding(_shown(name), "differs", "the manifest lists what it can't vouch for")
        elif name not in found:
            yield Finding(_shown(name), "gone", "it is missing")
        else:
            yield _check_file(folder, name, found[name], said)
    for name in sorted(found.keys() - manifest.files.keys() - own):
        yield Finding(_shown(name), "differs", "it came later: the manifest doesn't list it")


def _check_file(folder: Path, name: str, size: int, said: ReleasedFile) -> Finding:
    if size != said.bytes:
        return Finding(_shown(name), "differs", f"{size:,} bytes, released were {said.bytes:,}")
    try:
        digest = file_digest(folder / name)
    except OSError as e:
        return Finding(_shown(name), "differs", f"it can't be read: {e.strerror}")
    return held(
        _shown(name),
        digest == said.sha256,
        digest if digest == said.sha256 else f"SHA-256 {digest}, released was {said.sha256}",
    )


def _check_documents(folder: Path, manifest: ReleaseManifest) -> Iterator[Finding]:
    """Documents against the manifest and the weights; every file is known to be the one that was released."""
    try:
        weights = weights_of(manifest)
        digest = value_digest({n: f.sha256 for n, f in weights.items()})
        yield held("the weights have the digest that the manifest names", digest == manifest.weights, digest)
        for name in (*_PLAIN, place.CARD, place.BOM, place.CROISSANT):
            yield _check_digests(folder, name, manifest)
        yield from _check_export(folder, manifest, weights)
        yield from _check_bom(folder, weights)
        yield from _check_gate(folder, manifest)
        yield _check_evaluation(folder, manifest)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, RecursionError, yaml.YAMLError) as e:
        yield Finding("the documents can be read", "differs", f"{type(e).__name__}: {str(e)[:200]}")


def weights_of(manifest: ReleaseManifest) -> dict[str, ReleasedFile]:
    """The files of the weights: all that are neither the card nor below `release`."""
    return {n: f for n, f in manifest.files.items() if n != place.CARD and not n.startswith(f"{place.FOLDER}/")}


def _document(folder: Path, name: str) -> Any:
    file = folder / name
    if not file.is_file() or file.stat().st_size > _LARGEST_DOCUMENT:
        raise ValueError(f"{name} is missing, or too large")
    return json.loads(file.read_text("utf-8"))


def _check_digests(folder: Path, name: str, manifest: ReleaseManifest) -> Finding:
    try:
        said = _digests(folder, name)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError, yaml.YAMLError) as e:
        return Finding(name, "differs", f"it can't be read: {type(e).__name__}: {str(e)[:200]}")
    wrong = [d for d in _DIGESTS if said.get(d) != getattr(manifest, d)]
    told = "; ".join(f"{d} {said.get(d)}, the manifest has {getattr(manifest, d)}" for d in wrong)
    return held(f"{name} {_AGREES}", not wrong, told)


def _digests(folder: Path, name: str) -> dict[str, Any]:
    """The digests that a document names."""
    if name == place.CARD:
        text = (folder / name).read_text("utf-8")
        metadata: dict[str, Any] = yaml.safe_load(text[: text.index("\n---\n", 1)])
        return dict(metadata["assay"])
    said = _document(folder, name)
    if name == place.BOM:
        return _named(said["metadata"]["component"]["properties"])
    if name == place.CROISSANT:
        values = {p["name"]: p["value"] for p in said["sc:additionalProperty"]}
        return {d: None if values[d] == "not recorded" else values[d] for d in _DIGESTS}
    return {d: said[d] for d in _DIGESTS}


def _named(properties: list[dict[str, str]]) -> dict[str, Any]:
    return {p["name"].removeprefix("assay:"): p["value"] for p in properties}


def _check_export(folder: Path, manifest: ReleaseManifest, weights: Mapping[str, ReleasedFile]) -> Iterator[Finding]:
    said = _document(folder, place.EXPORT)
    yield held(f"{place.EXPORT} is of this model", said["model"] == manifest.model, str(said["model"]))
    same = said["files"] == {n: f.sha256 for n, f in weights.items()}
    yield held(f"{place.EXPORT} lists the files of the weights", same, f"{len(said['files'])} files")


def _check_bom(folder: Path, weights: Mapping[str, ReleasedFile]) -> Iterator[Finding]:
    parts = _document(folder, place.BOM)["metadata"]["component"]["components"]
    listed = {p["name"]: [h["content"] for h in p["hashes"]] for p in parts}
    wrong = sorted(n for n in {*listed, *weights} if n not in weights or listed.get(n) != [weights[n].sha256])
    yield held(f"{place.BOM} lists the files of the weights", not wrong, ", ".join(wrong) or f"{len(listed)} files")


def _check_gate(folder: Path, manifest: ReleaseManifest) -> Iterator[Finding]:
    said = _document(folder, place.GATE)
    promoted = bool((said["decision"] or {}).get("promote"))
    same = (promoted, said["although"]) == (manifest.promoted, manifest.although)
    yield held(
        f"{place.GATE} says what the manifest says of the decision", same, "promoted" if promoted else "not promoted"
    )
    cleared = not said["against"] or said["although"] is not None
    yield held(
        f"nothing in {place.GATE} speaks against the release without a reason why it was made",
        cleared,
        "; ".join(said["against"]),
    )


def _check_evaluation(folder: Path, manifest: ReleaseManifest) -> Finding:
    said = _document(folder, place.EVALUATION)
    candidate = said["candidate"]
    what = f"{place.EVALUATION} is of this model"
    if candidate is None:
        return held(what, said["model"] == manifest.model, "it wasn't evaluated")
    digests = {s["subject"]: s["model_digest"] for s in said["subjects"]}
    return held(what, said["model"] == manifest.model == digests.get(candidate), f"as {candidate}")


def _unknown(manifest: ReleaseManifest, key: str | None) -> Iterator[str]:
    """What nothing in the folder can prove."""
    if key is None:
        yield (
            "whose key signed it: whoever changes the folder can sign it anew; --key PUBLIC tells, by a key that came"
            " another way"
        )
    yield (
        "whether what the documents tell (rows, licences, approvals, figures) is true: that is what its signer vouches"
        " for"
    )
    if manifest.format == "adapter":
        yield "the base that the adapter lies over: it isn't here, and is named by its digest"
