"""Every kind of weights: what was trained is what is saved and loaded, resumed to the bit, and counted."""

from collections import Counter
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch
from pydantic import ValidationError
from support.families.models import ARCHITECTURES, tiny_config
from support.resumed import check_resumed_after_a_kill
from support.tiny_model import tiny_dataset, tiny_llama

from steps.contracts.errors import ConfigError
from steps.engines.lm.load import load, load_start
from steps.train.config import TrainConfig
from steps.train.memory_estimate import model_shape
from steps.train.settings import BITSANDBYTES
from steps.train.train import train
from steps.train.weights.eva import begin_with_inputs
from steps.train.weights.half import HalfOptions
from steps.train.weights.kind import Draw
from steps.train.weights.loftq import _held, begin_with_loss
from steps.train.weights.lora import LoraOptions
from steps.train.weights.partial import PartialOptions
from steps.train.weights.qlora import QloraOptions
from steps.train.weights.registry import weights_of

COMMON = {
    "learning_rate": 3e-3, "max_steps": 6, "per_device_train_batch_size": 8, "max_length": 128, "save_steps": 2,
    "logging_steps": 1,
}  # fmt: skip
LORA = {"kind": "lora", "r": 4}
QLORA = {"kind": "qlora", "r": 4}
LOFTQ = QLORA | {"init_lora_weights": "loftq"}
KINDS = {
    "full": {"kind": "full"},
    "half": {"kind": "half"},
    "half without ends": {"kind": "half", "embeddings": "frozen"},
    "last layer": {"kind": "partial", "layers": "last 1"},
    "patterns": {"kind": "partial", "layers": "all", "trained": ["model.norm*"], "frozen": ["*.mlp.*"]},
    "lora": LORA,
    "dora": LORA | {"use_dora": True},
    "rslora": LORA | {"use_rslora": True},
    "gaussian": LORA | {"init_lora_weights": "gaussian"},
    "orthogonal": LORA | {"init_lora_weights": "orthogonal"},
    "pissa": LORA | {"init_lora_weights": "pissa"},
    "pissa, fast, rslora": LORA | {"init_lora_weights": "pissa_niter_4", "use_rslora": True},
    "olora": LORA | {"init_lora_weights": "olora", "rank_pattern": {"q_proj": 6}, "alpha_pattern": {"q_proj": 9}},
    "eva": LORA | {"init_lora_weights": "eva", "eva_rows": 16},
    "eva, dora": LORA | {"init_lora_weights": "eva", "use_dora": True, "rank_pattern": {"q_proj": 6}},
    "patterns of ranks": LORA | {"rank_pattern": {"q_proj": 8}, "alpha_pattern": {"layers.0.mlp.up_proj": 64}},
    "one layer": LORA | {"layers_to_transform": "last 1"},
    "whole embeddings": LORA | {"modules_to_save": ["embed_tokens"]},
    "whole norm": LORA | {"modules_to_save": ["norm"]},
}
# Of this one the data decide how many weights each layer gets.
RESUMED = KINDS | {"eva, ranks by variance": LORA | {"init_lora_weights": "eva", "eva_rho": 2.0}}
# Largest logit differences in float32 between what was trained and what is loaded: nothing where the same weights are
# loaded; rounding where an adapter is merged.
SAME, MERGED = 0.0, 2e-5


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return tiny_dataset(tmp_path_factory.mktemp("data"), validation=8)


@pytest.fixture
def trained(tmp_path, tiny_model, dataset, monkeypatch):
    """(what `train` gave, logits of the model as it was trained)."""

    def go(weights, *, base=tiny_model, name="straight", checkpoints="checkpoints", stop=None, **settings):
        from steps.train import save

        seen, saved = [], save.save_model

        def interrupt(step, _):
            if step == stop:
                raise KeyboardInterrupt

        monkeypatch.setattr(
            save, "save_model", lambda model, *rest: (seen.append(logits(model)), saved(model, *rest))[1]
        )
        config = TrainConfig.model_validate({**COMMON, **settings, "weights": weights})
        try:
            done = train(base, dataset, config, tmp_path / name, tmp_path / checkpoints, interrupt)
        finally:
            monkeypatch.setattr(save, "save_model", saved)
        return done, seen[0]

    return go


def logits(model):
    ids = torch.arange(3, 40)[None]
    model.eval()
    with torch.inference_mode():
        return model(input_ids=ids.to(model.device), use_cache=False).logits.float().cpu()


