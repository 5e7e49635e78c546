"""Crons of other services: ours in their words, and what their clocks make of the nights on which clocks change.

A service that would bring another slot than ours, or leave one out, isn't given the schedule: the same cron means the
same everywhere.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from itertools import takewhile
from typing import Literal

from cronsim import CronSim

from pipelines.cron import Cron, in_zone, zone_of
from steps.contracts.errors import ConfigError

# Chosen: so far ahead are changes of clocks looked at; zone data know no more of the future than today's rule.
_YEARS = 6


@dataclass(frozen=True)
class Clock:
    """What a service makes of a time on the wall that doesn't come, and of one that comes twice.

    Attributes:
        left_out: it fires at the first moment `after`, or it `skips`; None: not known, so that either must do.
        repeated: it fires the first time only, or both; None likewise.
    """

    left_out: Literal["after", "skips"] | None
    repeated: Literal["once", "twice"] | None

    def readings(self) -> Iterator[tuple[str, str]]:
        """All that it may mean."""
        for left_out in (self.left_out,) if self.left_out else ("after", "skips"):
            yield from ((left_out, repeated) for repeated in ((self.repeated,) if self.repeated else ("once", "twice")))


def check_clock(cron: Cron, clock: Clock, service: str, now: datetime) -> None:
    """Refuse a cron that the service would take otherwise on a night when clocks change.

    Raises:
        ConfigError: it would; the error says which slot is the first.
    """
    for day in _changes(cron.zone, now):
        start = datetime.combine(day, time(), UTC) - timedelta(days=1)
        end = start + timedelta(days=3)
        ours = set(cron.between(start, end))
        for left_out, repeated in clock.readings():
            theirs = {t for t in _theirs(cron, start, end, left_out, repeated) if start < t <= end}
            if theirs != ours:
                raise _otherwise(cron, service, min(theirs ^ ours), min(theirs ^ ours) in ours)


def _otherwise(cron: Cron, service: str, at: datetime, ours: bool) -> ConfigError:
    what = f"{cron.written!r}: {service} " + ("would, or might, leave out" if ours else "would, or might, also bring")
    return ConfigError(
        f"{what} the slot {in_zone(at, cron.zone)}, when clocks change in {cron.zone}",
        where="cron",
        hint="take an hour that no change of clocks touches (mostly 4 or later), --tz UTC, or `--on scheduler`, which"
        " keeps the rule of all other schedules",
    )


def _changes(zone: str, now: datetime) -> Iterator[date]:
    """Days, in UTC, on which the zone's offset changes."""
    tz, day = zone_of(zone), datetime.combine(now.astimezone(UTC).date(), time(), UTC)
    for _ in range(366 * _YEARS):
        following = day + timedelta(days=1)
        if day.astimezone(tz).utcoffset() != following.astimezone(tz).utcoffset():
            yield day.date()
        day = following


def _theirs(cron: Cron, start: datetime, end: datetime, left_out: str, repeated: str) -> Iterator[datetime]:
    """What a clock that goes by the wall brings: each time that fits, by what it does where there is none, or two."""
    tz = zone_of(cron.zone)
    first, last = (moment.astimezone(tz).replace(tzinfo=None) for moment in (start, end + timedelta(hours=3)))
    hourly = cron.numbers.split()[1] == "*"
    for wall in takewhile(lambda t: t <= last, CronSim(cron.numbers, first - timedelta(hours=3))):
        once, again = (wall.replace(tzinfo=tz, fold=fold).astimezone(UTC) for fold in (0, 1))
        if once.astimezone(tz).replace(tzinfo=None) != wall:
            if left_out == "after" and not hourly:
                yield _first_after(wall, tz)
            continue
        yield once
        if again != once and repeated == "twice":
            yield again


def _first_after(wall: datetime, tz: object) -> datetime:
    """The first moment after a time that the clock on the wall leaves out."""
    while True:
        wall += timedelta(minutes=1)
        moment = wall.replace(tzinfo=tz).astimezone(UTC)  # type: ignore[arg-type]
        if moment.astimezone(tz).replace(tzinfo=None) == wall:  # type: ignore[arg-type]
            return moment


def with_question_mark(cron: Cron, service: str, *, first_weekday: int = 1) -> str:
    """The five fields as AWS and Quartz have them: `?` for the day that isn't given, Sunday is 1.

    Raises:
        ConfigError: both days are given; these services have no word for either of them.
    """
    minute, hour, day, month, weekday = cron.numbers.split()
    if day != "*" and weekday != "*":
        what = f"{cron.written!r}: {service} can't have a day of the month beside a weekday"
        raise ConfigError(what, where="cron", hint="two schedules, one for each; or `--on scheduler`")
    if weekday == "*":
        return f"{minute} {hour} {day} {month} ?"
    shifted = ",".join(str(int(n) + first_weekday) for n in weekday.split(","))
    return f"{minute} {hour} ? {month} {shifted}"
