import os
from collections.abc import Iterator

os.environ.setdefault("HF_HUB_OFFLINE", "0")

import pytest
from support.families.models import ARCHITECTURES, tiny_model
from support.word_model import described, save_tiny

from steps.contracts.models import ModelFolder
from steps.engines.lm.load import LoadedModel, load
from steps.engines.lm.threads import torch_threads

# Of the families of which some aren't answered by the decoder one stands for them.
_QUICK = ("Llama", "Gemma 3")


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> ModelFolder:
    path = tmp_path_factory.mktemp("tiny") / "model"
    return described(path, save_tiny(path, seed=7))


@pytest.fixture(scope="session")
def loaded(tiny: ModelFolder) -> LoadedModel:
    return load(tiny, device="cpu")


@pytest.fixture
def one_thread() -> Iterator[None]:
    with torch_threads(1):
        yield


@pytest.fixture(
    scope="module", params=[pytest.param(n, marks=() if n in _QUICK else pytest.mark.slow) for n in ARCHITECTURES]
)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    """Of each architecture one that says this and that."""
    folder = tmp_path_factory.mktemp("varied")
    return load(tiny_model(request.param, folder, tie_word_embeddings=False, initializer_range=0.5), device="cpu")
