import builtins
import socket

import numpy as np
import pytest
from pydantic import ValidationError

from steps.contracts.errors import ConfigError, MissingDependencyError, ServiceError
from steps.engines.vector_store.config import VectorStoreConfig
from steps.engines.vector_store.open import open_store

HNSW = VectorStoreConfig(exact_up_to=0)
IVF = VectorStoreConfig(exact_up_to=0, above="ivf")
QDRANT = VectorStoreConfig(backend="qdrant")


def clustered(n, d=64, seed=0):
    """Unit vectors like those of texts: many loose topics, some pairs very close."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(n // 20, d))
    x = centres[rng.integers(0, len(centres), n)] + 0.7 * rng.normal(size=(n, d))
    x[n // 2 : n // 2 + n // 10] = x[: n // 10] + 0.1 * rng.normal(size=(n // 10, d))
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def truth(vectors, queries, k):
    """Numbers of the k nearest by comparing all with all in float64."""
    return np.argsort(-(queries.astype(np.float64) @ vectors.T.astype(np.float64)), axis=1, kind="stable")[:, :k]


def asked(config, vectors, queries, k, step=500):
    with open_store(config, vectors, len(vectors)) as store:
        for start in range(0, len(vectors), step):
            store.add(vectors[start : start + step])
        return store.search(queries, k)


@pytest.mark.parametrize("config", [VectorStoreConfig(), QDRANT])
def test_exact_indexes_find_what_comparing_all_with_all_finds(config):
    vectors = clustered(1_500)
    scores, numbers = asked(config, vectors, vectors[:200], 8)
    assert (numbers == truth(vectors, vectors[:200], 8)).all()
    assert np.allclose(scores, np.take_along_axis(vectors[:200] @ vectors.T, numbers, axis=1), atol=1e-5)


@pytest.mark.parametrize(("config", "least"), [(HNSW, 0.99), (IVF, 0.95)])
@pytest.mark.slow
def test_recall_of_approximate_indexes_against_exact(config, least):
    vectors = clustered(4_000)
    right = truth(vectors, vectors, 8)
    _, numbers = asked(config, vectors, vectors, 8)
    recall = np.mean([len(set(a) & set(b)) / 8 for a, b in zip(right.tolist(), numbers.tolist(), strict=True)])
    assert recall >= least
    # What dedup asks for: is a row above the threshold found?
    close = np.take_along_axis(vectors @ vectors.T, right, axis=1)[:, 1] >= 0.95
    found = [bool(b in c) for b, c in zip(right[close, 1].tolist(), numbers[close].tolist(), strict=True)]
    assert close.sum() > 300 and np.mean(found) >= least


@pytest.mark.parametrize("config", [VectorStoreConfig(), HNSW, IVF, QDRANT])
def test_the_same_vectors_in_the_same_order_give_the_same_answers(config):
    vectors = clustered(2_000, seed=5)
    first, second = (asked(config, vectors, vectors[:300], 5) for _ in range(2))
    assert (first[0] == second[0]).all() and (first[1] == second[1]).all()


@pytest.mark.parametrize("config", [VectorStoreConfig(), HNSW, IVF, QDRANT])
def test_fewer_vectors_than_asked_for(config):
    vectors = clustered(40)[:3]
    with open_store(config, vectors, 3) as store:
        store.add(vectors[:0])
        store.add(vectors)
        scores, numbers = store.search(vectors, 5)
    assert (np.sort(numbers[:, :3]) == [0, 1, 2]).all() and (numbers[:, 3:] == -1).all()
    assert np.isneginf(scores[:, 3:]).all() and (numbers[:, 0] == [0, 1, 2]).all()


def test_the_bound_decides_between_exact_and_approximate():
    vectors = clustered(100)
    bound = VectorStoreConfig(exact_up_to=100)
    assert open_store(bound, vectors, 100).exact and not open_store(bound, vectors, 101).exact


def test_a_qdrant_server_that_is_away_is_a_service_error(monkeypatch):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    with pytest.raises(ServiceError, match="set backend: faiss"):
        open_store(VectorStoreConfig(backend="qdrant", qdrant_url=url), clustered(40), 40)
    monkeypatch.delenv("QDRANT_KEY", raising=False)
    with pytest.raises(ConfigError, match="QDRANT_KEY is not set"):
        open_store(VectorStoreConfig(backend="qdrant", qdrant_url=url, qdrant_key_env="QDRANT_KEY"), clustered(40), 40)


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"qdrant_url": "http://127.0.0.1:6333"}, "set backend: qdrant"),
        ({"backend": "qdrant", "qdrant_url": "qdrant:6333"}, "no http"),
        ({"backend": "qdrant", "qdrant_url": "http://u:p@x"}, "qdrant_key_env"),
    ],
)
def test_addresses_are_checked(keys, words):
    with pytest.raises(ValidationError, match=words):
        VectorStoreConfig(**keys)


@pytest.mark.parametrize(("package", "config"), [("faiss", VectorStoreConfig()), ("qdrant_client", QDRANT)])
def test_a_missing_library_names_the_way_out(monkeypatch, package, config):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.split(".")[0] == package:
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingDependencyError, match="pip install"):
        open_store(config, clustered(40), 40)
