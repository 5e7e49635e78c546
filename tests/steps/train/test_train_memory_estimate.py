import itertools
from dataclasses import replace

import pytest
import torch
from support.counted_training import BATCH, HIDDEN, LENGTH, counted_parts, counted_step
from support.families.models import ARCHITECTURES, tiny_config
from support.tiny_model import tiny_llama
from transformers import AutoModelForCausalLM, GenerationConfig, LlamaConfig, PretrainedConfig, Qwen2Config

from steps.contracts.errors import ConfigError
from steps.engines.lm import loss
from steps.engines.lm.load import LoadedModel
from steps.engines.lm.loss import token_losses
from steps.engines.lm.quantized import keep_exact
from steps.train.config import TrainConfig
from steps.train.memory_estimate import Shape, estimate, model_shape, require_fit
from steps.train.memory_estimate import shape_of as shape_of_model
from steps.train.memory_probe import How, LiveBytes, answering, passes
from steps.train.planning.ladder import same_steps
from steps.train.settings import Plan
from steps.train.weights.full import FullOptions
from steps.train.weights.kind import Draw
from steps.train.weights.lora import LoraOptions
from steps.train.weights.registry import weights_of

CPU = Plan("cpu", "float32", False, False, "plain", 2e-4)
GPU = Plan("cuda", "bfloat16", True, False, "fused", 2e-4)
# Llama 3.1 8B and its LoRA of rank 16 on all linear layers.
EIGHT_B = Shape(
    8_030_261_248, 41_943_040,
    LlamaConfig(vocab_size=128_256, hidden_size=4_096, intermediate_size=14_336, num_hidden_layers=32,
                num_attention_heads=32, num_key_value_heads=8),
)  # fmt: skip
TOLERANCE = 0.15
# Weights as they are held, and whether the forward pass casts to bfloat16.
PRECISIONS = {"fp32": ("float32", False), "autocast": ("float32", True), "bf16": ("bfloat16", True)}
KINDS = {"full": FullOptions(), "lora": LoraOptions(), "dropout": LoraOptions(lora_dropout=0.1)}
CELLS = [
    cell for cell in itertools.product(ARCHITECTURES, KINDS, PRECISIONS, ["kept", "recomputed"])
    if (cell[1], cell[2]) != ("full", "bf16") and (cell[1] != "dropout" or cell[0] == "Llama")
]  # fmt: skip
QUICK = {
    ("Llama", "full", "fp32", "kept"), ("Gemma 2", "lora", "bf16", "kept"), ("Mixtral", "lora", "autocast", "kept"),
    ("Phi-3", "full", "autocast", "recomputed"),
}  # fmt: skip


def wide(name: str) -> PretrainedConfig:
    """The architecture with twice the widths that the estimate looks at, and more layers."""
    own = ARCHITECTURES[name].shape
    shape = {"hidden_size": HIDDEN, "intermediate_size": 640, "num_hidden_layers": 5, "num_attention_heads": 8}
    shape |= {"head_dim": 64} if "head_dim" in own else {}
    shape |= {"moe_intermediate_size": 160} if "moe_intermediate_size" in own else {}
    shape |= {"num_key_value_heads": 8} if name == "Phi-3" else {}
    if "layer_types" in own:
        shape |= {"num_hidden_layers": 8, "layer_types": 4 * own["layer_types"]}
    return tiny_config(name, **shape, vocab_size=1_024)


def shape_of(described: PretrainedConfig, config: TrainConfig) -> Shape:
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(described)
    return shape_of_model(model, config)


def within(found: int, counted: int) -> bool:
    return counted * (1 - TOLERANCE) < found < counted * (1 + TOLERANCE)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "kind", "precision", "activations"),
    [c if c in QUICK else pytest.param(*c, marks=pytest.mark.slow) for c in CELLS],
)
def test_a_step_takes_what_was_estimated(name, kind, precision, activations, tmp_path) -> None:
    dtype, bf16 = PRECISIONS[precision]
    plan = Plan("cpu", dtype, bf16, activations == "recomputed", "plain", 1e-3)
    config = TrainConfig(
        weights=KINDS[kind], per_device_train_batch_size=BATCH, max_length=LENGTH, max_steps=2, device="cpu",
        per_device_eval_batch_size=1,
    )  # fmt: skip
    described = wide(name)
    estimated = estimate(shape_of(described, config), config, plan).counted
    model = AutoModelForCausalLM.from_config(described, dtype=getattr(torch, dtype))
    counted = counted_step(model, config, plan, tmp_path)
    assert within(estimated, counted), f"{estimated / counted:.3f} of what was counted"


