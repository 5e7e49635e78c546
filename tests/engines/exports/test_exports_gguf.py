"""GGUF files by llama.cpp's own converter, proven in llama.cpp."""

import json
from pathlib import Path
from typing import Any

import pytest
from support.families.models import ARCHITECTURES
from support.families.models import tiny_model as architecture_model
from support.llama_cpp import converter
from support.tiny_model import CHATML_PLAIN, CORPUS, build_tiny_model, tiny_llama
from support.tuned_models import adapted
from test_exports_folders import write

from steps.contracts.errors import ConfigError, IntegrityError, MissingDependencyError
from steps.contracts.models import ModelFolder
from steps.engines.exports.folder_format import Source
from steps.engines.exports.gguf.converter import converter_folder, splitting_rule
from steps.engines.lm.references import local_reference


@pytest.fixture(scope="module")
def source(tiny_model: ModelFolder, tmp_path_factory) -> Source:
    return Source(tiny_model, adapted(tiny_model, tmp_path_factory.mktemp("adapter")))


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["f32", "f16", "bf16", "q8_0"])
def test_a_gguf_file_is_the_model_in_llama_cpp(source: Source, tmp_path: Path, dtype: str) -> None:
    manifest = write(source, "gguf", tmp_path, dtype, asked=17, llama_cpp=converter())
    assert set(manifest.files) == {"Modelfile", f"model-{dtype}.gguf"}
    assert manifest.parity.prompts == 17 and manifest.parity.texts == 1000 and manifest.parity.tokens == 17 * (24 + 16)
    assert manifest.facts["pre_tokenizer"] == "gpt-2"
    assert manifest.facts["pre_tokenizer_known"] == "by its rule, proven text by text"
    assert manifest.facts["metadata"]["tokenizer.ggml.eos_token_id"] == 2


@pytest.mark.slow
def test_four_bits_by_llama_cpp_s_own_quantizer(source: Source, tmp_path: Path) -> None:
    folder = converter(quantizer=True)
    manifest = write(source, "gguf", tmp_path, "q4_k_m", asked=17, llama_cpp=folder)
    assert (
        set(manifest.files) == {"Modelfile", "model-q4_k_m.gguf"}
        and manifest.facts["metadata"]["general.file_type"] == 15
    )
    # Rows of 32 numbers.
    assert manifest.notes[0] == "14 of 20 tensors have no rows of 256 numbers, and got more bits"


@pytest.mark.slow
def test_a_wrong_splitting_rule_is_found_by_the_texts(source: Source, tmp_path: Path) -> None:
    with pytest.raises(IntegrityError, match="is tokenised otherwise"):
        write(source, "gguf", tmp_path, asked=1, llama_cpp=converter(), pre_tokenizer="llama-bpe")


