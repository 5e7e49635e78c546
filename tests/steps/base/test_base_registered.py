"""A registered model as a base: whole, the same function, and with the chain that led to it."""

import pytest
import torch
from pydantic import ValidationError
from support.tiny_model import build_tiny_model
from support.tuned_models import adapted, full_weights

from steps.base.base import resolve_base
from steps.base.config import BaseConfig
from steps.base.inputs import input_digests
from steps.base.registered import from_registered
from steps.contracts.errors import ConfigError
from steps.contracts.models import ModelFolder
from steps.engines.lm.load import load

REGISTERED = {"name": "orders", "version": "3", "weights": "ab", "run": "r"}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    base = build_tiny_model(folder / "base")
    adapter = adapted(base, folder / "adapter")
    chained = adapter.info.model_copy(update={"name": "tuned", "started_from": base.info.lineage})
    return base, ModelFolder(chained, adapter.path), full_weights(base, adapter, folder / "full")


def logits(loaded):
    with torch.inference_mode():
        return loaded.model(input_ids=torch.arange(3, 40)[None]).logits


def test_an_adapter_is_merged_and_the_chain_goes_on(models, tmp_path):
    base, adapter, _ = models
    started = from_registered(base, adapter, REGISTERED, tmp_path / "merged", None)
    info = started.info
    assert (info.kind, info.name, info.base) == ("full", "models:/orders/3", base.info.base)
    assert [(a.name, a.digest) for a in info.started_from] == [
        ("base", base.info.digest), ("tuned", adapter.info.digest),
    ]  # fmt: skip
    assert info.digest not in (base.info.digest, adapter.info.digest)
    assert info.parameters == base.info.parameters
    assert torch.equal(logits(load(started)), logits(load(base, adapter)))


def test_full_weights_are_what_they_are(models, tmp_path):
    base, _, full = models
    started = from_registered(base, full, REGISTERED, tmp_path / "unused", None)
    assert (started.path, started.info.digest, started.info.name) == (full.path, full.info.digest, "models:/orders/3")
    assert not (tmp_path / "unused").exists()


@pytest.mark.parametrize(
    ("model", "meant"),
    [("models:/orders/3", ("orders", None, "3")), ("models:/orders@champion", ("orders", "champion", None)),
     ("owner/name", None), ("./folder", None)],
)  # fmt: skip
def test_which_registered_model_is_meant(model, meant):
    found = BaseConfig(model=model).registered
    assert (found and (found["name"], found["alias"], found["version"])) == meant


@pytest.mark.parametrize(
    ("settings", "said"),
    [({"model": "models:/orders"}, "say which version, as models:/NAME/3 or models:/NAME@champion"),
     ({"model": "models:/orders/latest"}, "say which version"),
     ({"model": "models:/orders/3", "revision": "main"}, "drop revision")],
    ids=str,
)  # fmt: skip
def test_a_version_must_be_said_and_nothing_else(settings, said):
    with pytest.raises(ValidationError, match=said):
        BaseConfig.model_validate(settings)


def test_outside_of_a_run_it_is_not_found(tmp_path):
    config = BaseConfig(model="models:/orders/3")
    assert input_digests(config, tmp_path) == {}
    with pytest.raises(ConfigError, match="found by the first step of a run"):
        resolve_base(config, tmp_path)


def test_an_adapter_is_no_base(models, tmp_path):
    with pytest.raises(ConfigError) as refused:
        resolve_base(BaseConfig(model=str(models[1].path)), tmp_path)
    assert str(refused.value).endswith(
        "this is an adapter, without the weights that it lies over\n"
        "  way out: name the model under it, or start from the registered model: models:/NAME/VERSION"
    )


def test_a_token_that_rows_are_made_of_must_have_an_embedding(tmp_path):
    from transformers import AutoTokenizer

    base = build_tiny_model(tmp_path / "base")
    tokenizer = AutoTokenizer.from_pretrained(base.path)
    tokenizer.add_tokens(["<image>", "<said>"])
    tokenizer.save_pretrained(base.path)
    assert resolve_base(BaseConfig(model=str(base.path)), tmp_path).info.parameters == base.info.parameters
    tokenizer.chat_template = tokenizer.chat_template.replace("<|im_start|>", "<said>")
    tokenizer.save_pretrained(base.path)
    with pytest.raises(ConfigError) as refused:
        resolve_base(BaseConfig(model=str(base.path)), tmp_path)
    assert "the tokenizer's '<said>' has the id 319, the weights embed 318 tokens" in str(refused.value)
