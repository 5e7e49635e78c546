"""Fixtures for every test."""

import os
import shutil
import sys
import tempfile
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import settings
from support.hub_server import hub  # noqa: F401 - fixture

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(Path(__file__).resolve().parent))

# No test of an example is timed: other work on the machine would fail it.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("ASSAY_PROGRESS", "off")


def pytest_configure(config):
    """A state folder of this test session's own, named before zenml can be imported: it reads the names at import."""
    from ops.environment import prepare

    os.environ["ASSAY_STATE"] = tempfile.mkdtemp(prefix="assay-tests-")
    # A process of pytest-xdist inherits what the first one has set, and must not share its store.
    for name in ("ZENML_CONFIG_PATH", "ZENML_REPOSITORY_PATH"):
        os.environ.pop(name, None)
    prepare(ROOT)


def pytest_unconfigure(config):
    shutil.rmtree(os.environ["ASSAY_STATE"], ignore_errors=True)


@pytest.fixture(autouse=True, scope="module")
def _tracker_of_its_own():
    """ZenML's tracker names itself to the whole process: runs of one file's tests say nothing to those of another."""
    before = os.environ.get("MLFLOW_TRACKING_URI")
    yield
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    if before is not None:
        os.environ["MLFLOW_TRACKING_URI"] = before


# Tests that this run leaves out, by marker; with several processes every one of them counts all.
_LEFT_OUT: Counter[str] = Counter()


def pytest_deselected(items):
    _LEFT_OUT.update(m for item in items for m in ("slow", "stacks") if item.get_closest_marker(m))


def pytest_sessionfinish(session):
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["left_out"] = dict(_LEFT_OUT)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node):
    """A process of pytest-xdist says what it left out."""
    _LEFT_OUT.clear()
    _LEFT_OUT.update(getattr(node, "workeroutput", {}).get("left_out", {}))


def pytest_terminal_summary(terminalreporter):
    for report in terminalreporter.stats.get("passed", []):
        for what in (str(value) for name, value in report.user_properties if name == "left out"):
            terminalreporter.write_line(f"left out: {what} ({report.nodeid})")
    for marker, count in sorted(_LEFT_OUT.items()):
        terminalreporter.write_line(f"left out: {count} tests marked {marker} (make test-{marker})")


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory):
    """A base model (ModelFolder) of 33 thousand weights, shared by the session: don't write into its folder."""
    from support.tiny_model import build_tiny_model

    return build_tiny_model(tmp_path_factory.mktemp("tiny") / "model")
