"""When a schedule is due: one dialect of cron, the same wherever a schedule runs, refused where it isn't understood.

Five fields: minute, hour, day of the month, month, weekday (0 to 7, 0 and 7 are Sunday; names as MON and JAN). A field
is `*`, a number, a range `1-5`, either of `*` and a range with a step (`*/15`, `8-18/2`), or several with commas. Or
one word: @hourly, @daily (@midnight), @weekly, @monthly, @yearly (@annually). Where both days are given, either will
do. Not known: seconds, years, L, W, #, ?, @every, @reboot, a step after a single number; crons disagree about these.

Daylight saving: where the hour is `*`, every hour that passes counts: 23 in spring, 25 in autumn. With any other hour
the clock on the wall counts: a time that spring leaves out comes at the first moment after it (of several such times
one), a time that autumn repeats comes the first time only. So no day is left out, and none comes twice.
"""

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from cronsim import CronSim, CronSimError

from steps.contracts.errors import ConfigError

WORDS = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_NAMES = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_MONTHS = {name: i for i, name in enumerate(_NAMES, start=1)}
_DAYS = {"SUN": 0, "MON": 1, "TUE": 2, "WED": 3, "THU": 4, "FRI": 5, "SAT": 6}
# Field, lowest and highest number, names.
_FIELDS: tuple[tuple[str, int, int, dict[str, int]], ...] = (
    ("minute", 0, 59, {}),
    ("hour", 0, 23, {}),
    ("day of the month", 1, 31, {}),
    ("month", 1, 12, _MONTHS),
    ("weekday", 0, 7, _DAYS),
)
_PART = re.compile(r"(?P<all>\*)(?:/(?P<each>\d+))?|(?P<first>\w+)(?:-(?P<last>\w+)(?:/(?P<step>\d+))?)?", re.ASCII)
# The last slot is looked for in a stretch of the past, and then in a longer one.
_SPANS = (timedelta(hours=1), timedelta(days=1), timedelta(days=31), timedelta(days=366 * 6))
_HINT = "five fields: minute hour day month weekday, such as '30 2 * * *' or '0 9 * * MON-FRI', or @daily"


@dataclass(frozen=True)
class Cron:
    """A cron expression in a time zone.

    Attributes:
        written: as it was given.
        numbers: the same with every field as numbers, a list of them or `*`.
        zone: name of the time zone, as IANA has it.
    """

    written: str
    numbers: str
    zone: str

    def after(self, moment: datetime) -> Iterator[datetime]:
        """The slots later than a moment, in UTC, in their order; at least one comes."""
        start = moment.astimezone(zone_of(self.zone))
        last = moment
        for slot in CronSim(self.numbers, start):
            # What spring leaves out may fall onto a slot that there is anyway.
            if (found := slot.astimezone(UTC)) > last:
                last = found
                yield found

    def next(self, moment: datetime) -> datetime:
        """The first slot later than a moment."""
        return next(self.after(moment))

    def newest(self, moment: datetime) -> datetime | None:
        """The last slot no later than a moment; None: there was none in six years."""
        for span in _SPANS:
            found = None
            for found in self.between(moment - span, moment):  # noqa: B007 - the last one is wanted
                pass
            if found is not None:
                return found
        return None

    def between(self, after: datetime, until: datetime) -> Iterator[datetime]:
        """The slots later than one moment and no later than another."""
        for slot in self.after(after):
            if slot > until:
                return
            yield slot


