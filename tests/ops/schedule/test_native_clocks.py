"""What other services' clocks make of our crons on nights when clocks change, and our crons in their words."""

from datetime import UTC, datetime

import pytest

from ops.schedule.native.azureml import AzureML
from ops.schedule.native.clocks import Clock, check_clock, with_question_mark
from ops.schedule.native.vertex import Vertex
from ops.schedule.schedule import Schedule
from pipelines.cron import cron_of
from steps.contracts.errors import ConfigError

NOW = datetime(2026, 1, 1, tzinfo=UTC)
KUBERNETES = Clock("skips", "twice")
OURS = Clock("after", "once")
UNKNOWN = Clock(None, None)


def refusal(cron: str, zone: str, clock: Clock) -> str:
    try:
        check_clock(cron_of(cron, zone), clock, "it", NOW)
    except ConfigError as e:
        return e.what
    return ""


@pytest.mark.parametrize("cron", ["30 6 * * *", "0 4 * * MON-FRI", "*/15 * * * *", "0 0 1 * *", "@daily"])
@pytest.mark.parametrize("clock", [KUBERNETES, Clock("after", "twice")])
def test_what_no_change_of_clocks_touches_is_the_same_everywhere(cron, clock):
    assert refusal(cron, "Europe/Berlin", clock) == ""


def test_time_that_spring_leaves_out_is_refused_where_it_would_be_skipped():
    what = refusal("30 2 * * *", "Europe/Berlin", Clock("skips", "once"))
    # Ours comes at the first moment after the gap: 03:00 in summer time.
    assert what == (
        "'30 2 * * *': it would, or might, leave out the slot 2026-03-29T03:00+02:00, when clocks change in"
        " Europe/Berlin"
    )


def test_time_that_autumn_repeats_is_refused_where_it_would_come_twice():
    what = refusal("30 2 * 10 *", "Europe/Berlin", Clock("skips", "twice"))
    assert what.startswith("'30 2 * 10 *': it would, or might, also bring the slot 2026-10-25T02:30+01:00")


def test_service_that_keeps_our_rule_takes_both():
    assert refusal("30 2 * * *", "Europe/Berlin", OURS) == ""


def test_hours_that_pass_all_count_so_that_a_clock_of_the_wall_is_refused():
    assert "leave out the slot 2026-10-25T02:00+01:00" in refusal("0 * * * *", "Europe/Berlin", Clock("skips", "once"))
    assert refusal("0 * * * *", "UTC", Clock("skips", "once")) == ""


def test_what_isnt_known_must_be_right_either_way():
    assert refusal("30 2 * * *", "America/New_York", UNKNOWN) != ""
    assert refusal("30 4 * * *", "America/New_York", UNKNOWN) == ""
    assert refusal("30 2 * * *", "Asia/Tokyo", UNKNOWN) == ""


def test_half_an_hour_of_lord_howe_is_seen():
    assert refusal("15 2 * * *", "Australia/Lord_Howe", KUBERNETES) != ""
    assert refusal("45 2 * * *", "Australia/Lord_Howe", KUBERNETES) == ""


@pytest.mark.parametrize(
    ("cron", "theirs"),
    [
        ("30 6 * * *", "30 6 * * ?"),
        ("0 9 * * MON-FRI", "0 9 ? * 2,3,4,5,6"),
        ("0 9 * * 7", "0 9 ? * 1"),
        ("*/20 8-10 1,15 * *", "0,20,40 8,9,10 1,15 * ?"),
    ],
)
def test_our_crons_in_the_words_of_aws(cron, theirs):
    assert with_question_mark(cron_of(cron, "UTC"), "it") == theirs


def test_either_of_two_days_has_no_word_there():
    with pytest.raises(ConfigError, match="can't have a day of the month beside a weekday"):
        with_question_mark(cron_of("0 9 1 * MON", "UTC"), "EventBridge")


@pytest.mark.parametrize(
    ("service", "cron", "said"),
    [
        (Vertex, "0 6 1 * MON", "what a day of the month beside a weekday means"),
        (AzureML, "0 6 1 * *", "takes no notice of days of the month and of months"),
        (AzureML, "@yearly", "takes no notice of days of the month and of months"),
    ],
)
def test_what_a_cloud_would_take_otherwise_is_refused(tmp_path, service, cron, said):
    given = {"location": "l", "subscription_id": "s", "resource_group": "g", "workspace": "w"}
    schedule = Schedule(name="n", config="c.yaml", cron=cron, tz="UTC", catchup="none", overlap="allow", on="x")
    with pytest.raises(ConfigError, match=said):
        service(tmp_path, "me", given, "x").wanted(schedule, False)


def test_crons_of_clouds_are_ours_with_their_zones(tmp_path):
    schedule = Schedule(name="n", config="c.yaml", cron="0 6 * * SUN", tz="UTC", on="x", stack="x")
    given = {"location": "l", "subscription_id": "s", "resource_group": "g", "workspace": "w"}
    assert Vertex(tmp_path, "me", given, "x").wanted(schedule, True)["native"]["cron"] == "TZ=UTC 0 6 * * 0"
    trigger = AzureML(tmp_path, "me", given, "x").wanted(schedule, True)["native"]["trigger"]
    assert trigger == {"triggerType": "Cron", "expression": "0 6 * * 0", "timeZone": "UTC"}
