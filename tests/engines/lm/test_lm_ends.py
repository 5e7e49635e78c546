"""What ends an answer, by the templates as they are published (in TRL's package)."""

from pathlib import Path
from typing import Any

import pytest
import trl
from support.tiny_model import CHATML_PLAIN, tiny_tokenizer
from support.tuned_models import adapted
from support.word_model import described, save_tiny
from transformers import GenerationConfig

from steps.contracts.errors import ConfigError, InputNotFoundError
from steps.contracts.models import ModelFolder
from steps.engines.lm import generate as engine
from steps.engines.lm.decoding import DecodingConfig
from steps.engines.lm.ends import end_markers, stop_ids
from steps.engines.lm.folder import model_folder
from steps.engines.lm.load import LoadedModel, load, load_start

PUBLISHED = Path(trl.__file__).parent / "chat_templates"
# The special tokens of each family's tokenizer that stand near the end of a turn, and those that end one.
FAMILIES = {
    "llama3": ("<|eot_id|> <|end_of_text|>", "<|eot_id|>"),
    "llama3_1": ("<|eot_id|> <|eom_id|> <|python_tag|>", "<|eom_id|> <|eot_id|>"),
    "llama3_2": ("<|eot_id|> <|eom_id|>", "<|eot_id|>"),
    "qwen2_5": ("<|im_start|> <|im_end|>", "<|im_end|>"),
    "qwen3": ("<|im_start|> <|im_end|>", "<|im_end|>"),
    "gemma": ("<start_of_turn> <end_of_turn>", "<end_of_turn>"),
    "gemma3": ("<start_of_turn> <end_of_turn>", "<end_of_turn>"),
    "gemma4_v5": ("<|turn> <turn|> <|tool_call> <tool_call|> <|tool_response>", "<turn|> <|tool_response>"),
    "phi3": ("<|assistant|> <|end|> <|user|>", "<|end|>"),
    "phi3_5": ("<|assistant|> <|end|> <|user|>", "<|end|>"),
    "deepseek_r1_distill": ("<｜end▁of▁sentence｜> <｜User｜>", "<｜end▁of▁sentence｜>"),
    "gptoss": ("<|start|> <|end|> <|return|> <|call|> <|message|> <|channel|>", "<|call|> <|return|>"),
    "glm4moe": ("<|user|> <|assistant|> <|observation|>", "<|observation|> <|user|>"),
    "cohere": ("<|START_OF_TURN_TOKEN|> <|END_OF_TURN_TOKEN|>", "<|END_OF_TURN_TOKEN|>"),
}
# Tokens of some vocabularies that are no special ones: they close a call, and end nothing.
ADDED = ("<tool_call>", "</tool_call>", "</arg_value>", "</think>", "\n\n")


def tokenizer_of(template: str, special: str = "", added: tuple[str, ...] = ADDED):
    """Its eos is none of the template's."""
    tokenizer = tiny_tokenizer(template=template)
    tokenizer.add_special_tokens({"bos_token": "<s>", "eos_token": "<|endoftext|>"})
    tokenizer.add_special_tokens({"additional_special_tokens": special.split()})
    tokenizer.add_tokens(list(added))
    return tokenizer


@pytest.mark.parametrize("family", FAMILIES)
def test_a_familys_ends_are_found_by_rendering(family: str) -> None:
    special, ends = FAMILIES[family]
    tokenizer = tokenizer_of((PUBLISHED / f"{family}.jinja").read_text(), special)
    assert set(tokenizer.convert_ids_to_tokens(end_markers(tokenizer))) == set(ends.split())


def test_a_marker_that_is_only_an_added_token_counts() -> None:
    tokenizer = tokenizer_of(CHATML_PLAIN.replace("im_end", "over"), added=("<|over|>", "\n\n"))
    assert tokenizer.convert_ids_to_tokens(end_markers(tokenizer)) == ["<|over|>"]


@pytest.mark.parametrize(
    "template",
    [
        "{{ raise_exception('never') }}",
        "{{ messages[7].content.no_such }}",
        "{{ 1 / 0 }}",
        "{% for m in messages %}### {{ m['role'] }}\n{{ m['content'] }}\n{% endfor %}",
        "{% for m in messages %}{{ m['content'] | upper }}<|im_end|>{% endfor %}",
    ],
)
def test_a_template_that_refuses_or_writes_no_end_has_none(template: str) -> None:
    assert end_markers(tokenizer_of(template)) == []


def test_no_template_no_markers_and_nothing_at_all_is_refused(loaded: LoadedModel, monkeypatch) -> None:
    assert end_markers(loaded.tokenizer) == []
    monkeypatch.setattr(loaded.model, "generation_config", GenerationConfig())
    monkeypatch.setattr(loaded.model.config, "eos_token_id", None)
    assert stop_ids(loaded) == [loaded.tokenizer.eos_token_id]
    monkeypatch.setitem(loaded.tokenizer._special_tokens_map, "eos_token", None)
    with pytest.raises(ConfigError, match="an answer has no end"):
        stop_ids(loaded)


