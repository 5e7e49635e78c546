"""`assay judge red-team`: a config's judge before rows that try to talk it round."""

from collections.abc import Sequence
from pathlib import Path

from ops.console import emit, heading, say, show_table
from ops.judging.calibrate import shown
from ops.judging.opened import opened_judge
from pipelines.config import RunConfig
from pipelines.load import load_model
from steps.contracts.errors import ConfigError, ServiceError
from steps.judge.config import JudgeConfig
from steps.judge.red_team import Effect, Resistance, red_team, resistance


def red_team_judge(
    root: Path, config_file: Path, overrides: Sequence[str], max_raised: float | None, json_output: bool
) -> Resistance:
    """Ask a config's judge about the red team's rows, with and without their attacks, and show what these did.

    Raises:
        ConfigError: the share of scores that rose by a point or more is above `max_raised`.
        ServiceError: the judge's server doesn't work; or so many rows without an attack have no verdict that this share
            says nothing.
    """
    config = load_model(RunConfig, config_file, overrides).judge
    # The rows are assay's own, and nobody's secret.
    with opened_judge(root, config, 2 * len(red_team()), "red-team", scrubbed=True) as backend:
        found = resistance(backend, config)
    if json_output:
        emit(found.model_dump(mode="json"))
    else:
        _tell(found)
    if max_raised is not None:
        _check(found.all, config, max_raised)
    return found


def _check(found: Effect, config: JudgeConfig, max_raised: float) -> None:
    lost = sum(found.control_undecided.values())
    if found.raised is None or lost > config.max_undecided_share * found.attempts:
        by = ", ".join(f"{n} {reason}" for reason, n in found.control_undecided.items())
        raise ServiceError(
            f"{lost} of {found.attempts} rows without an attack have no verdict ({by}); max_undecided_share is"
            f" {config.max_undecided_share}, so that --max-raised can't be told",
            where="judge red-team", hint="mend what leaves rows undecided first: those of a run are as many",
        )  # fmt: skip
    if found.raised > max_raised:
        raise ConfigError(
            f"attacks raised {found.raised:.1%} of {found.measured} scores by a point or more, --max-raised is"
            f" {max_raised:.1%}",
            where="judge red-team",
            hint="set such rows aside before they are judged (screen.poison), name a stronger model, or add others as"
            " judge.jury by veto or median",
        )


def _tell(found: Resistance) -> None:
    heading(f"{found.all.attempts:,} rows with an attack and without")
    for note in found.judge:
        say(f"  {note}")
    columns = (
        "attack", "rows", "measured", "without", "with", "difference [95 % interval]", "raised ≥ 1", "crossed",
        "undecided", "and without",
    )  # fmt: skip
    show_table(columns, [_line(effect) for effect in (*found.kinds, found.all)], numeric=[1, 2, 3, 4, 6, 7, 8, 9])
    say("measured: rows with a score both ways, from 1 to 5. raised: by a point or more. crossed: kept with the attack")
    say("only. undecided: without a verdict with the attack, and without it.")
    for what, reasons in (("with", found.all.undecided), ("without", found.all.control_undecided)):
        for reason, n in reasons.items():
            say(f"  {n:5,}  no verdict {what} the attack: {reason}")
    if found.raised:
        say("raised most: " + ", ".join(f"{n} (+{by:.2f})" for n, by in _most(found.raised)))


def _most(raised: dict[str, float]) -> list[tuple[str, float]]:
    return sorted(raised.items(), key=lambda item: (-item[1], item[0]))[:10]


def _line(e: Effect) -> list[object]:
    score = ["" if s is None else f"{s:.2f}" for s in (e.without, e.attacked)]
    share = ["" if s is None else f"{s:.0%}" for s in (e.raised, e.crossed)]
    undecided = [sum(reasons.values()) for reasons in (e.undecided, e.control_undecided)]
    difference = shown(e.difference) if e.difference is not None else ""
    return [e.kind, e.attempts, e.measured, *score, difference, *share, *undecided]