@pytest.mark.slow
@pytest.mark.parametrize("kind", RESUMED)
def test_what_was_trained_is_loaded_and_a_resumed_run_gives_the_same(trained, tiny_model, kind):
    weights = RESUMED[kind]
    with pytest.raises(KeyboardInterrupt):
        trained(weights, name="interrupted", stop=5)
    resumed, _ = trained(weights, name="resumed")
    assert any("resumed at step 4" in note for note in resumed.report.notes)
    done, seen = trained(weights, checkpoints="other")
    assert done.model.info.files == resumed.model.info.files
    before, after = (next(s for s in done.report.series if s.title == "Validation loss").y[i] for i in (0, -1))
    assert after < before
    # Merged, where it is an adapter.
    loaded = load(tiny_model, done.model).model
    assert not [n for n, _ in loaded.named_parameters() if "lora" in n]
    adapter = done.model.info.kind == "adapter"
    assert (logits(loaded) - seen).abs().max() <= (MERGED if adapter else SAME)
    if adapter:
        from peft import PeftModel

        beside = PeftModel.from_pretrained(load(tiny_model).model, str(done.model.path))
        assert (logits(beside) - seen).abs().max() <= MERGED


@pytest.mark.slow
@pytest.mark.parametrize("optim", sorted(BITSANDBYTES))
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_optimizers_of_few_bits_learn_resume_to_the_bit_and_keep_the_precision(trained, tiny_model, optim, dtype):
    settings = {"optim": optim, "dtype": dtype, "learning_rate": 1e-3 if "lion" in optim else 3e-3}
    with pytest.raises(KeyboardInterrupt):
        trained({"kind": "full"}, name="interrupted", stop=5, **settings)
    resumed, _ = trained({"kind": "full"}, name="resumed", **settings)
    assert any("resumed at step 4" in note for note in resumed.report.notes)
    done, seen = trained({"kind": "full"}, checkpoints="other", **settings)
    assert done.model.info.files == resumed.model.info.files
    before, after = (next(s for s in done.report.series if s.title == "Validation loss").y[i] for i in (0, -1))
    assert after < before - 0.1
    loaded = load(tiny_model, done.model, dtype=dtype).model
    assert {p.dtype for p in loaded.parameters()} == {getattr(torch, dtype)}
    assert torch.equal(logits(loaded), seen)


@pytest.mark.slow
def test_small_updates_of_bfloat16_weights_are_lost_without_chance_and_kept_with_it(trained, monkeypatch):
    """At a learning rate that moves no weight to the next bfloat16, only what is rounded by chance learns."""
    from steps.train.weights import rounding

    settings = {"optim": "adamw_8bit", "dtype": "bfloat16", "learning_rate": 3e-5, "max_steps": 30,
                "lr_scheduler_type": "constant_with_warmup"}  # fmt: skip

    def gain(name):
        done, _ = trained({"kind": "full"}, name=name, checkpoints=name, **settings)
        y = next(s for s in done.report.series if s.title == "Validation loss").y
        return y[0] - y[-1]

    by_chance = gain("chance")
    monkeypatch.setattr(rounding, "round_stochastically", lambda *_: None)
    to_the_nearest = gain("nearest")
    assert by_chance > 1.5 * to_the_nearest


def test_an_optimizer_that_is_not_installed_is_refused(monkeypatch):
    from steps.engines.lm import quantized
    from steps.train.plan import make_plan

    monkeypatch.setattr(quantized, "find_spec", lambda _: None)
    with pytest.raises(ConfigError) as refused:
        make_plan(TrainConfig(optim="adamw_8bit"), 320)
    assert str(refused.value) == (
        "train: optim adamw_8bit needs bitsandbytes, which isn't installed\n"
        "  way out: pip install 'assay[bitsandbytes]'"
    )


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_the_weights_that_are_trained_are_those_that_are_counted(trained, tiny_model, kind):
    config = TrainConfig.model_validate({**COMMON, "weights": KINDS[kind]})
    done, _ = trained(KINDS[kind], max_steps=1)
    assert model_shape(tiny_model.path, config).trainable == done.model.info.trainable
    assert done.report.counts["weights"]["trained"] == done.model.info.trainable


def meta_llama(layers=7):
    with torch.device("meta"):
        return tiny_llama(320, layers=layers)


def trained_names(options, model, draw=None):
    weights_of(options).prepare(model, draw or Draw())
    return {n for n, p in model.named_parameters() if p.requires_grad}


