"""What training writes of models of other architectures."""

import json

import pytest
from safetensors import safe_open
from support.families.models import tiny_model
from support.families.runs import train_config
from support.tiny_model import tiny_dataset

from steps.contracts.models import ModelFolder
from steps.engines.lm.generate import generate
from steps.engines.lm.load import load
from steps.train.train import Trained, train


def trained(name: str, weights: str, tmp_path, **settings) -> tuple[ModelFolder, Trained]:
    base = tiny_model(name, tmp_path / "base")
    config = train_config(weights, max_steps=1, **settings)
    dataset = tiny_dataset(tmp_path / "rows")
    return base, train(base, dataset, config, tmp_path / "train", tmp_path / "checkpoints")


@pytest.mark.parametrize("checkpointed", [False, True], ids=["", "checkpointed"])
@pytest.mark.parametrize("name", ["Gemma 3", "Mixtral"])
def test_the_configuration_stays_that_of_the_base(name, checkpointed, tmp_path):
    """TRL makes a mixture of experts give its routers' logits, and would have it do so for ever: with a cache
    transformers fails over them.
    """
    base, result = trained(name, "full", tmp_path, gradient_checkpointing=checkpointed)
    before, after = (json.loads((m.path / "config.json").read_text()) for m in (base, result.model))
    assert after == before
    assert len(generate(load(base, result.model), ["Where does"], max_new_tokens=3, batch_size=1)) == 1


@pytest.mark.parametrize("name", ["Llama", "Mistral"])
def test_tied_embeddings_are_stored_once(name, tmp_path):
    base, result = trained(name, "full", tmp_path)
    with safe_open(result.model.path / "model.safetensors", "pt") as weights:
        assert ("lm_head.weight" in weights.keys()) == (name == "Mistral")  # noqa: SIM118 - no mapping
    assert result.model.info.parameters == base.info.parameters