@pytest.mark.slow
def test_an_unknown_splitting_rule_is_refused(tmp_path: Path) -> None:
    base = build_tiny_model(tmp_path / "base")
    file = base.path / "tokenizer.json"
    described = json.loads(file.read_text())
    split = {"type": "Split", "pattern": {"Regex": "[aeiou]+|."}, "behavior": "Isolated", "invert": False}
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    described["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [split, level]}
    file.write_text(json.dumps(described))
    assert splitting_rule(file) == ""
    with pytest.raises(ConfigError, match="doesn't recognise how this tokenizer splits text"):
        write(Source(base, None), "gguf", tmp_path, asked=1, llama_cpp=converter())


# Of the tests' models and tokenizers: those that are the model in llama.cpp, by the rule that splits their texts ("":
# SentencePiece's, which has none), with what of their shape is as published ...
PROVEN: dict[str, tuple[str, dict[str, Any]]] = {
    "Llama": ("llama-bpe", {}),
    "Qwen3": ("qwen2", {}),
    "Qwen3-MoE": ("qwen2", {}),
    "gpt-oss": ("gpt-4o", {}),
    "Gemma 2": ("", {}),
    "Gemma 3": ("", {"num_hidden_layers": 6, "layer_types": ["sliding_attention"] * 5 + ["full_attention"]}),
    "Phi-3": ("", {"sliding_window": None}),
    # Of seeds 0 and 1 experts are nearly as good as each other behind one token (0: 0.0002), and another one answers.
    "Mixtral": ("", {"seed": 2}),
}
# ... and those that aren't, and why. llama.cpp puts a space before a text that begins with one, transformers doesn't.
REFUSED: dict[str, tuple[str, dict[str, Any]]] = {
    "Mistral": ("the text '  indented' is tokenised otherwise", {}),
    # It has every sixth layer look at all of the text, whatever the model's layers do.
    "Gemma 3": ("the export isn't the model that was trained", {}),
    # It has no sliding window for it.
    "Phi-3": ("the export isn't the model that was trained", {}),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", PROVEN)
def test_an_architecture_is_the_model_in_llama_cpp(name: str, tmp_path: Path) -> None:
    rule, shape = PROVEN[name]
    source = Source(architecture_model(name, tmp_path / "model", **shape), None)
    # At one token two of its random experts are as near as 0.001: a rounding chooses the other one.
    epsilon = 0.1 if name == "gpt-oss" else None
    manifest = write(source, "gguf", tmp_path, asked=17, epsilon=epsilon, llama_cpp=converter())
    assert manifest.facts["pre_tokenizer"] == rule
    assert (manifest.parity.prompts, manifest.parity.texts) == (17, 1000)
    # All that ends the published model's answers ends them in llama.cpp.
    assert len(manifest.parity.ends) == {"Llama": 3, "gpt-oss": 3, "Phi-3": 3, "Mixtral": 1}.get(name, 2)
    if name == "Llama":
        assert manifest.facts["metadata"]["llama.rope.freq_base"] == 500000.0
    # The template writes none of its own.
    assert manifest.facts["metadata"]["tokenizer.ggml.add_bos_token"] is (name in ("Llama", "Gemma 2", "Gemma 3"))
    assert any("texts to go on with get none either" in note for note in manifest.notes) is (name == "Mixtral")


@pytest.mark.slow
@pytest.mark.parametrize("name", REFUSED)
def test_an_architecture_that_is_another_model_there_is_refused(name: str, tmp_path: Path) -> None:
    reason, shape = REFUSED[name]
    source = Source(architecture_model(name, tmp_path / "model", **shape), None)
    with pytest.raises(IntegrityError, match=reason):
        write(source, "gguf", tmp_path, asked=17, llama_cpp=converter())
    assert set(ARCHITECTURES) == {*PROVEN, *REFUSED}


@pytest.mark.slow
def test_a_window_that_the_check_s_prompts_are_shorter_than_is_noted(tmp_path: Path) -> None:
    source = Source(architecture_model("Phi-3", tmp_path / "model", sliding_window=256), None)
    manifest = write(source, "gguf", tmp_path, llama_cpp=converter())
    assert manifest.notes[0].startswith("the model looks 256 tokens back, llama.cpp at all of the text")


@pytest.mark.slow
def test_a_sentencepiece_tokenizer_that_llama_cpp_reads_otherwise_is_refused(tmp_path: Path) -> None:
    """It puts a space before texts that begin with one, and behind special tokens; transformers 5 doesn't."""
    folder, source = converter(), Source(sentencepiece_model(tmp_path / "model"), None)
    with pytest.raises(IntegrityError, match="the text '  indented' is tokenised otherwise"):
        write(source, "gguf", tmp_path, asked=1, llama_cpp=folder)


def sentencepiece_model(folder: Path) -> ModelFolder:
    """A model with a tokenizer.model of its own."""
    from sentencepiece import SentencePieceTrainer
    from transformers import AutoTokenizer

    folder.mkdir()
    SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS * 20), model_prefix=str(folder / "tokenizer"), vocab_size=360, model_type="bpe",
        byte_fallback=True, normalization_rule_name="identity", remove_extra_whitespaces=False,
        hard_vocab_limit=False, minloglevel=2,
    )  # fmt: skip
    (folder / "tokenizer.vocab").unlink()
    special = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "</s>"}
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "LlamaTokenizer", **special}))
    tokenizer = AutoTokenizer.from_pretrained(str(folder))
    tokenizer.chat_template = CHATML_PLAIN.replace("<|im_start|>", "<s>").replace("<|im_end|>", "</s>")
    tiny_llama(len(tokenizer)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return local_reference(folder)


def test_a_folder_without_the_converter_says_how_to_get_it(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.delenv("ASSAY_LLAMA_CPP", raising=False)
    with pytest.raises(MissingDependencyError, match=r"(?s)llama.cpp's converter isn't here.*make llama-cpp"):
        converter_folder(None)
    monkeypatch.setenv("ASSAY_LLAMA_CPP", str(tmp_path))
    with pytest.raises(MissingDependencyError, match=r"no convert_hf_to_gguf\.py in this folder"):
        converter_folder(None)
