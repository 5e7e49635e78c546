"""A judge that takes requests and never answers: a run that asks it stays where it is."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from engines.llm.scripted_server import Act, ScriptedServer


@dataclass
class SilentJudge:
    """`settings` are those of the judge stage; `asked` is set by the first request."""

    settings: dict[str, Any]
    asked: threading.Event = field(default_factory=threading.Event)


@pytest.fixture
def silent_judge() -> Iterator[SilentJudge]:
    def script(_number: int, _body: dict[str, Any]) -> Act:
        judge.asked.set()
        return Act(delay=600)

    with ScriptedServer(script) as server:
        judge = SilentJudge({"backend": "llm", "endpoint": {"base_url": server.url, "model": "silent"}})
        yield judge