def test_half_of_each_category_is_drawn_in_every_layer():
    """Of the four matrices of attention two, of the two norms one; of the three of the feed-forward one or two, in half
    of the layers each."""
    names = trained_names(HalfOptions(), meta_llama(8))
    layers = [{n.split(".", 3)[3] for n in names if n.startswith(f"model.layers.{i}.")} for i in range(8)]
    assert {sum("self_attn" in n for n in layer) for layer in layers} == {2}
    assert {sum("norm" in n for n in layer) for layer in layers} == {1}
    assert Counter(sum("mlp" in n for n in layer) for layer in layers) == {1: 4, 2: 4}
    assert len({frozenset(layer) for layer in layers}) > 4
    assert {n for n in names if "layers" not in n} == {"model.embed_tokens.weight", "model.norm.weight"}
    frozen = trained_names(HalfOptions(embeddings="frozen"), meta_llama(8))
    assert frozen == {n for n in names if "layers" in n}


def test_every_round_and_seed_draws_another_half_and_the_same_again():
    drawn = [frozenset(trained_names(HalfOptions(), meta_llama(), Draw(*d))) for d in ((1, 0), (1, 1), (2, 0), (1, 0))]
    assert len(set(drawn[:3])) == 3
    assert drawn[3] == drawn[0]


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_half_is_nearly_half_of_the_layers_of_every_architecture(name):
    import transformers

    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(tiny_config(name))
    names = trained_names(HalfOptions(), model)
    in_layers = {n: p.numel() for n, p in model.named_parameters() if ".layers." in n}
    share = sum(size for n, size in in_layers.items() if n in names) / sum(in_layers.values())
    assert 0.3 < share < 0.7
    assert all((n.removesuffix("bias") + "weight" in names) is (n in names) for n in in_layers if n.endswith(".bias"))


@pytest.mark.parametrize(
    ("options", "numbers"),
    [("last 2", {5, 6}), ("first 1", {0}), ("middle 3", {2, 3, 4}), ("middle 2", {2, 3}), ((0, 6), {0, 6})],
)
def test_layers_are_named_by_place_or_number(options, numbers):
    names = trained_names(PartialOptions(layers=options), meta_llama())
    assert names == {n for n, _ in meta_llama().named_parameters() if n.startswith("model.layers.")
                     and int(n.split(".")[2]) in numbers}  # fmt: skip
    attached = weights_of(LoraOptions(r=2, layers_to_transform=options)).attached(meta_llama())
    assert {int(n.split(".layers.")[1].split(".")[0]) for n, _ in attached.named_parameters() if "lora" in n} == numbers


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (PartialOptions(layers="last 8"), "weights.layers is 'last 8', the model has 7 layers"),
        (PartialOptions(layers=(7,)), "weights.layers is (7,), the model has 7 layers"),
        (PartialOptions(trained=("*.mpl.*",)), "weights.trained: no weight of the model is called '*.mpl.*'"),
        (PartialOptions(trained=("*norm*",), frozen=("*",)), "nothing would be trained"),
        (LoraOptions(target_modules=("q_prj",)), "weights.target_modules ('q_prj',) names no layer of the model"),
        (
            LoraOptions(target_modules=("q_proj", "k_prj")),
            "weights.target_modules: the model has no layer called k_prj",
        ),
        (LoraOptions(target_modules=("q_proj", "embed_tokens")), "names embeddings that are tied to the head"),
        (LoraOptions(modules_to_save=("embed",)), "weights.modules_to_save: the model has no module called embed"),
        (LoraOptions(rank_pattern={"q_prj": 2}), "weights.rank_pattern: no layer with an adapter is called 'q_prj'"),
        (LoraOptions(alpha_pattern={"0.x": 2}), "weights.alpha_pattern: no layer with an adapter is called '0.x'"),
        (LoraOptions(layers_to_transform=(9,)), "weights.layers_to_transform is (9,), the model has 7 layers"),
    ],
    ids=str,
)
def test_what_does_not_fit_the_model_is_refused(options, said):
    with pytest.raises(ConfigError) as refused:
        weights_of(options).attached(meta_llama())
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({"weights": {"kind": "partial"}}, "nothing would be trained: name layers"),
        ({"weights": LORA | {"init_lora_weights": "pissa", "use_dora": True}}, "init_lora_weights pissa and use_dora"),
        ({"weights": LOFTQ | {"use_dora": True}}, "init_lora_weights loftq and use_dora"),
        ({"weights": LOFTQ | {"quantization": "int8"}}, "loftq is for weights of 4 bits, quantization is int8"),
        ({"weights": LOFTQ, "objective": {"kind": "dpo"}}, "is for the objectives sft and continued_pretraining, not"),
        ({"weights": LORA | {"init_lora_weights": "loftq"}}, "should match pattern"),
        ({"weights": LORA | {"init_lora_weights": "eva"}, "objective": {"kind": "kto"}}, "eva is for the objectives"),
        ({"weights": LORA | {"eva_rows": 8}}, "weights.eva_rows has no effect: init_lora_weights isn't eva"),
        ({"weights": QLORA | {"loftq_iter": 8}}, "weights.loftq_iter has no effect: init_lora_weights isn't loftq"),
        ({"weights": {"kind": "half"}, "dtype": "bfloat16"}, "training in bfloat16 weights loses small updates with"),
        ({"optim": "lion_8bit"}, "wants a learning_rate of its own"),
    ],
    ids=str,
)
def test_settings_that_contradict_the_weights_are_refused(section, said):
    with pytest.raises(ValidationError, match=said):
        TrainConfig.model_validate(section)


