"""The base model step."""

from typing import Annotated

import materializers.all  # noqa: F401 - says how the outputs are stored
from steps.base.config import BaseConfig
from steps.contracts.models import ModelFolder
from steps.engines.template.config import TemplateConfig
from steps.engines.template.effective import settings_of
from steps.zenml_runtime.context import input_root, source_root
from steps.zenml_runtime.models import load_models
from steps.zenml_runtime.state import workspace
from steps.zenml_runtime.step import assay_step, cache_key


def key() -> str:
    """Cache key of this step."""
    return cache_key(__name__, ["torch", "transformers", "tokenizers", "peft"])


@assay_step(key)
def base_step(
    config: BaseConfig, inputs: dict[str, str], template: TemplateConfig, registered: dict[str, str]
) -> Annotated[ModelFolder, "base"]:
    """Find or make the base model, with the settings of its chat template.

    `inputs`: digests of a local folder's files or of a function's code, and of the template's file. `registered`: the
    registered model that the run's first step found; empty where the base is none.
    """
    from steps.base.base import resolve_base
    from steps.base.registered import from_registered

    root = input_root("base")
    if registered:
        over, model = load_models(registered["run"], registered["weights"])
        return from_registered(over, model, registered, workspace("base"), settings_of(template, root))
    # A folder that was brought here is gone with this machine: its files go on in the artifact.
    return resolve_base(config, workspace("base"), root, keep_files=root != source_root(), template=template)
