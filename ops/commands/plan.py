"""`assay plan`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ops.console import console, emit, say
from ops.environment import prepare
from ops.infra import load_infra
from ops.judging.plan import JudgePlan, judge_plan
from ops.training_plan.comparing import comparing_plan
from ops.training_plan.making import MakingPlan, making_plans
from ops.training_plan.plan import Asked, Card, this_machine, training_plan
from ops.training_plan.prices import prices
from ops.training_plan.show import as_json, print_training_plan
from pipelines.config import RunConfig
from pipelines.load import load_model
from steps.contracts.errors import ConfigError
from steps.train.config import TrainConfig
from steps.train.plan import can_shard
from steps.train.planning.devices import CAREFUL_MFU, PUBLISHED_MFU, device_named
from steps.train.ranks.config import Ranks
from steps.zenml_runtime.state import state_folder


def plan(
    root: Path,
    path: Path,
    overrides: list[str],
    device: str | None,
    memory: float | None,
    base: Path | None,
    rows: int | None,
    mfu: float | None,
    price_file: Path | None,
    probe: int | None,
    infra: str | None,
    gpus: int | None,
    json_output: bool,
) -> bool:
    """Show what training takes. `memory`: in GiB; `probe`: steps to train here; `infra`, `gpus`: who trains together.
    Returns whether every phase fits.
    """
    if probe is not None and (device is not None or memory is not None or base is not None):
        raise ConfigError("a probe measures the base on this machine", where="--probe", hint="name no other one")
    prepare(root)
    config = load_model(RunConfig, path, overrides)
    table = prices(price_file)
    asked = judge_plan(root, config, table, rows if not config.phases else None)
    compared = comparing_plan(root, config, table)
    made = [*making_plans(root, config, table), *([compared] if compared is not None else [])]
    if (asked is not None or made) and not config.phases:
        _tell_asked(asked, made, json_output)
        return True
    ranks = _ranks(root, config, infra, gpus)
    if probe is not None and any(r.processes > 1 for r in ranks.values()):
        raise ConfigError("a probe trains in one process", where="--probe", hint="leave --infra and --gpus out")
    shares = (mfu, mfu) if mfu is not None else (PUBLISHED_MFU, CAREFUL_MFU)
    found = training_plan(
        root, config, _card(device, memory), table, state_folder(), Asked(base, rows, shares, probe, ranks)
    )
    if json_output:
        emit(as_json(found) | _asked_json(asked, made))
    else:
        print_training_plan(console(), found)
        _tell_asked(asked, made, json_output)
    return all(phase.memory.fits for phase in found.phases)


def _asked_json(judge: JudgePlan | None, made: Sequence[MakingPlan]) -> dict[str, Any]:
    return {**{p.stage: p.as_json() for p in made}, **({"judge": judge.as_json()} if judge is not None else {})}


def _tell_asked(judge: JudgePlan | None, made: Sequence[MakingPlan], json_output: bool) -> None:
    if json_output:
        emit(_asked_json(judge, made))
        return
    for line in [line for p in made for line in p.lines()] + (judge.lines() if judge is not None else []):
        say(line)


def _ranks(root: Path, config: RunConfig, infra: str | None, gpus: int | None) -> dict[str, Ranks]:
    """Processes of each phase, by its stage: those of the infra file, or one for each of so many cards. These share the
    weights too (FSDP2), where the phase's can be shared.
    """
    if infra is not None and gpus is not None:
        raise ConfigError("--infra says how many cards there are", where="--gpus", hint="give one of them")
    if infra is not None:
        file = load_infra(root, infra)
        return {p.stage: file.of(f"{p.stage}_step").training or Ranks() for p in config.phases}
    return {p.stage: _of_cards(p, gpus) for p in config.phases} if gpus is not None else {}


def _of_cards(phase: TrainConfig, gpus: int) -> Ranks:
    sharded = Ranks(processes=gpus, strategy="fsdp2")
    return sharded if can_shard(phase) else Ranks(processes=gpus)


def _card(device: str | None, memory: float | None) -> Card:
    if memory is not None and memory <= 0:
        raise ConfigError("a card has more than 0 GiB", where="--memory")
    held = int(memory * 2**30) if memory is not None else None
    if device is None and held is None:
        return this_machine()
    if device is None:
        return Card("cuda", "a card", None, held, bf16=True)
    if device.lower() == "cpu":
        return Card("cpu", "a CPU", None, held, bf16=False)
    known = device_named(device)
    return Card("cuda", known.name, known, held or known.memory, bf16=known.bf16 is not None)
