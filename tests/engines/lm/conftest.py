import os

os.environ.setdefault("HF_HUB_OFFLINE", "0")

import pytest
from support.word_model import described, save_tiny

from steps.contracts.models import ModelFolder
from steps.engines.lm.load import LoadedModel, load


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> ModelFolder:
    path = tmp_path_factory.mktemp("tiny") / "model"
    return described(path, save_tiny(path, seed=7))


@pytest.fixture(scope="session")
def loaded(tiny: ModelFolder) -> LoadedModel:
    return load(tiny, device="cpu")
