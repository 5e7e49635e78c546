"""What candidates take, and after how many answers training is repaid: by hand."""

from typing import Any

from support.sample_run import record

from pipelines.report.costs import StageCost, evaluation_cost
from pipelines.report.ownership import ownership, repaid
from steps.contracts.evaluation import EvalReport, Usage
from steps.contracts.runs import RunRecord


def evaluated(name: str, cpu: float, prompt: int, cost: float | None = None) -> EvalReport:
    usage = Usage(answers=100, prompt_tokens=100 * prompt, answer_tokens=3_000, seconds=cpu, cpu_seconds=cpu, cost=cost)
    return EvalReport(
        subject=name, model_digest="m", dataset_digest="d", tasks=(), decoding="{}", seconds=1, cpu_seconds=1,
        usage=usage,
    )  # fmt: skip


def training(cpu: float) -> StageCost:
    report = EvalReport(
        subject="x", model_digest="m", dataset_digest="d", tasks=(), decoding="{}", seconds=cpu, cpu_seconds=cpu
    )
    cost = evaluation_cost(report)
    return StageCost(**{**cost.__dict__, "stage": "train"})


def run(*subjects: dict[str, Any]) -> RunRecord:
    return record().model_copy(update={"config": {"evaluate": {"subjects": list(subjects)}}})


PROMPTED = {"name": "prompted", "model": "base", "system": "Answer with JSON.", "shots": 2, "retrieval": None}
LOOKING = {"name": "looking", "model": "tuned", "system": "", "shots": 0, "retrieval": {"documents": "docs"}}
HOSTED = {"name": "hosted", "model": "base", "endpoint": {"base_url": "http://x", "model": "m"}, "system": "s"}


def test_the_table_says_what_each_takes() -> None:
    evals = [
        evaluated("base", 2.0, 50), evaluated("prompted", 8.0, 200), evaluated("looking", 5.0, 150),
        evaluated("hosted", 0.1, 90, cost=0.5), evaluated("tuned", 2.0, 50),
    ]  # fmt: skip
    table = ownership(run(PROMPTED, LOOKING, HOSTED), evals, [training(120.0)])
    assert table is not None
    assert [row[0] for row in table.rows] == ["base", "prompted", "looking", "hosted", "tuned"]
    assert [row[1] for row in table.rows] == ["nothing", "nothing", "2 min 0 s of CPU", "nothing", "2 min 0 s of CPU"]
    assert [row[2] for row in table.rows] == ["50", "200", "150", "90", "50"]
    assert [row[4] for row in table.rows] == ["20.0", "80.0", "50.0", "elsewhere", "20.0"]
    assert [row[5] for row in table.rows] == ["", "", "", "5.0000", ""]
    assert [row[6] for row in table.rows] == [
        "train it", "another prompt", "other documents or train again", "another prompt", "train again",
    ]  # fmt: skip
    unpriced = ownership(run(PROMPTED), evals[:2], [])
    assert unpriced is not None and "price of 1,000 answers" not in unpriced.columns
    assert ownership(run(), evals[:1], []) is None
    assert ownership(run(), [e.model_copy(update={"usage": None}) for e in evals], []) is None


def test_training_is_repaid_by_shorter_prompts_or_never() -> None:
    evals = [evaluated("prompted", 8.0, 200), evaluated("quick", 1.0, 60), evaluated("tuned", 2.0, 50)]
    costs = [training(120.0)]
    # 120 s of training, 80 - 20 ms of each answer.
    (said,) = repaid(run(PROMPTED), evals, costs, "tuned", ["prompted", "quick", "gone"])
    assert "prompted after 2,000 answers, each of which takes it 60.0 ms more" in said and "never against quick" in said
    assert repaid(run(PROMPTED), evals, [], "tuned", ["prompted"]) == ()
    hosted = [*evals, evaluated("hosted", 0.1, 90, cost=0.5)]
    assert repaid(run(HOSTED), hosted, costs, "tuned", ["hosted"]) == ()
