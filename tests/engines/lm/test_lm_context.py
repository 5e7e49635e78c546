import pytest
from transformers import LlamaConfig

from steps.engines.lm.context import context_length

YARN = {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32_768}


@pytest.mark.parametrize(
    ("config", "tokens"),
    [
        ({}, None),
        ({"max_position_embeddings": None}, None),
        ({"max_position_embeddings": 2_048, "rope_scaling": None}, 2_048),
        ({"n_positions": 1_024}, 1_024),
        # Mistral 7B v0.1: a layer looks back 4,096 tokens, what it saw there looked back as far.
        ({"max_position_embeddings": 32_768, "sliding_window": 4_096}, 32_768),
        # Llama 3.1 and Phi-3: the length already counts the scaling.
        ({"max_position_embeddings": 131_072, "rope_scaling": {"rope_type": "llama3", "factor": 8.0,
          "original_max_position_embeddings": 8_192}}, 131_072),
        ({"max_position_embeddings": 131_072, "original_max_position_embeddings": 4_096,
          "rope_scaling": {"type": "longrope", "long_factor": [1.0]}}, 131_072),
        # Qwen 2.5 as its model card stretches it, and gpt-oss.
        ({"max_position_embeddings": 32_768, "rope_scaling": YARN}, 131_072),
        ({"max_position_embeddings": 131_072, "rope_parameters": {"rope_type": "yarn", "factor": 32.0,
          "original_max_position_embeddings": 4_096}}, 131_072),
        ({"max_position_embeddings": 4_096, "rope_scaling": {"type": "linear", "factor": 4.0}}, 16_384),
        ({"max_position_embeddings": 2_048, "rope_scaling": {"type": "dynamic", "factor": 2.0}}, 4_096),
        # Gemma 3 has settings for each type of layers; within a model that also sees, the text's count.
        ({"text_config": {"model_type": "gemma3_text", "max_position_embeddings": 131_072, "rope_parameters": {
          "full_attention": {"rope_type": "linear", "factor": 8.0}, "sliding_attention": {"rope_type": "default"}}}},
         131_072),
    ],
)  # fmt: skip
def test_the_context_is_what_the_config_means(config, tokens) -> None:
    assert context_length(config) == tokens


def test_transformers_own_form_says_the_same() -> None:
    config = LlamaConfig(max_position_embeddings=4_096, rope_parameters={"rope_type": "linear", "factor": 4.0})
    assert context_length(config.to_dict()) == 16_384
