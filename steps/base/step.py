"""The base model step."""

from typing import Annotated

import materializers.all  # noqa: F401 - says how the outputs are stored
from steps.base.config import BaseConfig
from steps.contracts.models import ModelFolder
from steps.engines.template.config import TemplateConfig
from steps.engines.template.effective import settings_of
from steps.engines.tracking.secrets import without_secret
from steps.zenml_runtime.context import input_root, source_root
from steps.zenml_runtime.models import load_models
from steps.zenml_runtime.state import workspace
from steps.zenml_runtime.step import assay_step, cache_key
from steps.zenml_runtime.tracker import tracking_uri, use_tracker


def key() -> str:
    """Cache key of this step."""
    return cache_key(__name__, ["torch", "transformers", "tokenizers", "peft"])


@assay_step(key)
def base_step(
    config: BaseConfig, inputs: dict[str, str], template: TemplateConfig, registered: dict[str, str]
) -> Annotated[ModelFolder, "base"]:
    """Find or make the base model, with the settings of its chat template.

    `inputs`: digests of a local folder's files or of a function's code, and of the template's file. `registered`: the
    registered model that the run's first step found; empty where the base is none. One that others registered has no
    `run`, but `registry`, `source` and when it was `made`.
    """
    from steps.base.base import resolve_base
    from steps.base.registered import from_mlflow, from_registered
    from steps.engines.tracking.registered_files import RegisteredFiles

    root = input_root("base")
    if registered:
        settings = settings_of(template, root)
        if not registered["run"]:
            use_tracker()
            place, known = registered["registry"], tracking_uri() or ""
            files = RegisteredFiles(
                known if without_secret(known) == place else place, registered["name"], registered["version"]
            )
            return from_mlflow(files, registered, workspace("base"), settings)
        over, model = load_models(registered["run"], registered["weights"])
        return from_registered(over, model, registered, workspace("base"), settings)
    # A folder that was brought here is gone with this machine: its files go on in the artifact.
    return resolve_base(config, workspace("base"), root, keep_files=root != source_root(), template=template)