def test_only_an_adapter_that_leaves_the_weights_alone_is_its_own_reference():
    """What compares with the model before training may switch the adapter off."""

    def keeps(**options):
        return weights_of(TrainConfig(weights=options).weights).keeps_start

    assert keeps(kind="lora") and keeps(kind="lora", init_lora_weights="gaussian", modules_to_save=("norm",))
    assert not any(keeps(kind="lora", **o) for o in ({"init_lora_weights": "pissa"}, {"bias": "all"}))
    assert not keeps(kind="full") and not keeps(kind="half")


def test_rounding_is_right_on_average_and_repeats():
    from steps.train.weights.rounding import stochastically_rounded

    exact = torch.full((20_000,), 1.0 + 1 / 512)  # a quarter of the way to the next bfloat16, 1 + 1/128
    drawn = [stochastically_rounded(exact, torch.Generator().manual_seed(s)).float() for s in (1, 2, 1)]
    assert set(drawn[0].tolist()) == {1.0, 1.0 + 1 / 128}
    assert (drawn[0] > 1).float().mean() == pytest.approx(0.25, abs=0.015)
    assert torch.equal(drawn[0], drawn[2])
    assert not torch.equal(drawn[0], drawn[1])
    ends = torch.tensor([float("inf"), float("-inf"), float("nan"), 0.0, -1.5])
    rounded = stochastically_rounded(ends, torch.Generator().manual_seed(0)).float()
    assert torch.equal(rounded.nan_to_num(7), ends.nan_to_num(7))


