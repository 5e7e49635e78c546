"""A registered model as the one that a run starts from."""

import shutil
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

from steps.base.base import check_complete
from steps.base.mlflow_model import Layout, layout_of
from steps.contracts.digests import value_digest
from steps.contracts.models import BaseRef, ModelFolder, TemplateSettings
from steps.engines.lm.folder import count_parameters, model_files, model_folder
from steps.engines.tracking.registered_files import RegisteredFiles


def from_registered(
    over: ModelFolder,
    model: ModelFolder,
    registered: Mapping[str, str],
    folder: Path,
    template: TemplateSettings | None,
) -> ModelFolder:
    """The model itself, or an adapter merged into the weights that it lies over, in float32, in `folder`: what a run
    starts from is always whole. The chain that led to it goes on from it.

    Args:
        over: the full weights that an adapter lies over.
        registered: `name` and `version` in the registry.
        template: how its rows become text in this run; None: as the model has it.
    """
    info, name = model.info, f"models:/{registered['name']}/{registered['version']}"
    if info.kind == "full":
        return ModelFolder(info.model_copy(update={"name": name, "template": template or info.template}), model.path)
    from steps.engines.lm.load import load_start

    loaded = load_start(over, model, dtype="float32", device="cpu")
    loaded.model.save_pretrained(str(folder))
    loaded.tokenizer.save_pretrained(str(folder))
    return model_folder(
        folder,
        kind="full",
        base=info.base,
        parameters=sum(p.numel() for p in loaded.model.parameters()),
        notes=[f"the adapter {info.digest[:12]} of {name}, merged in float32 into the weights that it lies over"],
        name=name,
        started_from=info.lineage,
        template=template or info.template,
    )


def looked_at(files: RegisteredFiles) -> Layout:
    """Where the causal model lies in a version that others registered; a few small files are read.

    Raises: as `layout_of` and `RegisteredFiles.names`.
    """
    with TemporaryDirectory(prefix="assay-mlflow-") as folder:

        def read(name: str) -> bytes:
            files.fetch([name], Path(folder))
            return (Path(folder) / name).read_bytes()

        return layout_of(files.place, files.names(), read)


def from_mlflow(
    files: RegisteredFiles, registered: Mapping[str, str], folder: Path, template: TemplateSettings | None
) -> ModelFolder:
    """A model that others registered, its files copied into `folder`: weights and tokenizer side by side. It is a base:
    nothing is known of what it was trained on.

    Args:
        registered: `source`, where it was registered from.
        template: how its rows become text in this run; None: its own as it is.

    Raises: as `looked_at`; ConfigError, InputNotFoundError: the model isn't whole, or can't be trained.
    """
    layout = looked_at(files)
    with TemporaryDirectory(prefix="assay-mlflow-", dir=folder.parent) as fetched:
        files.fetch(layout.files, Path(fetched))
        folder.mkdir(parents=True, exist_ok=True)
        for name in layout.files:
            shutil.move(Path(fetched) / name, folder / PurePosixPath(name).name)
    check_complete(folder)
    return model_folder(
        folder,
        kind="full",
        base=BaseRef(source="registered", name=files.place, digest=value_digest(model_files(folder))),
        parameters=count_parameters(folder),
        notes=[f"{files.place} was registered by others, from {registered['source']}: what it learnt isn't known"],
        name=files.place,
        template=template,
    )