@lru_cache(maxsize=1000)
def cron_of(written: str, zone: str) -> Cron:
    """A cron expression, checked.

    Raises:
        ConfigError: it isn't of this dialect, it never comes, or there is no such time zone.
    """
    zone_of(zone)
    text = " ".join(written.split())
    if text.startswith("@") and text.lower() not in WORDS:
        near = difflib.get_close_matches(text.lower(), WORDS, n=1)
        meant = f"did you mean {near[0]}?" if near else f"there are {', '.join(WORDS)}"
        raise ConfigError(f"no cron word {text[:40]!r}; {meant}", where="cron", hint=_HINT)
    fields = WORDS.get(text.lower(), text).split(" ")
    if len(fields) != len(_FIELDS):
        more = "; seconds and years aren't known" if len(fields) in (6, 7) else ""
        raise ConfigError(f"{text[:80]!r} has {len(fields)} fields, not five{more}", where="cron", hint=_HINT)
    numbers = [_numbers(field, *known) for field, known in zip(fields, _FIELDS, strict=True)]
    if "*" not in (fields[2], fields[4]) and "*/" in fields[2] + fields[4]:
        what = (
            f"{text!r}: crons disagree whether both days must fit, when one has a step after * and the other is given"
        )
        raise ConfigError(what, where="cron", hint="say one of the two days as a list or a range")
    if numbers[0] == "*" and numbers[1] != "*":
        # The library takes a minute of * for hours that pass.
        numbers[0] = ",".join(map(str, range(60)))
    cron = Cron(text, " ".join(numbers), zone)
    _check_it_comes(cron)
    return cron


@lru_cache
def zone_of(name: str) -> ZoneInfo:
    """A time zone by its name.

    Raises:
        ConfigError: there is none.
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as e:
        near = difflib.get_close_matches(name, available_timezones(), n=3)
        meant = f"did you mean {', '.join(near)}?" if near else "such as Europe/Berlin, America/New_York or UTC"
        raise ConfigError(f"no time zone {name[:60]!r}", where="tz", hint=meant) from e


def _numbers(field: str, name: str, lowest: int, highest: int, names: dict[str, int]) -> str:
    """A field as a list of numbers, or `*`."""
    if field in ("*", "*/1"):
        return "*"
    found: set[int] = set()
    for part in field.split(","):
        match = _PART.fullmatch(part)
        if match is None:
            raise ConfigError(f"{part[:40]!r} is no {name}", where="cron", hint=_meant(part, highest))
        first, last = lowest, highest - (name == "weekday")
        if not match["all"]:
            first = _number(match["first"], name, lowest, highest, names)
            last = _number(match["last"] or match["first"], name, lowest, highest, names)
        if name == "weekday" and last == 0 < first:
            last = 7
        step = int(match["each"] or match["step"] or 1)
        if last < first or not 1 <= step <= highest:
            what = f"{part[:40]!r} is no {name}: it ends before it begins, or its step fits nowhere"
            raise ConfigError(what, where="cron")
        found.update(range(first, last + 1, step))
    # Sunday by one name: 7 is 0.
    return ",".join(map(str, sorted({n % 7 for n in found} if name == "weekday" else found)))


def _meant(part: str, highest: int) -> str:
    first, _, step = part.partition("/")
    return f"{first}-{highest}/{step}" if first.isascii() and first.isdigit() and step.isdigit() else _HINT


def _number(text: str, name: str, lowest: int, highest: int, names: dict[str, int]) -> int:
    value = names.get(text.upper(), int(text) if text.isdigit() else -1)
    if not lowest <= value <= highest:
        known = f", or {', '.join(names)}" if names else ""
        raise ConfigError(f"{text[:40]!r} is no {name}: {lowest} to {highest}{known}", where="cron")
    return value


def _check_it_comes(cron: Cron) -> None:
    try:
        next(CronSim(cron.numbers, datetime(2000, 1, 1)))
    except (CronSimError, StopIteration) as e:
        raise ConfigError(f"{cron.written!r} never comes: no month has that day", where="cron") from e


def in_zone(moment: datetime, zone: str) -> str:
    """A moment as the clocks of a zone show it, with their offset: how slots are written."""
    shown = moment.astimezone(zone_of(zone))
    return shown.isoformat(timespec="minutes" if not shown.second else "seconds")
