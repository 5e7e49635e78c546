"""`assay release`: a model with everything that is told of it, in one folder, signed; whole or not there."""

import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ops.export.folder import whole_folder
from ops.export.model import ModelExport, check_export, write_model
from ops.found_models import FoundModel, find_model
from ops.release import manifest as place
from ops.release.bom import bom
from ops.release.card import card
from ops.release.clearance import clearance_of
from ops.release.contents import Contents, gate, licences, lineage
from ops.release.croissant import croissant
from ops.release.evaluation import evaluation_of, page_of
from ops.release.facts import behind, facts_of
from ops.release.manifest import ReleaseManifest, files_below
from ops.release.training_content import as_markdown, training_content
from steps.contracts.errors import AssayError, ConfigError
from steps.contracts.exports import ExportManifest
from steps.contracts.storage import full_disk, write_whole
from steps.engines.exports.exported_folder import MANIFEST as EXPORTED
from steps.engines.lm.load import weights_path
from steps.engines.signing.keys import public_key, sign, signing_key
from steps.zenml_runtime.state import state_folder

_ADAPTER = "adapter_config.json"
# Files beside weights that hold the words of their licence, by the beginning of their names.
_LICENCE_FILES = ("license", "licence", "notice", "use_policy", "copying")
# Chosen: a tokenizer's vocabulary may be larger, and names no folder.
_LARGEST_TEXT = 1 << 20
# Chosen: the longest licences have a tenth of it.
_LARGEST_LICENCE = 1 << 20


def release(root: Path, text: str, asked: ModelExport, out: Path, although: str | None) -> ReleaseManifest:
    """Write the release of the model that `text` means into the folder `out`, whole and signed or not at all.

    Raises:
        InputError: the gate, a missing approval or a registry that doesn't answer speaks against it.
        IntegrityError: the weights in the format aren't the model, or the evidence is damaged.
        As `export_model`.
    """
    check_export(asked)
    key = signing_key(state_folder(root))
    assert key is not None  # this machine has a state folder
    with whole_folder(out, _replaceable if asked.overwrite else _nothing) as folder:
        found = find_model(root, text, asked.over)
        stores = behind(root, found)
        # Before weights are written, which takes the time.
        clearance = clearance_of(root, found, stores, although)
        facts = facts_of(found, stores)
        evaluation = evaluation_of(stores, clearance, found.model.info.digest)
        page = page_of(stores) if stores is not None else None
        exported = write_model(root, text, asked, folder, found, words=False)
        try:
            (folder / EXPORTED).unlink()
            (folder / place.CARD).unlink(missing_ok=True)
            _without_place(folder, exported)
            weights = {n: (f.sha256, f.bytes) for n, f in files_below(folder).items()}
            contents = Contents(
                name=_name(found), created=datetime.now(UTC).isoformat(timespec="seconds"), tool=version("assay"),
                facts=facts, clearance=clearance, evaluation=evaluation, files=weights,
                export=_public(exported, found, weights), licence_texts=_licence_texts(found, folder),
            )  # fmt: skip
            _write_documents(folder, contents, page, _places(root, found))
            return _sign(folder, contents, key)
        except OSError as e:
            if full := full_disk(e):
                raise full from e
            raise


def _name(found: FoundModel) -> str:
    made = found.run.registration if found.run is not None else None
    if made is not None and made.tags.get("weights_digest") == found.model.info.digest:
        return made.name
    return found.run.config_name if found.run is not None else Path(found.name).name or found.name


def _public(exported: ExportManifest, found: FoundModel, files: Mapping[str, tuple[str, int]]) -> ExportManifest:
    """Without the folders in which things lie on this machine, and without words of an answer."""
    base = exported.base
    if base.source == "local":
        base = base.model_copy(update={"name": _elsewhere(exported)})
    notes = exported.notes
    if exported.format == "adapter" and base.source != "hub":
        notes = (f"the base isn't here: it is the one whose files have the digest {exported.base_digest}",)
    return exported.model_copy(
        update={
            "base": base, "files": {n: sha256 for n, (sha256, _) in files.items()}, "notes": notes,
            "name": exported.name if found.run is not None else Path(exported.name).name,
            "parity": exported.parity.model_copy(update={"first": None}),
        }
    )  # fmt: skip


def _elsewhere(exported: ExportManifest) -> str:
    """How a base that is a folder of this machine is named outside."""
    return f"{exported.base.source}:{exported.base_digest}"


