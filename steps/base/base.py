"""The model that a run starts from: made here, found in a local folder, or pinned on the hub."""

import json
import shutil
import warnings
from pathlib import Path

from steps.base.builders import load_builder
from steps.base.config import BaseConfig
from steps.contracts.digests import value_digest
from steps.contracts.errors import ConfigError, InputNotFoundError
from steps.contracts.models import BaseRef, ModelFolder
from steps.engines.lm.folder import count_parameters, model_files, model_folder, quantization_of
from steps.engines.lm.references import hub_reference, local_folder, local_reference
from steps.engines.progress.progress import Stopwatch
from steps.engines.template.config import TemplateConfig
from steps.engines.template.effective import settings_of


def resolve_base(
    config: BaseConfig,
    folder: Path,
    root: Path = Path(),
    *,
    keep_files: bool = False,
    template: TemplateConfig | None = None,
) -> ModelFolder:
    """Find or make the base model. One that is made here is written to `folder`, with `keep_files` the files of a local
    one too; the others are references. Relative paths start from `root`. `template`: how its rows become text.

    Raises:
        ConfigError: `model` names a function that isn't there, or `options` that it doesn't have; its weights are
            quantized.
        InputNotFoundError: no such folder or hub model, no safetensors in it, no tokenizer with a chat template.
        ServiceError: the hub can't be reached.
    """
    found = _found(config, folder, root, keep_files=keep_files)
    settings = settings_of(template, root) if template else None
    return ModelFolder(found.info.model_copy(update={"template": settings}), found.path)


def _found(config: BaseConfig, folder: Path, root: Path, *, keep_files: bool) -> ModelFolder:
    if config.registered:
        raise ConfigError(
            "a registered model is found by the first step of a run, in the stack's registry",
            where=f"base.model: {config.model}", hint="run it, or name the folder of its weights",
        )  # fmt: skip
    if config.is_built:
        return _built(config, folder)
    if (local := local_folder(config.model, root, others=", or a function (package.module:function)")) is not None:
        return _local(config, local, folder if keep_files else None)
    return _hub(config)


def _built(config: BaseConfig, folder: Path) -> ModelFolder:
    watch = Stopwatch()
    build, options = load_builder(config)
    notes = build(options, config.seed, config.num_threads, folder)
    check_complete(folder)
    digest = value_digest(model_files(folder))
    ref = BaseRef(source="scratch", name="scratch", digest=digest)
    made = model_folder(folder, kind="full", base=ref, parameters=count_parameters(folder), notes=notes)
    cost = {"seconds": watch.seconds, "cpu_seconds": watch.cpu_seconds}
    return ModelFolder(made.info.model_copy(update=cost), made.path)


def _local(config: BaseConfig, path: Path, copy: Path | None) -> ModelFolder:
    """A reference to a local folder: its files stay where they are, their digest is recorded. Or a copy of them."""
    if config.revision is not None:
        raise ConfigError(
            f"revision {config.revision!r} is set, but the model is a local folder",
            where=config.model,
            hint="drop revision; the folder's files are pinned by their digest",
        )
    path = path.resolve()
    check_complete(path)
    if copy is not None:
        files = model_files(path)
        for name in files:
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path / name, copy / name)
        ref = BaseRef(source="local", name=config.model, digest=value_digest(files))
        return model_folder(copy, kind="full", base=ref, parameters=count_parameters(copy))
    return local_reference(path)


def _hub(config: BaseConfig) -> ModelFolder:
    """A reference to a hub model at a commit. Its files are fetched now, so that a missing one fails here."""
    from steps.engines.lm.hub import download, is_commit, resolve_revision

    revision = resolve_revision(config.model, config.revision)
    notes: tuple[str, ...] = ()
    if not is_commit(config.revision):
        asked = "no revision" if config.revision is None else f"revision {config.revision!r}"
        note = f"{config.model}: {asked} was asked for, which can move; resolved to commit {revision}"
        warnings.warn(f"{note}. Set `revision` to it so that the run can be repeated.", stacklevel=3)
        notes = (note,)
    path = download(config.model, revision)
    check_complete(path)
    found = hub_reference(config.model, revision, path)
    return ModelFolder(found.info.model_copy(update={"notes": notes}), None)


def check_complete(path: Path) -> None:
    """Refuse a folder that holds no whole model which can be trained.

    Raises:
        ConfigError: it is an adapter, its weights are quantized, or the tokenizer is another model's.
        InputNotFoundError: something is missing.
    """
    model_files(path)  # raises when there are no safetensors
    if (path / "adapter_config.json").is_file() and not (path / "config.json").is_file():
        raise ConfigError(
            "this is an adapter, without the weights that it lies over", where=str(path),
            hint="name the model under it, or start from the registered model: models:/NAME/VERSION",
        )  # fmt: skip
    missing = [n for n in ("config.json", "tokenizer_config.json") if not (path / n).is_file()]
    if missing:
        hint = "save model and tokenizer into one folder with save_pretrained"
        raise InputNotFoundError(f"not a complete model: {' and '.join(missing)} missing", where=str(path), hint=hint)
    quantization_of(path)  # raises when its weights can't be trained
    _check_vocabulary(path)


def _check_vocabulary(path: Path) -> None:
    """Every token that rows are made of must have an embedding. The weights may have more, which fill up a block, and a
    tokenizer may know more that its template never writes (Gemma 3's of images).
    """
    try:
        described, tokens, settings = (
            json.loads((path / f"{name}.json").read_text("utf-8"))
            for name in ("config", "tokenizer", "tokenizer_config")
        )
        own, added = tokens["model"]["vocab"], {t["content"]: t["id"] for t in tokens.get("added_tokens", ())}
        size = described.get("vocab_size") or described["text_config"]["vocab_size"]
        template = path / "chat_template.jinja"
        written = template.read_text("utf-8") if template.is_file() else str(settings.get("chat_template"))
        ends = [settings.get(f"{name}_token") for name in ("eos", "bos", "pad")]
        known = {name: i for name, i in {**own, **added}.items() if name in own or name in written or name in ends}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # of another form: loading it will tell
        return
    if beyond := sorted(name for name, i in known.items() if i >= size):
        raise ConfigError(
            f"the tokenizer's {beyond[0]!r} has the id {known[beyond[0]]}, the weights embed {size} tokens",
            where=str(path), hint="save model and tokenizer of one and the same model into the folder",
        )  # fmt: skip
