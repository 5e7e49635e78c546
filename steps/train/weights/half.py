"""Half Fine-Tuning (Hui et al. 2024, arXiv 2404.18466): half of the matrices is trained, the other half keeps what the
model knew; every round draws anew.
"""

import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import Field

from steps.contracts.reports import Frozen
from steps.train.weights.full import OwnWeights
from steps.train.weights.kind import Draw
from steps.train.weights.layers import decoder_layers

# What a name ends with that is one tensor of several in a module.
_ENDS = (".weight", ".bias", "_bias")
_NORMS = "norms"


class HalfOptions(Frozen):
    """Half of each category of matrices in each layer."""

    kind: Literal["half"] = Field("half", description="Train half of the weights, drawn anew for each phase.")
    embeddings: Literal["trained", "frozen"] = Field(
        "trained", description="Embeddings, the head and the last norm, which are in no layer. Chosen: trained."
    )


class Half(OwnWeights):
    """In each layer half of the matrices of each category (attention, feed-forward, norms), by chance."""

    def __init__(self, options: HalfOptions) -> None:
        self.options = options

    def prepare(self, model: Any, draw: Draw) -> None:
        """Freeze the half that isn't drawn.

        Raises:
            ConfigError: the model's layers can't be found.
        """
        at, layers = decoder_layers(model)
        rng = random.Random(f"half {draw.seed} {draw.round}")
        frozen = {f"{at}.{i}.{name}" for i, name in _frozen(layers, rng)}
        for name, weight in model.named_parameters():
            in_layer = name.startswith(f"{at}.")
            weight.requires_grad_(name not in frozen if in_layer else self.options.embeddings == "trained")


def _frozen(layers: Sequence[Any], rng: random.Random) -> list[tuple[int, str]]:
    """Names of the weights that are frozen, by layer. Where a category has an odd number of matrices, half of the
    layers, by chance, freeze the greater part.
    """
    categories = [_categories(layer) for layer in layers]
    greater: dict[str, set[int]] = {}
    for category in sorted({c for of_layer in categories for c in of_layer}):
        having = [i for i, of_layer in enumerate(categories) if len(of_layer.get(category, {})) % 2]
        greater[category] = set(rng.sample(having, len(having) // 2))
    found = []
    for i, of_layer in enumerate(categories):
        for category, matrices in sorted(of_layer.items()):
            count = len(matrices) // 2 + (i in greater[category])
            drawn = rng.sample(sorted(matrices), count)
            found += [(i, name) for matrix in drawn for name in matrices[matrix]]
    return found


def _categories(layer: Any) -> Mapping[str, Mapping[str, list[str]]]:
    """Category -> matrix -> names of its tensors: a bias goes with its matrix, the weights of all experts are one. A
    category is a part of the layer (self_attn, mlp); all vectors of their own, which scale, are one more.
    """
    found: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    tensors = dict(layer.named_parameters())
    matrices = {_stem(n) for n, weight in tensors.items() if weight.ndim > 1}
    for name in tensors:
        stem = _stem(name)
        category = name.split(".")[0] if stem in matrices else _NORMS
        found[category][stem].append(name)
    return found


def _stem(name: str) -> str:
    for end in _ENDS:
        name = name.removesuffix(end)
    return name
