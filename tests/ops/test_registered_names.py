"""Two registries may each have a `smoke/1`."""

from support import sample_run

from ops.registered_names import registries, version_name


def test_registry_is_named_where_there_are_several() -> None:
    here = sample_run.registration().model_copy(update={"tracking_uri": "sqlite:////home/ann/mlflow.db"})
    there = here.model_copy(update={"tracking_uri": "https://mlflow.example.org:5000"})
    runs = [sample_run.record().model_copy(update={"registration": r}) for r in (here, there, None)]
    known = registries(runs)
    name = f"{here.name}/{here.version}"
    assert version_name(here, registries(runs[:1])) == name
    assert version_name(here, known) == f"{name} in /home/ann/mlflow.db"
    assert version_name(there, known) == f"{name} in mlflow.example.org:5000"
