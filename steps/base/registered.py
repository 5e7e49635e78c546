"""A registered model as the one that a run starts from."""

from collections.abc import Mapping
from pathlib import Path

from steps.contracts.models import ModelFolder, TemplateSettings
from steps.engines.lm.folder import model_folder


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
