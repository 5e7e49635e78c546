"""Schedules of EventBridge, on moto: made, listed back, edited, paused, started by hand, removed.

Recording a pipeline takes SageMaker's library, in an environment of its own: what that leaves at Amazon is put there
by hand here, a pipeline and a schedule without a zone.
"""

import json
from itertools import count

import boto3
import pytest
from moto import mock_aws

from ops.schedule.native import eventbridge
from ops.schedule.native.eventbridge import EventBridge
from ops.schedule.native.registry import keep_made
from ops.schedule.native.service import check_kept, differences
from ops.schedule.schedule import Schedule
from pipelines.cron import cron_of
from steps.contracts.errors import ConfigError

pytestmark = pytest.mark.stacks
ROLE = "arn:aws:iam::123456789012:role/scheduler"
NIGHTLY = Schedule(
    name="nightly", config="c.yaml", cron="30 6 * * MON-FRI", tz="Europe/Berlin", stack="aws", on="aws",
    catchup="none", overlap="allow",
)  # fmt: skip


@pytest.fixture
def amazon(monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    with mock_aws():
        yield boto3.client("scheduler", "eu-central-1"), boto3.client("sagemaker", "eu-central-1")


@pytest.fixture
def service(tmp_path, monkeypatch, amazon):
    monkeypatch.setenv("ASSAY_STATE", str(tmp_path / "state"))
    scheduler, sagemaker = amazon
    numbers = count(1)

    def recorded(root, spec, native_cron, name):
        pipeline = f"curate-{next(numbers)}"
        arn = sagemaker.create_pipeline(
            PipelineName=pipeline, PipelineDefinition=json.dumps({"Version": "2020-12-01", "Steps": []}),
            ClientRequestToken="t" * 32, RoleArn=ROLE,
        )["PipelineArn"]  # fmt: skip
        scheduler.create_schedule(
            Name=pipeline, ScheduleExpression=native_cron, FlexibleTimeWindow={"Mode": "OFF"},
            Target={"Arn": arn, "RoleArn": ROLE},
        )  # fmt: skip
        return {"trigger_url": f"https://eu-central-1.console.aws.amazon.com/scheduler/home#schedules/{pipeline}"}

    monkeypatch.setattr(eventbridge, "recorded", recorded)
    return EventBridge(tmp_path, "me", {"region": "eu-central-1", "scheduler_role": ROLE}, "aws")


def put(service, schedule, paused=False):
    made = service.put(service.wanted(schedule, paused))
    keep_made(service.root, schedule.name, made)
    return made


def names(client):
    return [s["Name"] for s in client.list_schedules()["Schedules"]]


def pipelines(client):
    return [p["PipelineName"] for p in client.list_pipelines()["PipelineSummaries"]]


def test_schedule_is_made_with_its_zone_and_listed_back(service, amazon):
    scheduler, _ = amazon
    made = put(service, NIGHTLY)
    assert names(scheduler) == ["assay-nightly"], "that of the recording is gone"
    there = scheduler.get_schedule(Name="assay-nightly")
    assert there["ScheduleExpression"] == "cron(30 6 ? * 2,3,4,5,6 *)"
    assert (there["ScheduleExpressionTimezone"], there["State"]) == ("Europe/Berlin", "ENABLED")
    assert there["Target"]["Arn"].endswith(":pipeline/curate-1")
    assert there["Target"]["RetryPolicy"]["MaximumEventAgeInSeconds"] == 3600
    assert list(differences(made, service.found(made))) == []


def test_pause_keeps_the_pipeline_and_an_edit_records_it_anew(service, amazon):
    scheduler, sagemaker = amazon
    put(service, NIGHTLY)
    made = put(service, NIGHTLY, paused=True)
    assert scheduler.get_schedule(Name="assay-nightly")["State"] == "DISABLED" and pipelines(sagemaker) == ["curate-1"]
    made = put(service, NIGHTLY.model_copy(update={"cron": "0 9 1 * *"}))
    assert pipelines(sagemaker) == ["curate-2"], "its slots are told by another cron"
    assert scheduler.get_schedule(Name="assay-nightly")["ScheduleExpression"] == "cron(0 9 1 * ? *)"
    started = service.fire(made, cron_of("@daily", "UTC").next(_moment()))
    executions = sagemaker.list_pipeline_executions(PipelineName="curate-2")["PipelineExecutionSummaries"]
    assert [e["PipelineExecutionArn"] for e in executions] == [started]


def _moment():
    from datetime import UTC, datetime

    return datetime(2026, 3, 29, tzinfo=UTC)


def test_drift_is_seen_and_what_is_gone_can_be_removed(service, amazon):
    scheduler, sagemaker = amazon
    made = put(service, NIGHTLY)
    there = scheduler.get_schedule(Name="assay-nightly")
    kept = {k: there[k] for k in ("Name", "ScheduleExpression", "FlexibleTimeWindow", "Target", "Description")}
    scheduler.update_schedule(**{**kept, "ScheduleExpressionTimezone": "UTC", "State": "ENABLED"})
    assert list(differences(made, service.found(made))) == [
        "native.ScheduleExpressionTimezone: UTC there, Europe/Berlin here"
    ]
    scheduler.delete_schedule(Name="assay-nightly")
    assert service.found(made) is None
    assert service.remove(made) is False and pipelines(sagemaker) == []


def test_schedule_of_another_is_left_alone(service, amazon):
    put(service, NIGHTLY)
    other = EventBridge(service.root, "somebody", service.configuration, "aws")
    with pytest.raises(ConfigError, match="isn't of this state folder"):
        other.put(other.wanted(NIGHTLY, False))


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"overlap": "queue"}, "overlap: queue (it has allow)"),
        ({"catchup": "latest"}, "catchup: latest (it has none)"),
        ({"retries": 2, "if_changed": True}, "if_changed; retries"),
        ({"cron": "30 2 * * *"}, "leave out the slot"),
        ({"cron": "0 * * * *"}, "leave out the slot"),
    ],
)
def test_what_eventbridge_cant_keep_is_refused(service, changes, why):
    schedule = NIGHTLY.model_copy(update=changes)
    with pytest.raises(ConfigError) as caught:
        check_kept(schedule, service.keeps, service.label, _moment())
    assert why in caught.value.what


def test_either_of_two_days_has_no_words_at_amazon(service):
    with pytest.raises(ConfigError, match="can't have a day of the month beside a weekday"):
        service.wanted(NIGHTLY.model_copy(update={"cron": "0 9 1 * MON"}), False)