# Weights and optimizers, and whether bitsandbytes (an extra) is wanted.
PARTS = {
    "full": ({"weights": {"kind": "full"}}, False), "lora": ({"weights": {"kind": "lora"}}, False),
    "whole modules": ({"weights": {"kind": "lora", "modules_to_save": ["norm"]}}, False),
    "last layers": ({"weights": {"kind": "partial", "layers": "last 2"}}, False),
    "half": ({"weights": {"kind": "half"}}, False),
    "adafactor": ({"weights": {"kind": "full"}, "optim": "adafactor"}, False),
    "8 bits": ({"weights": {"kind": "full"}, "optim": "adamw_8bit"}, True),
    "nf4": ({"weights": {"kind": "qlora"}}, True),
    "int8": ({"weights": {"kind": "qlora", "quantization": "int8"}}, True),
}  # fmt: skip


@pytest.mark.parametrize("recomputed", [False, True])
@pytest.mark.parametrize("name", ["Llama", "Gemma 2", "Mixtral"])
@pytest.mark.parametrize("case", PARTS)
@pytest.mark.slow
def test_every_part_is_what_was_estimated(case, name, recomputed, tmp_path) -> None:
    values, extra = PARTS[case]
    if extra:
        pytest.importorskip("bitsandbytes")
    if values["weights"]["kind"] == "qlora" and name == "Mixtral":
        pytest.skip("experts aren't quantized")
    if case in ("int8", "nf4") and recomputed:
        pytest.skip("what unpacking takes isn't counted: of models as small as this it is most of a step")
    config = TrainConfig.model_validate(
        {**values, "per_device_train_batch_size": BATCH, "max_length": LENGTH, "max_steps": 2, "device": "cpu",
         "per_device_eval_batch_size": 1}
    )  # fmt: skip
    plan = Plan("cpu", "float32", False, recomputed, "plain", 1e-3)
    described = wide(name)
    found = estimate(shape_of(described, config), config, plan)
    counted = counted_parts(loaded(described, config, tmp_path / "model"), config, plan, tmp_path)
    step = max(found.activations, found.gradients + found.remaining)
    pairs = {
        "weights": (found.weights, counted.weights), "gradients": (found.gradients, counted.gradients),
        "optimizer": (found.optimizer, counted.optimizer), "step": (step, counted.step),
        "peak": (found.counted, counted.peak),
    }  # fmt: skip
    shares = {part: round(one / max(other, 1), 3) for part, (one, other) in pairs.items()}
    assert all(within(*pair) for part, pair in pairs.items() if part not in ("optimizer", "step")), shares
    # At the end of a pass the gradients of the first layer and of embeddings are told as if they were there already.
    assert 1 - TOLERANCE < shares["step"] < 1.25, shares
    # A hundredth of Adam's moments or less is told roughly.
    assert within(*pairs["optimizer"]) or found.optimizer < 0.01 * found.counted, shares


def loaded(described, config, folder):
    """The model as training loads it."""
    model = AutoModelForCausalLM.from_config(described)
    quantization = weights_of(config.weights).quantization
    if quantization is None:
        weights_of(config.weights).prepare(model, Draw())
        return model
    model.save_pretrained(folder)
    held = AutoModelForCausalLM.from_pretrained(folder, quantization_config=quantization.config("float32"))
    keep_exact(held)
    return held


@pytest.mark.parametrize(
    ("objective", "kind"),
    [("dpo", "full"), *(pytest.param(o, k, marks=pytest.mark.slow) for o in ("dpo", "kto", "orpo")
                        for k in ("full", "lora") if (o, k) != ("dpo", "full"))],
)  # fmt: skip
@pytest.mark.slow
def test_a_step_over_answers_takes_what_was_estimated(objective, kind, tmp_path) -> None:
    config = TrainConfig.model_validate(
        {"objective": {"kind": objective}, "weights": {"kind": kind}, "per_device_train_batch_size": BATCH,
         "max_length": LENGTH, "max_steps": 2, "device": "cpu", "per_device_eval_batch_size": 1}
    )  # fmt: skip
    described = wide("Llama")
    estimated = estimate(shape_of(described, config), config, CPU).counted
    counted = counted_step(AutoModelForCausalLM.from_config(described), config, CPU, tmp_path)
    assert within(estimated, counted), f"{estimated / counted:.3f} of what was counted"


