"""A judge that is killed again and again: nothing that it had is lost, nothing is bought twice."""

import random
import subprocess
import sys
from pathlib import Path

import pytest
from engines.llm.scripted_server import Act, ScriptedServer, completion, verdict
from support.kills import killed
from support.textrows import chat, dataset

from steps.contracts.context import StageContext
from steps.engines.llm.endpoint import Endpoint
from steps.judge.config import JudgeConfig
from steps.judge.judge import judge

ROWS, CONCURRENCY, KILLS = 1_200, 6, 20
CODE = (
    "import sys; from pathlib import Path\n"
    "from steps.contracts.context import StageContext as At; from steps.contracts.dataset import Dataset\n"
    "from steps.engines.llm.endpoint import Endpoint\n"
    "from steps.judge.config import JudgeConfig; from steps.judge.judge import judge\n"
    "url, base = sys.argv[1], Path(sys.argv[2])\n"
    f"e = Endpoint(base_url=url, model='m', concurrency={CONCURRENCY}, initial_backoff_seconds=0.01)\n"
    "c = JudgeConfig(backend='llm', endpoint=e)\n"
    "judge(Dataset.open(base / 'in'), c, At(base / 'killed', cache=base / 'cache', scrubbed=True, run='r'))\n"
)


def answer(n: int, body: dict) -> Act:
    """Every fifth row is a bad one, whoever asks and however often."""
    number = int(body["messages"][-1]["content"].split("lamp ")[1].split(" ")[0])
    return Act(body=completion(verdict(2 if number % 5 == 0 else 5)).body, delay=0.01)


def settings(url: str) -> JudgeConfig:
    return JudgeConfig(backend="llm", endpoint=Endpoint(base_url=url, model="m", concurrency=CONCURRENCY))


@pytest.mark.slow
def test_twenty_kills_lose_what_was_in_flight_and_nothing_else(tmp_path: Path) -> None:
    rows = dataset([chat(f"What is lamp {i} for?", f"It lights hall {i}.") for i in range(ROWS)], tmp_path / "in")
    chance = random.Random(11)
    with ScriptedServer(answer) as server:
        undisturbed = judge(rows, settings(server.url), StageContext(tmp_path / "alone", scrubbed=True))
        assert len(server.bodies) == ROWS
        server.bodies.clear()
        command = [sys.executable, "-c", CODE, server.url, str(tmp_path)]
        killed(lambda: subprocess.Popen(command, text=True), server, KILLS, chance, within=45)
        done = judge(
            rows, settings(server.url), StageContext(tmp_path / "out", cache=tmp_path / "cache", scrubbed=True, run="r")
        )
        asked = len(server.bodies)
    assert done.rows.digest == undisturbed.rows.digest and done.report.kept == ROWS - ROWS // 5
    assert asked - ROWS <= KILLS * CONCURRENCY, "only what was in flight may be asked for again"
    assert not list((tmp_path / "cache").glob("*.journal")), "what the killed ones left was taken over"
