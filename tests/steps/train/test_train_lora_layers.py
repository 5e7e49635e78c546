"""Where adapters lie, on models of every architecture: on all that all-linear promises, or a note says where not."""

import pytest
import torch
import transformers
from support.families.models import ARCHITECTURES, tiny_config

from steps.contracts.errors import ConfigError
from steps.train.weights.lora import Lora, LoraOptions

# Neither is a linear layer: routers are said to stay as they are, embeddings and the head are left out by name.
NEVER = ("embed_tokens", "lm_head", "norm", "router", "gate.weight", "bias", "sinks")


def model_of(config):
    with torch.device("meta"):
        return transformers.AutoModelForCausalLM.from_config(config)


def attached(name, **options):
    kind = Lora(LoraOptions(r=4, **options))
    return kind, kind.attached(model_of(tiny_config(name)))


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_adapters_lie_on_every_linear_layer_and_on_experts(name):
    kind, model = attached(name)
    expected = ARCHITECTURES[name]
    layers = [(n, m) for n, m in model.named_modules() if hasattr(m, "lora_A")]
    assert {n.split(".")[-1] for n, m in layers if isinstance(m.get_base_layer(), torch.nn.Linear)} == {
        *expected.linear
    }
    on_experts = {f"experts.{m.parameter_name}" for _, m in layers if hasattr(m, "parameter_name")}
    assert on_experts == {*expected.experts}
    below = {id(p) for _, m in layers for p in m.get_base_layer().parameters(False)}
    rest = [n for n, p in kind.core(model).named_parameters() if ".lora_" not in n and id(p) not in below]
    assert not [n for n in rest if not any(part in n for part in NEVER)]
    assert kind.left_out(model) == []


@pytest.mark.parametrize("name", ["Qwen3-MoE", "gpt-oss"])
def test_experts_without_adapters_are_told(name):
    kind, model = attached(name, target_parameters=())
    (note,) = kind.left_out(model)
    assert note.startswith("no adapter lies on mlp.experts.down_proj, mlp.experts.gate_up_proj, ")
    assert note.endswith("% of the model's weights")
    assert not [n for n, _ in model.named_parameters() if "lora" in n and "experts" in n]


def test_dense_layers_that_peft_takes_for_experts_are_told():
    """peft renames gate_proj and the like of DeepSeek's architecture, shared experts' and the first layers' too."""
    config = transformers.DeepseekV3Config(
        vocab_size=64, hidden_size=32, intermediate_size=64, moe_intermediate_size=24, num_hidden_layers=2,
        first_k_dense_replace=1, num_attention_heads=4, num_key_value_heads=4, n_routed_experts=4, n_group=1,
        topk_group=1, num_experts_per_tok=2, q_lora_rank=16, kv_lora_rank=16, qk_rope_head_dim=8, v_head_dim=8,
        qk_nope_head_dim=8,
    )  # fmt: skip
    kind = Lora(LoraOptions())
    (note,) = kind.left_out(kind.attached(model_of(config)))
    assert "mlp.down_proj" in note and "shared_experts.gate_proj" in note


def test_of_a_model_that_sees_the_text_is_trained():
    config = transformers.Gemma3Config(
        text_config=tiny_config("Gemma 3").to_dict(),
        vision_config={"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2},
    )
    kind = Lora(LoraOptions())
    model = kind.attached(model_of(config))
    layers = {n for n, m in kind.core(model).named_modules() if hasattr(m, "lora_A")}
    assert {n.split(".")[-1] for n in layers} == {*ARCHITECTURES["Gemma 3"].linear}
    assert {n.split(".layers.")[0] for n in layers} == {"model.language_model"}
    assert kind.left_out(model) == []


def test_named_layers_are_what_was_asked_for():
    kind, model = attached("gpt-oss", target_modules=("q_proj",), target_parameters=("experts.down_proj",))
    assert {n.split(".lora_")[0].split(".")[-1] for n, _ in model.named_parameters() if "lora_" in n} == {
        "q_proj", "experts",
    }  # fmt: skip
    assert kind.left_out(model) == []
    _, model = attached("gpt-oss", target_modules=("q_proj",))
    assert not [n for n, _ in model.named_parameters() if "lora_" in n and "q_proj" not in n]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"lora_dropout": 0.1}, "weights.lora_dropout doesn't go with adapters on experts (experts.down_proj,"),
        ({"use_dora": True}, "weights.use_dora doesn't go with adapters on experts (experts.down_proj,"),
        ({"target_parameters": ("experts.up",)}, "the model has no experts' weights called experts.up"),
    ],
)
def test_what_does_not_go_with_experts_is_refused(options, said):
    with pytest.raises(ConfigError) as refused:
        attached("Qwen3-MoE", **options)
    assert said in str(refused.value)


def test_without_adapters_on_experts_dropout_goes():
    _, model = attached("Qwen3-MoE", lora_dropout=0.1, target_parameters=())
    assert [n for n, _ in model.named_parameters() if "lora_" in n]
