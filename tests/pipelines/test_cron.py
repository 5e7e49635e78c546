from datetime import UTC, datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.cron import Cron, cron_of, in_zone
from steps.contracts.errors import ConfigError

BERLIN = "Europe/Berlin"


def slots(written: str, zone: str, after: str, count: int) -> list[str]:
    found = cron_of(written, zone).after(datetime.fromisoformat(after))
    return [in_zone(slot, zone) for slot in islice(found, count)]


def test_numbers_of_weekdays_are_crons():
    # 26 October 2026 is a Monday.
    assert slots("0 9 * * 1", "UTC", "2026-10-25T00:00Z", 1) == ["2026-10-26T09:00+00:00"]
    for sunday in ("0", "7", "SUN", "sun"):
        assert slots(f"0 9 * * {sunday}", "UTC", "2026-10-20T00:00Z", 1) == ["2026-10-25T09:00+00:00"]
    weekend = slots("0 9 * * FRI-SUN", "UTC", "2026-10-22T00:00Z", 4)
    assert [s[8:10] for s in weekend] == ["23", "24", "25", "30"]


def test_words_and_names():
    assert slots("@daily", "UTC", "2026-01-01T00:00Z", 1) == ["2026-01-02T00:00+00:00"]
    assert slots("@Weekly", "UTC", "2026-01-01T00:00Z", 1) == ["2026-01-04T00:00+00:00"]
    assert slots("15 6 1 jan,JUL *", "UTC", "2026-01-01T06:15Z", 2) == [
        "2026-07-01T06:15+00:00", "2027-01-01T06:15+00:00",
    ]  # fmt: skip


def test_either_of_two_days_will_do():
    days = [s[8:10] for s in slots("0 0 13 * FRI", "UTC", "2026-10-01T00:00Z", 6)]
    assert days == ["02", "09", "13", "16", "23", "30"]


def test_a_time_that_spring_leaves_out_comes_right_after_it():
    assert slots("30 2 * * *", BERLIN, "2026-03-28T00:00+01:00", 3) == [
        "2026-03-28T02:30+01:00", "2026-03-29T03:00+02:00", "2026-03-30T02:30+02:00",
    ]  # fmt: skip


def test_several_times_that_spring_leaves_out_come_once():
    assert slots("*/30 2 * * *", BERLIN, "2026-03-29T00:00+01:00", 3) == [
        "2026-03-29T03:00+02:00", "2026-03-30T02:00+02:00", "2026-03-30T02:30+02:00",
    ]  # fmt: skip
    assert slots("* 2 * * *", BERLIN, "2026-03-29T00:00+01:00", 2) == [
        "2026-03-29T03:00+02:00", "2026-03-30T02:00+02:00",
    ]  # fmt: skip
    # 03:00 is there anyway.
    assert slots("0,30 2-3 * * *", BERLIN, "2026-03-29T00:00+01:00", 3) == [
        "2026-03-29T03:00+02:00", "2026-03-29T03:30+02:00", "2026-03-30T02:00+02:00",
    ]  # fmt: skip


def test_a_time_that_autumn_repeats_comes_the_first_time():
    assert slots("30 2 * * *", BERLIN, "2026-10-25T00:00+02:00", 2) == [
        "2026-10-25T02:30+02:00", "2026-10-26T02:30+01:00",
    ]  # fmt: skip
    # Between the two: the first was it.
    assert slots("30 2 * * *", BERLIN, "2026-10-25T02:10+01:00", 1) == ["2026-10-26T02:30+01:00"]


def test_every_hour_is_every_hour_that_passes():
    spring = slots("0 * * * *", BERLIN, "2026-03-28T23:59+01:00", 24)
    assert spring[:3] == ["2026-03-29T00:00+01:00", "2026-03-29T01:00+01:00", "2026-03-29T03:00+02:00"]
    assert sum(s.startswith("2026-03-29") for s in spring) == 23
    autumn = slots("0 * * * *", BERLIN, "2026-10-24T23:59+02:00", 26)
    assert autumn[2:4] == ["2026-10-25T02:00+02:00", "2026-10-25T02:00+01:00"]
    assert sum(s.startswith("2026-10-25") for s in autumn) == 25


