"""Several models over one base, of which each is there when it is asked."""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any, TypeAlias

from steps.contracts.models import ModelFolder
from steps.engines.lm.load import load
from steps.engines.lm.shared import SharedWeights
from steps.engines.lm.threads import torch_threads
from steps.engines.subjects.local_model import Inference, LocalModel
from steps.engines.template.effective import config_of
from steps.engines.template.render import chat_template

# The type of weights in which an adapter is merged, so that it is weights of the same layers. In others it lies beside
# them, and each model has memory of its own.
_MERGED = "float32"
# Full weights, and what lies over them or stands in their place.
Models: TypeAlias = tuple[ModelFolder, ModelFolder | None]


def load_models(
    models: Mapping[str, Models], inference: Inference, stack: ExitStack
) -> tuple[Mapping[str, LocalModel], Callable[[str], None]]:
    """The models by name, and what makes one of them the one that is asked. `stack` lets go of them.

    Raises:
        ConfigError: they don't fit over one another. TrainingDataError: one has no chat template. As `load`.
    """
    stack.enter_context(torch_threads(inference.num_threads))
    served: dict[str, LocalModel] = {}
    shared: SharedWeights | None = None
    for name, (base, tuned) in models.items():
        loaded = load(base, tuned, dtype=inference.dtype, device=inference.device)
        own = loaded
        if shared is not None:
            loaded = shared.add(name, loaded)
        elif inference.dtype == _MERGED:
            shared = SharedWeights(name, loaded)
        info = (tuned or base).info
        config = config_of(info.template)
        chat_template(loaded.tokenizer, config)  # raises where there is none: nothing could be asked
        served[name] = LocalModel(name, info.digest, own, inference, config).sharing(loaded)
        del own, loaded
    for one in served.values():
        stack.callback(one.close)
    return served, shared.use if shared is not None else lambda name: None


def describe(models: Mapping[str, Models]) -> list[dict[str, Any]]:
    """The models for /v1/models, in order."""
    return [
        {"id": name, "object": "model", "created": 0, "owned_by": "assay", "digest": (tuned or base).info.digest}
        for name, (base, tuned) in models.items()
    ]
