"""A run elsewhere is followed through what happens to the server that tells of it, and not for ever."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import pytest
from requests import ConnectionError as NoConnection
from zenml.enums import ExecutionStatus

from steps.contracts.errors import ServiceError
from steps.zenml_runtime import following
from steps.zenml_runtime.following import followed, returning_early


def seen(status: ExecutionStatus, **steps: ExecutionStatus) -> Any:
    named = {name: SimpleNamespace(name=name, status=said) for name, said in steps.items()}
    return SimpleNamespace(status=status, steps=named)


RUNNING, COMPLETED = ExecutionStatus.RUNNING, ExecutionStatus.COMPLETED


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []
    monkeypatch.setattr(following, "say", lines.append)
    monkeypatch.setattr(following, "settle", lambda _run: "")
    monkeypatch.setattr(following.time, "sleep", lambda _seconds: None)
    return lines


def answers(monkeypatch: pytest.MonkeyPatch, *given: Any) -> None:
    left: Iterator[Any] = iter(given)

    def get(_run: UUID) -> Any:
        answer = next(left)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    monkeypatch.setattr(following, "Client", lambda: SimpleNamespace(get_pipeline_run=get))


def test_server_that_is_away_for_a_while_is_told_once(said: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    away = NoConnection("refused")
    answers(
        monkeypatch, seen(RUNNING, ingest_step=RUNNING), away, away, seen(RUNNING, ingest_step=COMPLETED),
        seen(COMPLETED, ingest_step=COMPLETED),
    )  # fmt: skip
    assert followed(uuid4()).status == COMPLETED
    assert said == [
        "ingest: running",
        "ZenML's store doesn't answer (ConnectionError); the run goes on, and it is asked again",
        "ingest: completed",
    ]


def test_server_that_stays_away_ends_the_waiting_and_not_the_run(
    said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    answers(monkeypatch, *[NoConnection("refused")] * 3)
    with pytest.raises(ServiceError, match="hasn't answered for 0 s") as caught:
        followed(uuid4(), patience=0)
    assert "the run goes on" in str(caught.value.hint)


def test_who_stops_waiting_hears_how_to_find_the_run(said: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    run = uuid4()
    answers(monkeypatch, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        followed(run)
    assert said[0].startswith(f"run {run} goes on: `assay runs {run}`") and "runs stop" in said[0]


@pytest.mark.parametrize(
    ("flavor", "fields", "given", "settings"),
    [
        ("kubernetes", {"synchronous"}, {}, {"orchestrator": {"synchronous": False}}),
        (
            "kubernetes", {"synchronous"}, {"orchestrator.kubernetes": {"timeout": 1}},
            {"orchestrator.kubernetes": {"timeout": 1, "synchronous": False}},
        ),
        ("airflow", {"operator"}, {"docker": {}}, {"docker": {}}),
        ("local_docker", {"synchronous"}, {}, {}),
    ],
)  # fmt: skip
def test_orchestrators_that_can_return_early_do(
    monkeypatch: pytest.MonkeyPatch, flavor: str, fields: set[str], given: Any, settings: Any
) -> None:
    kind = SimpleNamespace(model_fields=dict.fromkeys(fields))
    orchestrator = SimpleNamespace(flavor=flavor, settings_class=kind)
    stack = SimpleNamespace(orchestrator=orchestrator)
    monkeypatch.setattr(following, "Client", lambda: SimpleNamespace(active_stack=stack))
    assert returning_early(given) == settings
