import itertools

import pytest
import torch
from support.tiny_model import tiny_llama

from steps.contracts.errors import ConfigError
from steps.train.config import TrainConfig
from steps.train.memory_estimate import Shape, estimate, model_shape, require_fit
from steps.train.settings import Plan
from steps.train.weights.full import FullOptions
from steps.train.weights.lora import LoraOptions
from steps.train.weights.registry import weights_of

CPU = Plan("cpu", "float32", False, False, "plain", 2e-4)
GPU = Plan("cuda", "bfloat16", True, False, "fused", 2e-4)
# Llama 3.1 8B and its LoRA of rank 16 on all linear layers.
EIGHT_B = Shape(8_030_261_248, 41_943_040, hidden=4096, intermediate=14336, layers=32, vocab=128_256)
TOLERANCE = 0.25


def saved_bytes(model, ids, bf16):
    """Bytes of distinct storages that autograd keeps for backward, weights left out."""
    own = {p.untyped_storage().data_ptr() for p in [*model.parameters(), *model.buffers()]}
    kept = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = (storage.nbytes(), tensor)
        return tensor

    hooks = torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t)
    with hooks, torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        model(input_ids=ids, labels=ids, attention_mask=torch.ones_like(ids), use_cache=False)
    return sum(size for size, _ in kept.values())


CASES = list(itertools.product([(64, 2, 160, 1024), (128, 3, 512, 512)], ["full", "lora", "dropout"], [False, True]))


@pytest.mark.parametrize(("sizes", "method", "bf16"), CASES)
def test_activations_are_within_a_quarter_of_what_autograd_saves(sizes, method, bf16):
    hidden, layers, inter, vocab = sizes
    model = tiny_llama(vocab, hidden=hidden, layers=layers, heads=4, inter=inter)
    config = TrainConfig(
        weights=FullOptions() if method == "full" else LoraOptions(lora_dropout=0.1 if method == "dropout" else 0.0),
        per_device_train_batch_size=2, max_length=128,
    )  # fmt: skip
    model = weights_of(config.weights).attached(model)
    model.train()
    measured = saved_bytes(model, torch.randint(0, vocab, (2, 128)), bf16)
    plan = Plan("cpu", "float32", bf16, False, "plain", 2e-4)
    estimated = estimate(Shape(0, 0, hidden, inter, layers, vocab), config, plan).activations
    assert measured * (1 - TOLERANCE) < estimated < measured * (1 + TOLERANCE)


def test_weights_are_counted_without_loading_them(tiny_model):
    full = model_shape(tiny_model.path, TrainConfig(weights=FullOptions()))
    assert full.parameters == full.trainable == tiny_model.info.parameters
    adapter = model_shape(tiny_model.path, TrainConfig(weights=LoraOptions(r=4)))
    # r * (in + out) for q, k, v, o (32, 32), gate and up (32, 80), down (80, 32), in two layers
    assert adapter.trainable == 2 * 4 * (4 * 64 + 3 * 112)


def test_full_training_needs_sixteen_bytes_per_weight_and_activations():
    shape = Shape(1_000_000, 1_000_000, 64, 160, 2, 320)
    parts = estimate(shape, TrainConfig(weights=FullOptions()), CPU)
    assert (parts.weights, parts.gradients, parts.optimizer) == (4_000_000, 4_000_000, 8_000_000)
    assert parts.total > parts.weights + parts.gradients + parts.optimizer + parts.activations


def test_an_8b_lora_fits_80_gb_and_is_refused_on_12_with_a_change_that_fits():
    config = TrainConfig(max_length=2048, per_device_train_batch_size=8)
    checkpointed = Plan("cuda", "bfloat16", True, True, "fused", 2e-4)
    assert estimate(EIGHT_B, config, checkpointed, 80 << 30).fits
    with pytest.raises(ConfigError, match="smaller model"):
        require_fit(EIGHT_B, config, checkpointed, 12 << 30)


@pytest.mark.parametrize("gib", [22, 24, 30, 40, 60])
def test_the_named_change_fits(gib):
    config = TrainConfig(max_length=4096, per_device_train_batch_size=16)
    with pytest.raises(ConfigError) as error:
        require_fit(EIGHT_B, config, GPU, gib << 30)
    hint = str(error.value).split("way out: ")[1]
    changes = dict(part.split(": ") for part in hint.removeprefix("set ").split(" and raise")[0]
                   .replace(" and ", ", ").split(", "))  # fmt: skip
    assert changes.pop("gradient_checkpointing") == "true"
    changed = config.model_copy(update={k: int(v) for k, v in changes.items()})
    assert estimate(EIGHT_B, changed, Plan("cuda", "bfloat16", True, True, "fused", 2e-4), gib << 30).fits
    doubled = {k: 2 * int(v) for k, v in changes.items() if k == list(changes)[-1]}
    if doubled:  # the change before it doesn't fit
        larger = changed.model_copy(update=doubled)
        assert not estimate(EIGHT_B, larger, Plan("cuda", "bfloat16", True, True, "fused", 2e-4), gib << 30).fits


def test_without_a_known_limit_everything_fits():
    assert require_fit(EIGHT_B, TrainConfig(), GPU, None).fits