def test_other_zones_change_otherwise():
    # Midnight that isn't there; a change of half an hour.
    assert slots("@daily", "America/Santiago", "2026-09-05T12:00-04:00", 2) == [
        "2026-09-06T01:00-03:00", "2026-09-07T00:00-03:00",
    ]  # fmt: skip
    assert slots("15 2 * * *", "Australia/Lord_Howe", "2026-10-03T12:00+10:30", 2) == [
        "2026-10-04T02:30+11:00", "2026-10-05T02:15+11:00",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("written", "why"),
    [
        ("0 0 31 2 *", "never comes"),
        ("0 0 31 4,6 *", "never comes"),
        ("* * * * * *", "6 fields, not five; seconds and years"),
        ("0 0 1 1 * 2027 0", "7 fields"),
        ("0 0 * *", "4 fields"),
        ("", "not five"),
        ("99 99 * * *", "'99' is no minute: 0 to 59"),
        ("0 24 * * *", "'24' is no hour: 0 to 23"),
        ("0 0 * * 8", "'8' is no weekday: 0 to 7, or SUN, MON"),
        ("0 0 * FOO *", "'FOO' is no month: 1 to 12, or JAN"),
        ("5/15 * * * *", "5-59/15"),
        ("30-10 * * * *", "ends before it begins"),
        ("*/0 * * * *", "its step fits nowhere"),
        ("*/70 * * * *", "its step fits nowhere"),
        ("0 0 L * *", "'L' is no day of the month"),
        ("0 0 * * 5#2", "'5#2' is no weekday"),
        ("0 0 ? * 1", "'?' is no day of the month"),
        ("1,,2 * * * *", "'' is no minute"),
        ("٣ * * * *", "is no minute"),
        ("0 0 */2 * 1", "crons disagree"),
        ("0 0 1 * */2", "crons disagree"),
        ("@every 5m", "no cron word '@every 5m'"),
        ("@dayly", "did you mean @daily"),
        ("@reboot", "there are @hourly"),
    ],
)
def test_what_is_not_of_the_dialect_is_refused(written, why):
    with pytest.raises(ConfigError) as refused:
        cron_of(written, "UTC")
    assert why in str(refused.value)


@pytest.mark.parametrize("zone", ["Europe/Berln", "", "../../etc/passwd", "Europe", "CET+1\0"])
def test_unknown_zone_is_refused(zone):
    with pytest.raises(ConfigError, match="no time zone"):
        cron_of("@daily", zone)
    with pytest.raises(ConfigError, match="did you mean Europe/Berlin"):
        cron_of("@daily", "Europe/Berln")


FIELD = {0: "0,7,30", 1: "*/20", 2: "5-50/15", 3: "59"}
HOURS = ["*", "2", "0-3", "*/6", "1,2,3", "23"]
ZONES = [BERLIN, "America/New_York", "Australia/Lord_Howe", "America/Santiago", "Asia/Kathmandu", "UTC"]


def by_the_minute(cron: Cron, first: datetime, last: datetime) -> set[datetime]:
    """All slots of a stretch, found by looking at every minute: what passes, or what the wall shows."""
    minute, hour, _, _, weekday = (
        None if field == "*" else {int(n) for n in field.split(",")} for field in cron.numbers.split()
    )
    zone = ZoneInfo(cron.zone)

    def fits(local: datetime) -> bool:
        days = weekday is None or local.isoweekday() % 7 in weekday
        return (minute is None or local.minute in minute) and (hour is None or local.hour in hour) and days

    found = set()
    moment = first - timedelta(days=2)
    while moment <= last + timedelta(days=2):
        if hour is None and fits(moment.astimezone(zone)):
            found.add(moment)
        wall = moment.replace(tzinfo=None)
        if hour is not None and fits(wall):
            there = wall.replace(tzinfo=zone).astimezone(UTC)
            if there.astimezone(zone).replace(tzinfo=None) != wall:
                # Not there: the first minute at which the clock has passed it.
                while (there - timedelta(minutes=1)).astimezone(zone).replace(tzinfo=None) > wall:
                    there -= timedelta(minutes=1)
            found.add(there)
        moment += timedelta(minutes=1)
    return {m for m in found if first < m <= last}


@settings(max_examples=15, deadline=None)
@given(
    st.sampled_from(sorted(FIELD.values())), st.sampled_from(HOURS), st.sampled_from(["*", "1-5", "0"]),
    st.sampled_from(ZONES), st.sampled_from(["2026-03-07", "2026-03-28", "2026-04-04", "2026-09-05", "2026-10-03",
                                             "2026-10-24", "2026-10-31"]),
)  # fmt: skip
def test_slots_are_those_of_the_rule_minute_by_minute(minute, hour, weekday, zone, day):
    cron = cron_of(f"{minute} {hour} * * {weekday}", zone)
    first = datetime.fromisoformat(f"{day}T12:00+00:00")
    last = first + timedelta(days=2)
    assert list(cron.between(first, last)) == sorted(by_the_minute(cron, first, last))
