"""What training writes of models of other architectures."""

import json

import pytest
from safetensors import safe_open
from support.families.models import ARCHITECTURES, tiny_model
from support.families.runs import train_config
from support.tiny_model import tiny_dataset

from steps.contracts.errors import ConfigError
from steps.contracts.models import ModelFolder
from steps.engines.lm.generate import generate
from steps.engines.lm.load import load
from steps.train.objectives.sft import SftOptions
from steps.train.objectives.sft_trainer import require_blind_packs
from steps.train.train import Trained, train


def trained(name: str, weights: str, tmp_path, **settings) -> tuple[ModelFolder, Trained]:
    base = tiny_model(name, tmp_path / "base")
    config = train_config(weights, max_steps=1, **settings)
    dataset = tiny_dataset(tmp_path / "rows")
    return base, train(base, dataset, config, tmp_path / "train", tmp_path / "checkpoints")


@pytest.mark.slow
@pytest.mark.parametrize("checkpointed", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["", "checkpointed"])
@pytest.mark.parametrize("name", [pytest.param("Gemma 3", marks=pytest.mark.slow), "Mixtral"])
def test_the_configuration_stays_that_of_the_base(name, checkpointed, tmp_path):
    """TRL makes a mixture of experts give its routers' logits, and would have it do so for ever: with a cache
    transformers fails over them.
    """
    base, result = trained(name, "full", tmp_path, gradient_checkpointing=checkpointed)
    before, after = (json.loads((m.path / "config.json").read_text()) for m in (base, result.model))
    assert after == before
    assert len(generate(load(base, result.model), ["Where does"], max_new_tokens=3, batch_size=1)) == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", ["Llama", pytest.param("Mistral", marks=pytest.mark.slow)])
def test_tied_embeddings_are_stored_once(name, tmp_path):
    base, result = trained(name, "full", tmp_path)
    with safe_open(result.model.path / "model.safetensors", "pt") as weights:
        assert ("lm_head.weight" in weights.keys()) == (name == "Mistral")  # noqa: SIM118 - no mapping
    assert result.model.info.parameters == base.info.parameters


@pytest.mark.slow
@pytest.mark.parametrize("weights", ["full", "lora"])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_way_to_the_loss_gives_the_same_training(name, weights, tmp_path):
    """The model's own logits, TRL's head in pieces, and activations that are computed twice."""
    base, dataset = tiny_model(name, tmp_path / "base"), tiny_dataset(tmp_path / "rows")
    ways = {"plain": ("plain", False), "fused": ("fused", False), "recomputed": ("fused", True)}
    seen: dict[str, list[float]] = {}
    for way, (kernel, checkpointed) in ways.items():
        settings = {"objective": SftOptions(loss_kernel=kernel), "gradient_checkpointing": checkpointed}
        config = train_config(weights, max_steps=3, logging_steps=1, **settings)
        metrics: list[dict[str, float]] = []
        folder = tmp_path / way
        train(base, dataset, config, folder, folder / "checkpoints", lambda _, m, to=metrics: to.append(m))
        seen[way] = [m[k] for m in metrics for k in ("loss", "grad_norm") if k in m]
    assert len(seen["plain"]) == 6
    for way in ("fused", "recomputed"):
        assert seen[way] == pytest.approx(seen["plain"], rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["Llama", pytest.param("Gemma 2", marks=pytest.mark.slow), "gpt-oss"])
def test_rows_are_packed_where_they_do_not_see_each_other(name, tmp_path):
    """transformers' code of gpt-oss doesn't look at positions for its masks."""
    settings = {"objective": SftOptions(packing="bfd"), "per_device_train_batch_size": 1}
    if name == "gpt-oss":
        with pytest.raises(ConfigError, match="rows of a pack would see each other in GptOssForCausalLM"):
            trained(name, "full", tmp_path, **settings)
    else:
        trained(name, "full", tmp_path, **settings)


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[] if n in ("Gemma 3", "gpt-oss") else [pytest.mark.slow]) for n in ARCHITECTURES]
)
def test_packed_rows_that_see_each_other_are_noticed(name, tmp_path):
    """Two rows in one sequence, as packing puts them, against each alone."""
    import torch

    model = load(tiny_model(name, tmp_path / "base"), device="cpu").model
    rows = [[7 + n % 90 for n in range(40)], [11 + 3 * n % 90 for n in range(30)]]
    ids, positions = torch.tensor([[*rows[0], *rows[1]]]), torch.tensor([[*range(40), *range(30)]])
    with torch.inference_mode():
        together = model(input_ids=ids, position_ids=positions, use_cache=False).logits[0]
        alone = torch.cat([model(input_ids=torch.tensor([row]), use_cache=False).logits[0] for row in rows])
    if torch.allclose(together, alone, rtol=1e-4, atol=1e-4):
        require_blind_packs(model)
    else:
        with pytest.raises(ConfigError, match="would see each other"):
            require_blind_packs(model)
