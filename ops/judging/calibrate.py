"""`assay judge calibrate`: a run's judge beside people's labels."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from ops.console import emit, heading, say, show_table
from ops.judging.opened import opened_judge
from ops.judging.page import render
from ops.row_history import open_rows
from ops.run_index import find_run
from pipelines.config import RunConfig
from pipelines.load import load_model
from steps.contracts.errors import ConfigError, InputError
from steps.contracts.evaluation import Estimate
from steps.contracts.humanize import number
from steps.contracts.records import Row
from steps.contracts.storage import write_whole
from steps.engines.llm.egress import refuse_egress
from steps.engines.llm.session import ChatSession
from steps.engines.rubric.pairs import Pair, compare
from steps.engines.rubric.reading import read_rubric
from steps.judge.calibration import Calibration, calibrate, labelled_pairs, with_both_orders
from steps.judge.config import CACHE, JudgeConfig
from steps.judge.gold import Gold, read_gold
from steps.zenml_runtime.state import use_state


def calibrate_judge(
    root: Path,
    config_file: Path,
    gold_file: Path,
    overrides: Sequence[str],
    run: str | None,
    precision: float,
    out: Path,
    json_output: bool,
) -> Calibration:
    """Judge the labelled rows by the config's judge and say how far it agrees; the figures as JSON and as a page in
    `out`. Rows that labels mean by id alone are those of `run` (default: the newest of this config).

    Raises:
        InputError: no label can be used. ServiceError: the judge's server doesn't work.
    """
    config = load_model(RunConfig, config_file, overrides)
    gold = read_gold(gold_file, lambda ids: _of_run(root, run or config.name, ids))
    if not gold.rows:
        raise InputError(
            f"none of {len(gold.missing)} labelled rows is there", where=str(gold_file),
            hint="name the run that they are of with --run, or put the rows into the file",
        )  # fmt: skip
    found = compared_in_both_orders(root, config, gold, judged(root, config.judge, gold, precision))
    write_whole(out / "calibration.json", found.model_dump_json(indent=1))
    write_whole(out / "calibration.html", render(found, config.name, gold_file.name))
    if json_output:
        emit(found.model_dump(mode="json"))
    else:
        _tell(found, out)
    return found


def judged(root: Path, config: JudgeConfig, gold: Gold, precision: float) -> Calibration:
    """The figures. The judge's replies come from the cache of runs, and go there."""
    refuse_egress(config.endpoints, scrubbed=gold.scrubbed, allowed=config.allow_raw_egress, where="judge")
    with opened_judge(root, config, len(gold.rows), "calibrate", scrubbed=gold.scrubbed) as backend:
        return calibrate(gold, backend, config, precision)


def compared_in_both_orders(root: Path, config: RunConfig, gold: Gold, found: Calibration) -> Calibration:
    """The figures with those of the model that compares two answers: prefer's judge, else the judge's own model by the
    rubric `preference`; the same where no model is named, or no pair is labelled.
    """
    rows, asked = labelled_pairs(gold), config.prefer.judge if config.prefer is not None else None
    judge = config.judge
    endpoint = asked.endpoint if asked is not None else judge.endpoint
    if not rows or endpoint is None:
        return found
    refuse_egress((endpoint,), scrubbed=gold.scrubbed, allowed=judge.allow_raw_egress, where="judge")
    rubric = read_rubric(asked.rubric if asked is not None else "preference", lambda name: root / name)
    pairs = [
        Pair(tuple(r.row["messages"]), tuple(r.row["chosen"]), tuple(r.row["rejected"]), r.row["tools"]) for r in rows
    ]
    file = use_state("", root) / CACHE / "pair_replies.sqlite"
    where = "prefer.judge.endpoint" if asked is not None else "judge.endpoint"
    with ChatSession(endpoint, asked or judge, file, where=where) as session:
        said = compare(session, pairs, rubric, (asked or judge).instructions)
    return with_both_orders(found, rows, said)


def _of_run(root: Path, name: str, ids: Sequence[str]) -> Mapping[str, Row]:
    try:
        record = find_run(root, name)
    except InputError as e:
        raise ConfigError(
            f"{len(ids)} labels mean rows by id, and no run has them: {e.what}", where=name, hint="name it with --run"
        ) from e
    return open_rows(root, record).texts(ids, raw=True)


def _tell(found: Calibration, out: Path) -> None:
    heading(f"{found.rows:,} labelled rows, judged by {found.backend}")
    lost = [(n, what) for n, what in ((found.missing, "not found"), (found.split, "people of two minds")) if n]
    lost += [(n, f"no verdict: {reason}") for reason, n in found.undecided.items()]
    for n, what in lost:
        say(f"  {n:6,}  {what}")
    rows = [[c.what, str(c.rows), f.name, shown(f.estimate)] for c in found.compared for f in c.figures]
    rows += [["between annotators", "", f"Krippendorff's α, {f.name}", shown(f.estimate)] for f in found.alpha]
    show_table(("", "rows", "figure", "[95 % interval]"), rows, numeric=[1])
    for line in thresholds(found):
        say(line)
    for warning in found.warnings:
        say(f"warning: {warning}")
    say(str(out / "calibration.html"))


def shown(e: Estimate | None) -> str:
    """A figure with its interval, for people."""
    return "not defined" if e is None else f"{e.value:.3f} [{e.low:.3f}, {e.high:.3f}]"


def thresholds(found: Calibration) -> list[str]:
    """The thresholds for the wanted precision, in sentences."""
    said = []
    for what, at in (("reaches", found.lucky), ("is sure to reach", found.safe)):
        if at is not None:
            said.append(
                f"threshold {number(at.threshold)} {what} a precision of {found.wanted:.0%}: {shown(at.precision)}"
                f" (exact [{at.exact.low:.3f}, {at.exact.high:.3f}]), recall {shown(at.recall)}"
            )
    return said or [f"no threshold reaches a precision of {found.wanted:.0%}"] if found.of("decision") else said
