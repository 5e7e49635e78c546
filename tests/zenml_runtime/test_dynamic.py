"""Pipelines whose steps begin side by side, in threads of one process."""

import ast
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from steps.zenml_runtime.dynamic import has_dynamic_pipelines, parsing_alone


def test_one_thread_at_a_time_has_source_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    parse, inside, most = ast.parse, list[str](), list[int]()

    def watched(source: str) -> ast.Module:
        inside.append(source)
        most.append(len(inside))
        time.sleep(0.01)
        inside.remove(source)
        return parse(source)

    monkeypatch.setattr(ast, "parse", watched)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: ast.parse(f"x = {n}"), range(8)))
        assert max(most) > 1, "or this test can't fail"
        most.clear()
        with parsing_alone():
            trees = list(pool.map(lambda n: ast.parse(f"x = {n}"), range(8)))
    assert most == [1] * 8 and [ast.unparse(t) for t in trees] == [f"x = {n}" for n in range(8)]
    assert ast.parse is watched, "afterwards as before"


@pytest.mark.parametrize(
    ("flavor", "has"), [("local", True), ("local_docker", True), ("airflow", False), ("no", False)]
)
def test_which_orchestrators_add_steps_as_a_run_goes_on(flavor: str, has: bool) -> None:
    assert has_dynamic_pipelines(flavor) is has
