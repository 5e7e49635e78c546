"""Steps give signs of life while they run, and only where nobody else does."""

import threading
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import pytest

from steps.zenml_runtime import heartbeat
from steps.zenml_runtime.heartbeat import sign_of_life


def step_run(*, has_its_own: bool = False) -> Any:
    return SimpleNamespace(id=uuid4(), spec=SimpleNamespace(enable_heartbeat=has_its_own))


class Store:
    """Fails at first; `heard` is set by the third call."""

    def __init__(self) -> None:
        self.calls: list[UUID] = []
        self.heard = threading.Event()

    def update_step_heartbeat(self, step: UUID) -> None:
        self.calls.append(step)
        if len(self.calls) == 1:
            raise ConnectionError("the server is restarted")
        if len(self.calls) == 3:
            self.heard.set()


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Store:
    store = Store()
    monkeypatch.setattr(heartbeat, "EVERY", 0.005)
    monkeypatch.setattr(heartbeat, "Client", lambda: SimpleNamespace(zen_store=store))
    return store


def test_store_hears_of_a_step_that_runs_here_until_it_ends(store: Store) -> None:
    step = step_run()
    with sign_of_life(step):
        assert store.heard.wait(20)
    (worker,) = [t for t in threading.enumerate() if t.name == "sign of life"] or [None]
    if worker is not None:
        worker.join(20)
    assert set(store.calls) == {step.id}


def test_zenmls_own_signs_are_enough(store: Store) -> None:
    with sign_of_life(step_run(has_its_own=True)):
        assert not store.heard.wait(0.05)
    assert store.calls == []