def _without_place(folder: Path, exported: ExportManifest) -> None:
    """An adapter's config names its base; where that is a folder of this machine, by its digest."""
    file = folder / _ADAPTER
    if file.is_file() and exported.base.source != "hub":
        said = json.loads(file.read_text("utf-8"))
        said["base_model_name_or_path"] = _elsewhere(exported)
        file.write_text(json.dumps(said, indent=2, sort_keys=True) + "\n", "utf-8")


def _licence_texts(found: FoundModel, folder: Path) -> tuple[str, ...]:
    """Copies of the files with licences that lie beside the base's weights on this machine."""
    try:
        beside = weights_path(found.base)
    except AssayError:
        return ()
    copied = []
    for file in sorted(beside.iterdir()):
        named = file.name.lower().startswith(_LICENCE_FILES) and file.suffix.lower() in ("", ".txt", ".md")
        if named and file.is_file() and file.stat().st_size <= _LARGEST_LICENCE:
            to = folder / place.LICENCE_TEXTS / "base" / file.name
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, to)
            copied.append(to.relative_to(folder).as_posix())
    return tuple(copied)


def _places(root: Path, found: FoundModel) -> tuple[str, ...]:
    """Folders of this machine that notes of a stage may name, the longest first."""
    store = found.run.artifact_store.removeprefix("file://") if found.run is not None else ""
    named = {
        str(root.absolute()),
        str(state_folder(root).absolute()),
        str(Path.home()),
        store if store[:1] == "/" else "",
    }
    return tuple(sorted((f"{p.rstrip('/')}/" for p in named if len(p) > 1), key=len, reverse=True))


def _check_weights(folder: Path, names: Iterable[str], places: Sequence[str]) -> None:
    """The files of the weights are written by libraries.

    Raises:
        ConfigError: one names a folder of this machine.
    """
    for name in names:
        if Path(name).suffix in (".json", ".jinja", ".txt", "") and (folder / name).stat().st_size <= _LARGEST_TEXT:
            text = (folder / name).read_text("utf-8", "replace")
            if any(p in text for p in places):
                what = "it names a folder of this machine, which nobody else has"
                raise ConfigError(what, where=name, hint="--to merged; or train from a base by its hub id")


def _write_documents(folder: Path, c: Contents, page: str | None, places: Sequence[str]) -> None:
    _check_weights(folder, c.files, places)
    content = training_content(c)
    said: dict[str, Any] = {
        place.EXPORT: c.export.model_dump(mode="json"), place.GATE: gate(c),
        place.EVALUATION: c.evaluation.model_dump(mode="json"), place.LINEAGE: lineage(c),
        place.LICENCES: licences(c), place.CONTENT: content, place.CROISSANT: croissant(c), place.BOM: bom(c),
    }  # fmt: skip
    texts = {place.CARD: card(c), place.CONTENT_TEXT: as_markdown(content), **({place.PAGE: page} if page else {})}
    for name, value in said.items():
        texts[name] = json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    for name, text in texts.items():
        for one in places:
            text = text.replace(one, ".../")  # noqa: PLW2901
        file = folder / name
        file.parent.mkdir(exist_ok=True)
        # Lone surrogates can't be written as UTF-8; JSON could say them, and no reader would like it.
        file.write_text(text.encode("utf-8", "replace").decode("utf-8"), "utf-8")


def _sign(folder: Path, c: Contents, key: Any) -> ReleaseManifest:
    decision = c.clearance.decision
    made = ReleaseManifest(
        name=c.name, created=c.created, tool=c.tool, format=c.export.format, number_format=c.export.dtype,
        model=c.model, weights=c.weights, dataset=c.dataset, promoted=decision is not None and decision.promote,
        although=c.clearance.although, signed_by=public_key(key), files=files_below(folder),
    )  # fmt: skip
    text = made.model_dump_json(indent=1) + "\n"
    signature = sign(key, place.PURPOSE, text)
    write_whole(folder / place.SIGNATURE, signature.model_dump_json() + "\n")
    write_whole(folder / place.MANIFEST, text)
    return made


def _nothing(out: Path) -> set[str]:
    """Nothing may be replaced."""
    if (out / place.MANIFEST).is_file():
        raise ConfigError("there is a release already", where=str(out), hint="--overwrite, or another --out")
    return set()


def _replaceable(out: Path) -> set[str]:
    """What an earlier release wrote."""
    try:
        made = ReleaseManifest.model_validate_json((out / place.MANIFEST).read_bytes())
    except (OSError, ValueError):
        return set()
    return {place.MANIFEST, place.SIGNATURE, *made.files}