QUANTIZED = {
    "nf4": QLORA, "nf4, scales as they are": QLORA | {"double_quantization": False},
    "fp4": QLORA | {"quantization": "fp4"}, "int8": QLORA | {"quantization": "int8"},
    "dora": QLORA | {"use_dora": True}, "eva": QLORA | {"init_lora_weights": "eva"},
    "loftq": LOFTQ, "loftq, fp4, three times": LOFTQ | {"quantization": "fp4", "loftq_iter": 3},
    "whole norm": QLORA | {"modules_to_save": ["norm"], "layers_to_transform": "last 1"},
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("kind", QUANTIZED)
def test_over_quantized_weights_what_was_trained_resumes_is_loaded_and_merged(trained, tiny_model, kind):
    from peft import PeftModel

    weights = QUANTIZED[kind]
    with pytest.raises(KeyboardInterrupt):
        trained(weights, name="interrupted", stop=5)
    resumed, _ = trained(weights, name="resumed")
    assert any("resumed at step 4" in note for note in resumed.report.notes)
    done, seen = trained(weights, checkpoints="other")
    assert done.model.info.files == resumed.model.info.files
    before, after = (next(s for s in done.report.series if s.title == "Validation loss").y[i] for i in (0, -1))
    assert after < before
    quantization = weights_of(TrainConfig(weights=weights).weights).quantization
    below = load_start(tiny_model, None, dtype="float32", device="cpu", quantization=quantization).model
    plain = logits(below)
    if weights.get("init_lora_weights") != "loftq":
        # Of LoftQ there is no such thing: it is saved as what changed since the start, near the weights as they were.
        beside = PeftModel.from_pretrained(below, str(done.model.path))
        assert (logits(beside) - seen).abs().max() <= SAME
    # Over the weights in full precision, as evaluated and registered: merged and beside them the same.
    merged = logits(load(tiny_model, done.model).model)
    over_full = logits(PeftModel.from_pretrained(load(tiny_model).model, str(done.model.path)))
    assert (merged - over_full).abs().max() <= MERGED
    moved, lost = (
        (merged - logits(load(tiny_model).model)).abs().mean(),
        (plain - logits(load(tiny_model).model)).abs().mean(),
    )
    print(kind, "moved", float(moved), "quantization", float(lost), "as trained", float((merged - seen).abs().mean()))
    # Of LoftQ another reference: it has learnt less here, beginning with matrices that aren't near 0.
    assert (merged - seen).abs().mean() < (lost if weights.get("init_lora_weights") == "loftq" else moved)
    info = done.model.info
    assert info.parameters == tiny_model.info.parameters + info.trainable
    assert any(f"trained beside weights in {weights.get('quantization', 'nf4')}" in note for note in done.report.notes)


@pytest.mark.slow
@pytest.mark.parametrize(
    "weights",
    [LORA | {"init_lora_weights": "eva", "eva_rho": 2.0, "lora_dropout": 0.1},
     LOFTQ | {"loftq_iter": 2, "lora_dropout": 0.1}],
    ids=["eva", "loftq"],
)  # fmt: skip
def test_what_is_set_by_rows_or_by_the_exact_weights_is_set_again_after_a_kill(tmp_path, tiny_model, weights):
    config = TrainConfig.model_validate({**COMMON, "weights": weights, "save_steps": 3, "max_steps": 8})
    rows = tiny_dataset(tmp_path / "data", validation=8)
    check_resumed_after_a_kill(tmp_path, tiny_model, rows, config, 6)


@pytest.mark.slow
@pytest.mark.parametrize("kind", QUANTIZED)
def test_quantized_weights_take_what_is_counted(trained, tiny_model, kind):
    config = TrainConfig.model_validate({**COMMON, "weights": QUANTIZED[kind]})
    shape = model_shape(tiny_model.path, config)
    loaded = load_start(
        tiny_model, None, dtype="float32", device="cpu", quantization=weights_of(config.weights).quantization
    ).model
    held = sum(p.untyped_storage().nbytes() for p in {id(p): p for p in loaded.parameters()}.values())
    for module in loaded.modules():
        state = getattr(getattr(module, "weight", None), "quant_state", None)
        if state is not None:
            held += state.absmax.nbytes
            if state.nested:
                held += state.state2.absmax.nbytes + state.offset.nbytes
        if (scales := getattr(getattr(module, "weight", None), "SCB", None)) is not None:
            held += scales.nbytes
    assert 4 * (shape.parameters - shape.packed) + shape.packed_bytes == held


@pytest.mark.parametrize("iterations", [1, 4])
@pytest.mark.parametrize("quantization", ["nf4", "fp4"])
def test_loftq_begins_with_the_largest_part_of_what_is_lost(tiny_model, quantization, iterations):
    from peft import get_peft_model

    weights = {**LOFTQ, "quantization": quantization, "lora_alpha": 24, "use_rslora": True}
    kind = weights_of(TrainConfig(weights=weights).weights)
    exact = load(tiny_model).model
    held = load_start(tiny_model, None, dtype="float32", device="cpu", quantization=kind.quantization).model
    before = {n: _held(m).clone() for n, m in held.named_modules() if "Linear4bit" in type(m).__name__}
    model = get_peft_model(held, kind.peft_config(held))
    left = begin_with_loss(model, exact, iterations)
    assert 0 < left < 1
    assert len(before) == 2 * 7  # all linear layers of two
    whole = after = 0.0
    for name, plain in before.items():
        layer, lora = exact.get_submodule(name), model.get_submodule(f"base_model.model.{name}")
        lost = (layer.weight - plain).double()
        now = layer.weight - _held(lora.get_base_layer()) - lora.get_delta_weight("default")
        whole, after = whole + float(lost.square().sum()), after + float(now.double().square().sum())
        if iterations == 1:
            assert torch.equal(_held(lora.get_base_layer()), plain)
            # The best that a matrix of rank 4 can do (Eckart and Young).
            best = torch.linalg.svdvals(lost)[4:].square().sum()
            assert float(now.double().square().sum()) == pytest.approx(float(best), rel=1e-4)
    assert left == pytest.approx(after / whole, rel=1e-5)
    if iterations == 4:
        once = get_peft_model(
            load_start(tiny_model, None, dtype="float32", device="cpu", quantization=kind.quantization).model,
            kind.peft_config(exact),
        )
        assert left < begin_with_loss(once, exact, 1)


def test_eva_begins_with_the_main_directions_of_the_inputs_at_trained_tokens(tiny_model):
    """Held against an exact decomposition of all of them at once."""
    from datasets import Dataset
    from peft import get_peft_model

    chance = torch.Generator().manual_seed(0)
    # Few tokens are frequent, as in any text.
    often = 1 / torch.arange(1, 298) ** 1.5
    ids = (3 + torch.multinomial(often.repeat(24, 1), 40, replacement=True, generator=chance)).tolist()
    rows = [{"input_ids": i, "labels": [-100] * 10 + i[10:], "length": 40} for i in ids]
    kind = weights_of(TrainConfig(weights=LORA | {"init_lora_weights": "eva"}).weights)
    model = load(tiny_model).model
    inputs = {}
    at = {"v": "model.layers.1.self_attn.v_proj", "down": "model.layers.0.mlp.down_proj"}
    hooks = [
        model.get_submodule(name).register_forward_hook(lambda _, given, __, n=n: inputs.update({n: given[0][:, 10:]}))
        for n, name in at.items()
    ]
    with torch.inference_mode():
        model(input_ids=torch.tensor(ids[:16]))
    for hook in hooks:
        hook.remove()
    model = get_peft_model(model, kind.peft_config(model))
    trainer = SimpleNamespace(
        model=model, train_dataset=Dataset.from_list(rows), args=SimpleNamespace(per_device_train_batch_size=5),
        compute_loss_context_manager=nullcontext,
        data_collator=lambda batch: {k: torch.tensor([r[k] for r in batch]) for k in ("input_ids", "labels")},
    )  # fmt: skip
    state = torch.random.get_rng_state()
    begin_with_inputs(trainer, 16, 1.0)
    assert torch.equal(torch.random.get_rng_state(), state)
    for n, name in at.items():
        seen = inputs[n].flatten(0, 1)
        exact = torch.linalg.svd(seen - seen.mean(0), full_matrices=False)[2][:4]
        found = model.get_submodule(f"base_model.model.{name}").lora_A["default"].weight
        explained, most, by_chance = (
            float(((seen - seen.mean(0)) @ torch.linalg.qr(d.detach().T)[0]).square().sum())
            for d in (found, exact, torch.randn(4, seen.shape[1], generator=chance))
        )
        print(n, explained / most, by_chance / most)
        assert explained > 0.97 * most > 3 * by_chance
    assert all(not p.any() for n, p in model.named_parameters() if "lora_B" in n)
    assert model.peft_config["default"].init_lora_weights is True


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (LoraOptions(r=40, init_lora_weights="eva"), "needs 80 inputs of a layer for 40 directions, q_proj has 32"),
        (LoraOptions(r=10, init_lora_weights="eva", eva_rho=2), "40 inputs of a layer for 10 directions x eva_rho 2"),
    ],
    ids=str,
)  # fmt: skip
def test_eva_needs_layers_with_more_inputs_than_directions(options, said):
    with pytest.raises(ConfigError) as refused:
        weights_of(options).attached(meta_llama())
    assert said in str(refused.value)