@pytest.mark.slow
def test_gradients_that_wait_for_others_are_there_beside_all_activations(tmp_path) -> None:
    config = TrainConfig(
        weights=FullOptions(), per_device_train_batch_size=BATCH, max_length=LENGTH, max_steps=2, device="cpu",
        gradient_accumulation_steps=2,
    )  # fmt: skip
    described = wide("Llama")
    estimated = estimate(shape_of(described, config), config, CPU)
    assert within(estimated.counted, counted_step(AutoModelForCausalLM.from_config(described), config, CPU, tmp_path))
    alone = estimate(shape_of(described, config), config.model_copy(update={"gradient_accumulation_steps": 1}), CPU)
    assert estimated.counted - alone.counted == pytest.approx(alone.gradients, rel=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["Llama", "Gemma 2"])
@pytest.mark.parametrize("vocab", [1_024, 8_000])
def test_the_validation_pass_takes_what_was_estimated(name, vocab, monkeypatch) -> None:
    described = wide(name)
    described.vocab_size = vocab
    monkeypatch.setattr(loss, "LOGITS_BYTES", 2**22)
    monkeypatch.setattr("steps.train.memory_estimate.LOGITS_BYTES", 2**22)
    config = TrainConfig(weights=FullOptions(), per_device_eval_batch_size=4, max_length=LENGTH, device="cpu")
    model = AutoModelForCausalLM.from_config(described).eval()
    rows = [([i % 1_000 + 3 for i in range(n)],) * 2 for n in (LENGTH, LENGTH, LENGTH, LENGTH - 1)]
    counter = LiveBytes([*model.parameters(), *model.buffers()])
    with counter:
        token_losses(LoadedModel(model, None, "cpu"), rows, batch_size=4)
    found = estimate(shape_of(described, config), config, CPU).validation
    assert within(found, counter.peak), f"{found / counter.peak:.3f} of what was counted"


@pytest.mark.parametrize("dtype", ["float32", pytest.param("bfloat16", marks=pytest.mark.slow)])
@pytest.mark.parametrize("shape", [pytest.param((3, 120, 3), marks=pytest.mark.slow), (2, 72, 24)])
@pytest.mark.parametrize(
    "name", [n if n == "Llama" else pytest.param(n, marks=pytest.mark.slow) for n in ARCHITECTURES]
)
def test_answering_takes_what_was_estimated(name, shape, dtype) -> None:
    described, (rows, prompt, answer) = wide(name), shape
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(described, dtype=getattr(torch, dtype)).eval()
    ids = torch.randint(5, 500, (rows, prompt))
    how = GenerationConfig(
        do_sample=False, max_new_tokens=answer, min_new_tokens=answer, pad_token_id=0, eos_token_id=1
    )
    counter = LiveBytes([*model.parameters(), *model.buffers(), ids])
    with counter, torch.inference_mode():
        model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), generation_config=how)
    found = answering(described, dtype).peak(rows, prompt, answer)
    assert within(found, counter.peak), f"{found / counter.peak:.3f} of what was counted"


def test_a_cache_grows_with_rows_layers_and_answers_up_to_its_windows() -> None:
    # Llama 3.1 8B in 16 bits: 32 layers, 8 heads of 128 for keys and as many for values: 128 KiB per token.
    eight = answering(EIGHT_B.described, "bfloat16")
    assert sum(size for size, _ in eight.layers) == pytest.approx(2**17, rel=0.01)
    one, two = eight.peak(4, 512, 7_000), eight.peak(4, 512, 14_512)
    assert two - one == pytest.approx(4 * 7_512 * 2**17 * (1 + 1 / 64), rel=0.01)
    gemma = answering(wide("Gemma 2"), "bfloat16")
    assert {window is None for _, window in gemma.layers} == {True, False}


@pytest.mark.slow
def test_what_a_published_size_keeps_is_what_its_widths_make_of_it() -> None:
    """Qwen 2.5 0.5B under autocast, without a head: a vocabulary as large as this hides all else at short lengths."""
    described = Qwen2Config(
        vocab_size=151_936, hidden_size=896, intermediate_size=4_864, num_hidden_layers=24, num_attention_heads=14,
        num_key_value_heads=2, tie_word_embeddings=True,
    )  # fmt: skip
    # Measured with torch's saved_tensors_hooks over Llama layers with as many heads for keys as for queries: 43 bytes
    # per token and hidden unit, 8 per intermediate one.
    kept = 8 * 2_048 * 24 * (43 * 896 + 8 * 4_864)
    found = passes(described, FullOptions(), How("float32", True, False, False)).step(8, 2_048)
    assert 0.8 * kept < found < kept