def said(loaded: LoadedModel, asked: list[str], **how: Any) -> list[str]:
    return [one.text for one in engine.generate(loaded, asked, **how)]


def with_ends(adapter: ModelFolder, ends: list[int]) -> ModelFolder:
    """The adapter as training saves it: what ended the trained turns is in its generation_config."""
    assert adapter.path is not None
    GenerationConfig(eos_token_id=ends, repetition_penalty=1.5).save_pretrained(str(adapter.path))
    return model_folder(adapter.path, kind="adapter", base=adapter.info.base, parameters=1, trainable=1)


def test_an_end_that_is_no_token_id_is_refused(loaded: LoadedModel, monkeypatch) -> None:
    monkeypatch.setattr(loaded.model.generation_config, "eos_token_id", [2, "<|im_end|>"])
    with pytest.raises(ConfigError, match=r"eos_token_id is '<\|im_end\|>', which is no token id"):
        stop_ids(loaded)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_an_adapters_trained_ends_stop_its_answers_and_those_of_what_goes_on_from_it(tmp_path, dtype) -> None:
    base = described(tmp_path / "base", save_tiny(tmp_path / "base", seed=7))
    adapter = with_ends(adapted(base, tmp_path / "adapter"), [1, 17, 23])
    assert stop_ids(load(base, device="cpu")) == [1]
    assert stop_ids(load(base, adapter, dtype=dtype, device="cpu")) == [1, 17, 23]
    assert stop_ids(load_start(base, adapter, dtype=dtype, device="cpu")) == [1, 17, 23]
    free = load(base, adapted(base, tmp_path / "same"), dtype=dtype, device="cpu")
    (text,) = said(free, ["w3 w4"], max_new_tokens=6, batch_size=1)
    first, second = (free.tokenizer.convert_tokens_to_ids(w) for w in text.split()[:2])
    assert first != second
    stopped = load(base, with_ends(adapter, [second]), dtype=dtype, device="cpu")
    assert said(stopped, ["w3 w4"], max_new_tokens=6, batch_size=1) == text.split()[:1]


def test_a_broken_generation_config_is_named(tmp_path) -> None:
    base = described(tmp_path / "base", save_tiny(tmp_path / "base", seed=7))
    adapter = adapted(base, tmp_path / "adapter")
    (tmp_path / "adapter/generation_config.json").write_text("[")
    with pytest.raises(InputNotFoundError, match="not a loadable generation config") as found:
        load(base, adapter, device="cpu")
    assert str(found.value.where).endswith("adapter/generation_config.json")


# Each of these alone changes the greedy answers of the tiny model below.
LEAKS = {
    "repetition_penalty": 3.0,
    "no_repeat_ngram_size": 1,
    "suppress_tokens": list(range(2, 62, 2)),
    "begin_suppress_tokens": list(range(2, 62, 2)),
    "bad_words_ids": [[i] for i in range(2, 62, 2)],
    "forced_eos_token_id": 9,
    "min_new_tokens": 8,
    "sequence_bias": [[[i], -90.0] for i in range(2, 62, 2)],
    "exponential_decay_length_penalty": [1, 9.0],
}


@pytest.mark.parametrize("name", LEAKS)
def test_what_the_model_asks_for_is_not_done_unless_the_config_asks(loaded: LoadedModel, monkeypatch, name) -> None:
    asked = ["w3 w4", "w50 w9 w9", "w8", "w21 w2 w40 w11"]
    ends = {"eos_token_id": [1, loaded.tokenizer.convert_tokens_to_ids("w17")]}
    monkeypatch.setattr(loaded.model, "generation_config", GenerationConfig(**ends))
    greedy = said(loaded, asked, max_new_tokens=8, batch_size=2)
    own = GenerationConfig(**ends, **{name: LEAKS[name]}, do_sample=True, temperature=9.0, top_p=0.5, num_beams=2)
    monkeypatch.setattr(loaded.model, "generation_config", own)
    assert said(loaded, asked, max_new_tokens=8, batch_size=2) == greedy
    assert loaded.model.generation_config is own
    if name in DecodingConfig.model_fields:
        wanted = DecodingConfig.model_validate({name: LEAKS[name]})
        assert said(loaded, asked, max_new_tokens=8, batch_size=2, decoding=wanted) != greedy


def test_the_decoding_in_force_says_all_that_decides_over_a_token() -> None:
    assert DecodingConfig(suppress_tokens=(3,)).in_force() == {
        "do_sample": False, "num_beams": 1, "repetition_penalty": 1.0, "no_repeat_ngram_size": 0, "min_new_tokens": 0,
        "suppress_tokens": [3], "begin_suppress_tokens": None,
    }  # fmt: skip