@pytest.mark.slow
def test_eva_with_fewer_trained_tokens_than_directions_says_so(trained):
    with pytest.raises(ConfigError, match="looks for 16 directions, and the first 1 rows have fewer trained tokens"):
        trained({"kind": "lora", "r": 16, "init_lora_weights": "eva", "eva_rows": 1})


def test_a_mixture_of_experts_is_not_quantized():
    import transformers

    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(tiny_config("Qwen3-MoE"))
    with pytest.raises(ConfigError, match=r"weights qlora: experts .* wouldn't be quantized"):
        weights_of(QloraOptions()).attached(model)


@pytest.mark.slow
def test_after_an_adapter_the_merged_weights_are_quantized(trained, tiny_model, dataset, tmp_path):
    first, _ = trained(LORA, name="first", checkpoints="first")
    config = TrainConfig.model_validate({**COMMON, "weights": QLORA})
    second = train(tiny_model, dataset, config, tmp_path / "second", tmp_path / "other", adapter=first.model)
    y = next(s for s in second.report.series if s.title == "Validation loss").y
    before = next(s for s in first.report.series if s.title == "Validation loss").y[-1]
    assert y[0] == pytest.approx(before, rel=0.05)
    assert y[-1] < y[0]
    assert second.model.info.started_from[-1].digest == first.model.info.digest
