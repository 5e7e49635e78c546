"""Which model a name on the command line means, with its files on this machine: registered, made by a run, a folder."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ops.audit.target import find
from ops.references import fits_several, reference
from ops.registries import parsed
from ops.release.manifest import MANIFEST as RELEASED
from ops.run_index import artifacts_of, find_run, known_runs
from steps.contracts.errors import AssayError, ConfigError, InputError, InputNotFoundError, IntegrityError
from steps.contracts.models import BASE, BaseRef, ModelFolder, registered_model
from steps.contracts.runs import ArtifactRecord, RunRecord
from steps.engines.lm.folder import model_folder
from steps.engines.lm.references import local_reference

WAYS = "models:/NAME/3 or models:/NAME@champion, run:RUN, run:RUN/base, or a folder"
_REGISTERED, _ADAPTER, _WHOLE = "models:/", "adapter_config.json", "config.json"


@dataclass(frozen=True)
class FoundModel:
    """A model that can be loaded.

    Attributes:
        name: as it was asked for.
        base: full weights; tuned: what lies over them or stands in their place; None: the base itself.
        run: that made it; None where that isn't known.
    """

    name: str
    base: ModelFolder
    tuned: ModelFolder | None
    run: RunRecord | None = None

    @property
    def model(self) -> ModelFolder:
        """What answers."""
        return self.tuned or self.base


def find_model(root: Path, text: str, over: str | None = None) -> FoundModel:
    """The model that a text means. `over`: names what a folder's adapter lies over, where that isn't known.

    Raises:
        InputError: it means nothing, or several things. InputNotFoundError: there is none, or its files are gone.
        IntegrityError: its files aren't the recorded ones. ServiceError: the registry or a store can't be reached.
    """
    if text.startswith(_REGISTERED):
        try:
            registered_model(text)
        except ValueError as e:
            raise InputError(str(e)) from e
        return _registered(root, text, text.removeprefix(_REGISTERED))
    said = reference(text, "run", "model")
    if said.kind == "model":
        return _registered(root, text, said.name)
    if said.kind == "run":
        return _of_run(root, text, said.name)
    if Path(text).expanduser().is_dir():
        return _in_folder(root, text, Path(text).expanduser().resolve(), over)
    if text.startswith((".", "/", "~")):
        raise InputNotFoundError("no such folder", where=text, hint=f"name a model as {WAYS}")
    return _bare(root, text)


def _bare(root: Path, text: str) -> FoundModel:
    """A name that says no kind: with a version or alias a registered model, else that or a run."""
    if any(sign in text for sign in "@/#"):
        return _registered(root, text, text)
    runs = known_runs(root)
    names_model = any(r.registration and r.registration.name == text for r in runs)
    names_run = any(text in (r.run_id, r.config_name) or r.name.startswith(text) for r in runs)
    if names_model and names_run:
        raise fits_several(text, ("run", "model"))
    return _registered(root, text, text) if names_model else _of_run(root, text, text)


def _registered(root: Path, text: str, name: str) -> FoundModel:
    wanted = parsed(name)
    target = find(root, name, ask=wanted.alias is not None or bool(wanted.uri))
    if target.trouble is not None:
        raise target.trouble
    tags = target.tags if target.tags is not None else target.registration.tags
    digest = tags.get("weights_digest")
    if not digest:
        raise InputNotFoundError("the registry doesn't say which weights it has", where=text, hint="name its run")
    return _by_digest(root, text, target.run, digest)


def _of_run(root: Path, text: str, name: str) -> FoundModel:
    """The model that a run ended with, or (RUN/MODEL) another one of it."""
    name, slash, which = name.partition("/")
    run = find_run(root, name)
    models = {a.name: a for a in run.of_type("model")}
    if not models:
        raise InputNotFoundError("this run made no model", where=f"run {run.name}", hint="name a run that trains")
    if slash and which not in models:
        raise InputNotFoundError(f"no model {which!r}", where=f"run {run.name}", hint=f"there are {', '.join(models)}")
    judged = _setting(run.config.get("gate"), "candidate")
    chosen = models[which] if slash else models.get(str(judged), list(models.values())[-1])
    return _loaded(root, text, run, chosen)


def _setting(values: Any, key: str) -> Any:
    return values.get(key) if isinstance(values, dict) else None


def _by_digest(root: Path, text: str, run: RunRecord, digest: str) -> FoundModel:
    store = artifacts_of(root, run)
    found = next((a for a in run.of_type("model") if store.model(a).digest == digest), None)
    if found is None:
        raise InputNotFoundError(f"run {run.name} has no model with the weights {digest[:12]}", where=text)
    return _loaded(root, text, run, found)


def _loaded(root: Path, text: str, run: RunRecord, artifact: ArtifactRecord) -> FoundModel:
    store = artifacts_of(root, run)
    model = store.weights(artifact)
    if artifact.name == BASE:
        return FoundModel(text, model, None, run)
    others = [a for a in run.of_type("model") if a.name != artifact.name]
    over = model.info.over
    under = next((a for a in others if over and store.model(a).digest == over), None)
    under = under or next((a for a in others if a.name == BASE), None)
    if under is None:
        raise InputNotFoundError("what it was trained over is gone from the run's record", where=f"run {run.name}")
    return FoundModel(text, store.weights(under), model, run)


def _in_folder(root: Path, text: str, folder: Path, over: str | None) -> FoundModel:
    if (folder / RELEASED).is_file():
        _check_release(folder)
    if (folder / _ADAPTER).is_file() and not (folder / _WHOLE).is_file():
        base = _under(root, folder, over)
        ref = base.info.base if base.info.base.source != "scratch" else BaseRef(source="scratch", name="scratch")
        tuned = model_folder(folder, kind="adapter", base=ref, parameters=base.info.parameters, trainable=1)
        return FoundModel(text, base, tuned)
    if not (folder / _WHOLE).is_file():
        hint = f"a model's folder has {_WHOLE}, or {_ADAPTER} for an adapter, and *.safetensors"
        raise InputNotFoundError("no model in this folder", where=str(folder), hint=hint)
    return FoundModel(text, local_reference(folder), None)


def _check_release(folder: Path) -> None:
    """A released model is loaded only as it was released.

    Raises:
        IntegrityError: a file isn't the one that was signed.
    """
    from ops.release.verify import verify_release

    broken = [f for f in verify_release(folder, None).findings if f.broken]
    if broken:
        what = f"{broken[0].what}: {broken[0].detail}" + (f" (and {len(broken) - 1} more)" if broken[1:] else "")
        raise IntegrityError(what, where=str(folder), hint="assay verify FOLDER says what else; have it sent again")


def _under(root: Path, folder: Path, over: str | None) -> ModelFolder:
    """The full weights that the adapter in a folder lies over."""
    if over is not None:
        found = find_model(root, over).model
        if found.info.kind != "full":
            raise ConfigError("an adapter lies over full weights, this is another adapter", where=over)
        return found
    try:
        named = json.loads((folder / _ADAPTER).read_text("utf-8"))["base_model_name_or_path"]
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise InputError(f"not a readable {_ADAPTER}", where=str(folder)) from e
    if not isinstance(named, str) or not (Path(named) / _WHOLE).is_file():
        raise InputNotFoundError(
            f"the adapter lies over {str(named)[:200]!r}, which is no folder here", where=str(folder),
            hint="say what it lies over: --over MODEL",
        )  # fmt: skip
    return local_reference(Path(named))


def find_models(root: Path, texts: Sequence[str], over: str | None = None) -> list[FoundModel]:
    """All of them; every one that can't be found is told of at once.

    Raises: as `find_model`; ConfigError: one is named twice.
    """
    twice = sorted({t for t in texts if texts.count(t) > 1})
    if twice:
        raise ConfigError(f"named twice: {', '.join(twice)}")
    found, errors = [], list[AssayError]()
    for text in texts:
        try:
            found.append(find_model(root, text, over))
        except AssayError as e:
            errors.append(e)
    if len(errors) > 1:
        raise type(errors[0])("; ".join(e.what for e in errors), where=f"{len(errors)} models", hint=errors[0].hint)
    if errors:
        raise errors[0]
    return found


def trained_on(model: FoundModel) -> set[str]:
    """Digests of the dataset versions that a model has seen."""
    info = model.model.info
    return {d for d in (info.dataset_digest, *(a.dataset_digest for a in info.started_from)) if d}
