"""Fixtures for every test."""

import os
import shutil
import sys
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(Path(__file__).resolve().parent))

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("ASSAY_PROGRESS", "off")


def pytest_configure(config):
    """A state folder of this test session's own, named before zenml can be imported: it reads the names at import."""
    from ops.environment import prepare

    os.environ["ASSAY_STATE"] = tempfile.mkdtemp(prefix="assay-tests-")
    prepare(ROOT)


def pytest_unconfigure(config):
    shutil.rmtree(os.environ["ASSAY_STATE"], ignore_errors=True)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory):
    """A base model (ModelFolder) of 33 thousand weights, shared by the session: don't write into its folder."""
    from support.tiny_model import build_tiny_model

    return build_tiny_model(tmp_path_factory.mktemp("tiny") / "model")