def test_a_model_that_cannot_be_made_small_is_taken_for_a_llama_of_its_widths() -> None:
    class Odd(LlamaConfig):
        model_type = "odd"

    shape = {"hidden_size": HIDDEN, "intermediate_size": 640, "num_hidden_layers": 3, "num_attention_heads": 8}
    how = How("float32", False, False, True)
    found = passes(Odd(vocab_size=1_024, **shape), FullOptions(), how)
    assert found.step(2, 90) == passes(LlamaConfig(vocab_size=1_024, **shape), FullOptions(), how).step(2, 90)


def test_looking_at_a_model_leaves_chance_as_it_was() -> None:
    described = tiny_llama(333).config
    torch.manual_seed(4)
    expected = torch.rand(3)
    torch.manual_seed(4)
    passes(described, LoraOptions(r=3), How("float32", False, False, True))
    assert torch.equal(torch.rand(3), expected)


def test_weights_are_counted_without_loading_them(tiny_model):
    full = model_shape(tiny_model.path, TrainConfig(weights=FullOptions()))
    assert full.parameters == full.trainable == tiny_model.info.parameters
    adapter = model_shape(tiny_model.path, TrainConfig(weights=LoraOptions(r=4)))
    # r * (in + out) for q, k, v, o (32, 32), gate and up (32, 80), down (80, 32), in two layers
    assert adapter.trainable == 2 * 4 * (4 * 64 + 3 * 112)


def test_full_training_needs_sixteen_bytes_per_weight_or_what_a_step_keeps():
    shape = Shape(1_000_000, 1_000_000, tiny_llama(320).config)
    parts = estimate(shape, TrainConfig(weights=FullOptions(), max_length=8), CPU)
    assert (parts.weights, parts.gradients, parts.optimizer) == (4_000_000, 4_000_000, 8_000_000)
    assert parts.counted == 16_000_000 + parts.remaining
    longer = estimate(shape, TrainConfig(weights=FullOptions(), max_length=1_024), CPU)
    assert longer.counted == 12_000_000 + longer.activations


def test_an_8b_lora_fits_80_gb_and_is_refused_on_12_with_a_change_that_fits():
    config = TrainConfig(max_length=2048, per_device_train_batch_size=8)
    checkpointed = Plan("cuda", "bfloat16", True, True, "fused", 2e-4)
    assert estimate(EIGHT_B, config, checkpointed, 80 << 30).fits
    with pytest.raises(ConfigError, match="smaller model"):
        require_fit(EIGHT_B, config, checkpointed, 12 << 30)


@pytest.mark.parametrize("gib", [24, 30, 40, 60])
def test_the_named_change_fits_and_the_one_before_it_does_not(gib):
    config = TrainConfig(max_length=4096, per_device_train_batch_size=16)

    def fits(rung):
        return estimate(EIGHT_B, rung.config, rung.plan, gib << 30).fits

    with pytest.raises(ConfigError) as error:
        require_fit(EIGHT_B, config, GPU, gib << 30)
    rungs = list(same_steps(config, GPU))
    first = next(i for i, rung in enumerate(rungs) if fits(rung))
    assert f"way out: set {rungs[first].words} (" in str(error.value)
    assert not any(fits(rung) for rung in rungs[:first])


def test_without_a_known_limit_everything_fits():
    assert require_fit(EIGHT_B, TrainConfig(), GPU, None).fits


def test_what_processes_share_is_divided_and_one_must_load_it_all() -> None:
    config = TrainConfig(weights=FullOptions(), per_device_train_batch_size=1, max_length=512)
    alone = estimate(EIGHT_B, config, GPU)
    eight = estimate(EIGHT_B, config, replace(GPU, processes=8, strategy="fsdp2"))
    assert eight.weights == alone.weights // 8 + 2 * alone.weights // 32
    assert (eight.gradients, eight.optimizer) == (alone.gradients // 8, alone.optimizer // 8)
    assert eight.activations == alone.activations
    assert eight.counted >= eight.loading == alone.weights
    assert estimate(EIGHT_B, config, replace(GPU, processes=8, strategy="ddp")).counted == alone.counted


def test_objectives_that_generate_take_a_reference_and_a_cache() -> None:
    values = {"objective": {"kind": "grpo", "rewards": [{"grader": "exact_match"}], "beta": 0.1,
                            "max_completion_length": 256}, "max_length": 1_024}  # fmt: skip
    lora = TrainConfig.model_validate(values)
    full = TrainConfig.model_validate({**values, "weights": {"kind": "full"}})
    found = estimate(EIGHT_B, lora, GPU)
    assert found.reference == 0, "the adapter is taken off"
    assert estimate(EIGHT_B, full, GPU).reference == 2 * EIGHT_B.parameters
    # Eight answers at once, each with a prompt of 768 tokens: 128 KiB per token.
    assert found.answers >= 8 * 1_024 * 2**17
