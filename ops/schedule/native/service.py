"""A schedule that lives on a service with a clock of its own, instead of in assay's scheduler."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar

from ops.schedule.native.clocks import Clock, check_clock
from ops.schedule.schedule import Schedule
from steps.contracts.digests import value_digest
from steps.contracts.errors import ConfigError

# A native schedule as its service takes it and gives it back: mappings, lists and plain values.
Spec = Mapping[str, Any]


@dataclass(frozen=True)
class Keeps:
    """What a service can keep of a schedule's promises.

    Attributes:
        clock: what it does when clocks change.
        catchup, overlap: the policies that it has; the first one holds where nothing is said.
        options: others that it keeps; the rest must be left at their defaults.
    """

    clock: Clock
    catchup: tuple[str, ...]
    overlap: tuple[str, ...]
    options: tuple[str, ...] = ()


@dataclass(frozen=True)
class Service(ABC):
    """A service's clock. Whatever goes wrong on its side is a ServiceError that says what it said.

    Attributes:
        root: the checkout.
        owner: whose schedules these are: another one's of the same name is never touched.
        configuration: of the orchestrator of that stack.
        stack: its name.
        keeps: what it can keep.
    """

    root: Path
    owner: str
    configuration: Mapping[str, Any]
    stack: str
    keeps: ClassVar[Keeps]

    @property
    @abstractmethod
    def label(self) -> str:
        """What fires the schedule, for people."""

    @abstractmethod
    def wanted(self, schedule: Schedule, paused: bool) -> Spec:
        """The native schedule as it is to be.

        Raises:
            ConfigError: the service has no words for it, or something that it takes isn't set.
        """

    @abstractmethod
    def put(self, spec: Spec) -> Spec:
        """Make it, or bring the one of its name to this; returns what is to be kept of it."""

    @abstractmethod
    def found(self, spec: Spec) -> Spec | None:
        """The same as the service has it now; None: it is gone."""

    @abstractmethod
    def remove(self, spec: Spec) -> bool:
        """Take it away. False: it was gone."""

    @abstractmethod
    def fire(self, spec: Spec, at: datetime) -> str:
        """Start it now, as its clock would; returns what was started.

        Raises:
            ConfigError: the service can't.
        """


# What every service leaves to others: the first four of these are no part of a slot's start.
_FREE = ("name", "config", "cron", "tz", "infra", "stack", "overrides", "on", "fresh_within", "alerts", "alert_on")


def check_kept(schedule: Schedule, keeps: Keeps, service: str, now: datetime) -> None:
    """Refuse what the service can't keep, all of it at once, and a cron that it would take otherwise.

    Raises:
        ConfigError: there is something.
    """
    if told := [*_unkept(schedule, keeps)]:
        hint = "leave them out, or `--on scheduler`: assay's own keeps all of them"
        raise ConfigError(f"{service} can't keep {'; '.join(told)}", where=f"schedule {schedule.name}", hint=hint)
    if schedule.times is not None:
        check_clock(schedule.times, keeps.clock, service, now)


def _unkept(schedule: Schedule, keeps: Keeps) -> Iterator[str]:
    if schedule.cron is None:
        yield "a schedule without cron"
    for policy in ("catchup", "overlap"):
        has = getattr(keeps, policy)
        if getattr(schedule, policy) not in has:
            yield f"{policy}: {getattr(schedule, policy)} (it has {', '.join(has)})"
    for name, field in Schedule.model_fields.items():
        plain = name in (*_FREE, "catchup", "overlap", *keeps.options)
        if not plain and getattr(schedule, name) != field.default:
            yield name


def differences(wanted: Any, found: Any, place: str = "") -> Iterator[str]:
    """What of a native schedule isn't as it is to be; what the service adds by itself is no difference."""
    if isinstance(wanted, Mapping):
        known = found if isinstance(found, Mapping) else {}
        for key, value in wanted.items():
            yield from differences(value, known.get(key), f"{place}.{key}" if place else str(key))
    elif isinstance(wanted, list | tuple) and isinstance(found, list | tuple) and len(wanted) == len(found):
        for i, (one, other) in enumerate(zip(wanted, found, strict=True)):
            yield from differences(one, other, f"{place}[{i}]")
    elif wanted != found:
        yield f"{place}: {_said(found)} there, {_said(wanted)} here"


def _said(value: Any) -> str:
    return "nothing" if value is None else str(value)[:200]


def native_name(schedule: Schedule, longest: int) -> str:
    """A schedule's name as services take it: lower-case letters, digits and `-`, beginning with `assay-`."""
    plain = f"assay-{schedule.name}"
    if "_" not in plain and len(plain) <= longest:
        return plain
    # Names that differ stay different.
    return f"{plain.replace('_', '-')[: longest - 9]}-{value_digest(schedule.name)[:8]}"
