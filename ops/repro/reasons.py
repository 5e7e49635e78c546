"""Why a repetition may differ: what isn't as it was."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from ops.repro.code import DIRTY
from ops.repro.compare import Pair
from pipelines.config import RunConfig
from pipelines.stages import STAGES
from steps.contracts.runs import RunRecord

# Chosen: so many packages are named, all in --json.
_NAMED = 8
LOCK = "constraints.txt"


@dataclass(frozen=True)
class Surroundings:
    """What a run ran in, then and now.

    Attributes:
        packages: (name, version then, version now; None: it isn't there) of those that differ.
        known_by: what says which there were then.
        other: all else that isn't as it was, in words.
    """

    packages: tuple[tuple[str, str | None, str | None], ...]
    known_by: str
    other: tuple[str, ...]

    def reasons(self) -> Iterator[str]:
        """All of it in words."""
        yield from self.other
        if self.packages:
            shown = [f"{name} {then or 'none'} → {now or 'none'}" for name, then, now in self.packages[:_NAMED]]
            more = f" and {len(self.packages) - _NAMED} more" if len(self.packages) > _NAMED else ""
            yield f"other library versions ({self.known_by}): {', '.join(shown)}{more}"


def surroundings(then: RunRecord, now: RunRecord, lock: Path, *, here: bool, erased: bool) -> Surroundings:
    """What differs between a run and its repetition. `lock`: of the commit; `here`: run with this checkout's code;
    `erased`: rows were erased since, which don't come back.
    """
    recorded: Mapping[str, str] = then.packages
    known_by = "as the run recorded" if recorded else f"as {LOCK} of the commit says"
    # What the lock names for other stacks wasn't there then either.
    before = recorded or {n: v for n, v in _pins(lock).items() if _installed(n) is not None}
    return Surroundings(
        _changed(before), known_by, (*(("rows were erased since",) if erased else ()), *_other(then, now, here=here))
    )


def _pins(lock: Path) -> dict[str, str]:
    lines = lock.read_text(encoding="utf-8").splitlines() if lock.is_file() else []
    pins = (line.split("#")[0].split(";")[0].strip().partition("==") for line in lines)
    return {name.strip(): pinned.strip() for name, _, pinned in pins if pinned}


def _changed(before: Mapping[str, str]) -> tuple[tuple[str, str | None, str | None], ...]:
    now = {name: _installed(name) for name in before}
    return tuple((n, v, now[n]) for n, v in sorted(before.items()) if now[n] != v)


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _other(then: RunRecord, now: RunRecord, *, here: bool) -> Iterator[str]:
    commit = then.commit or ""
    if not commit:
        yield "no commit was recorded: its code may have been another"
    elif here and (commit != now.commit or commit.endswith(DIRTY)):
        yield f"another code: {commit} then, {now.commit or 'no commit'} here"
    elif commit.endswith(DIRTY):
        yield "the code had changes that no commit holds"
    if then.stack != now.stack:
        yield f"another stack: {then.stack} then, {now.stack} now"
    yield from _other_machine(then, now)


def _other_machine(then: RunRecord, now: RunRecord) -> Iterator[str]:
    """What of the hardware differs; of runs whose steps had machines of their own, that of each step."""
    for step, machine in then.machines.items():
        other = now.machines.get(step) or next(iter(now.machines.values()), None)
        for what in ("processor", "accelerators", "cores", "system", "python"):
            a, b = getattr(machine, what), getattr(other, what, None)
            if other is not None and a != b:
                yield f"{step.removesuffix('_step')} ran elsewhere: {what} {_said(a)} then, {_said(b)} now"


def _said(value: object) -> str:
    return ", ".join(map(str, value)) or "none" if isinstance(value, tuple) else str(value)


def explained(pairs: Iterable[Pair], config: RunConfig, surroundings: Surroundings) -> dict[tuple[str, str], list[str]]:
    """By step and name why an artifact differs: what its stage says of itself, what differs before it, what isn't as it
    was. [] where nothing explains it.
    """
    told: dict[tuple[str, str], list[str]] = {}
    first, around = "", list(surroundings.reasons())
    for pair in pairs:
        if pair.fine:
            continue
        own = varies(pair.stage, config)
        if first and first != pair.stage:
            told[pair.step, pair.name] = [*([own] if own else ()), f"what it read differs since {first}"]
        else:
            first = pair.stage
            told[pair.step, pair.name] = [own] if own else around
    return told


def varies(stage: str, config: RunConfig) -> str:
    """What a stage says of itself: why its results may differ for the same inputs; "": they can't."""
    if config.compares_with_champion and stage in ("gate", "evaluate_champion"):
        return "the champion of that moment isn't in the registry of this repetition"
    declared = next((s for s in STAGES if s.name == stage), None)
    settings = getattr(config, declared.field) if declared else None
    return declared.varies(settings) if declared and settings is not None else ""
