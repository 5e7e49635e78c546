"""What a run's record is made of."""

from types import SimpleNamespace

from pipelines.config import RunConfig
from pipelines.record import config_of

SET = {
    "name": "x",
    "ingest": {"sources": [{"name": "a", "path": "a"}]},
    "skip": ["scrub"],
    "base": {"model": "scratch"},
    "registry": {"name": "m"},
}


def test_zenml_stores_what_was_set_and_the_record_knows_the_defaults() -> None:
    run = SimpleNamespace(config=SimpleNamespace(parameters={"config": SET}))
    assert config_of(run) == RunConfig.model_validate(SET).model_dump(mode="json")


def test_settings_of_another_version_stay_as_they_are() -> None:
    run = SimpleNamespace(config=SimpleNamespace(parameters={"config": {**SET, "gone": 1}}))
    assert config_of(run) == {"pipeline": "end_to_end", **SET, "gone": 1}
