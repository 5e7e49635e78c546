import json
from pathlib import Path

import pytest
from support import sample_run
from typer.testing import CliRunner

from ops.main import app
from ops.registries import ModelReference, model_reference
from ops.run_index import save_run
from steps.contracts.errors import InputError, InputNotFoundError
from steps.register.decisions import decisions_of

ROOT = Path(__file__).resolve().parents[2]
CONFIG = "name: quickstart\n"


@pytest.fixture
def state(tmp_path, monkeypatch):
    monkeypatch.setenv("ASSAY_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("ASSAY_ROOT", str(ROOT))
    for name in ("ASSAY_TRACEBACK", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def registry(state):
    from mlflow import MlflowClient

    uri = f"sqlite:///{state}/ml.db"
    client = MlflowClient(uri, registry_uri=uri)
    client.create_registered_model("faq")
    for number in ("1", "2"):
        client.create_model_version("faq", "/nowhere", tags={"gate": "passed", "weights_digest": f"w{number}"})
        client.set_registered_model_alias("faq", "candidate", number)
    return uri, client


def invoke(*arguments):
    return CliRunner().invoke(app, list(arguments))


def test_approved_promoted_and_back(registry):
    uri, client = registry
    done = invoke("approve", f"{uri}#faq/1", "--why", "read it", "--by", "ada")
    assert (done.exit_code, done.stdout) == (0, "faq version 1: approved by ada\n"), done.stderr
    assert invoke("promote", f"{uri}#faq/1", "--why", "first", "--by", "ada").exit_code == 0
    done = invoke("promote", f"{uri}#faq", "--why", "better", "--by", "bo")
    assert done.stdout == "faq version 2 is champion now, in place of version 1 (by bo)\n", done.stderr
    done = invoke("rollback", f"{uri}#model:faq", "--why", "worse", "--by", "bo", "--json")
    assert done.exit_code == 3 and "not a model reference" in done.stderr
    done = invoke("rollback", f"{uri}#faq", "--why", "worse", "--by", "bo", "--json")
    told = json.loads(done.stdout)
    assert (told["registry"], told["version"], told["before"], told["why"]) == (uri, "1", "2", "worse")
    made = [(d.action, d.by) for d in decisions_of(client.get_model_version("faq", "1").tags)]
    assert made == [("approve", "ada"), ("promote", "ada"), ("rollback", "bo")]


def test_a_refusal_says_the_way_out(registry):
    uri, client = registry
    client.set_model_version_tag("faq", "2", "gate", "failed")
    done = invoke("promote", f"{uri}#faq", "--why", "so")
    assert done.exit_code == 3 and "way out: --despite-gate" in done.stderr


def index(*registries):
    for n, uri in enumerate(registries):
        run = sample_run.record(f"run-{n}").model_copy(update={"run_id": f"id-{n}"})
        made = run.registration.model_copy(update={"tracking_uri": uri})
        save_run(ROOT, sample_run.of_config(run.model_copy(update={"registration": made}), CONFIG), CONFIG)


def test_the_registry_is_that_of_the_runs_unless_it_is_said(state, monkeypatch):
    with pytest.raises(InputNotFoundError, match="no known run registered a model 'support'"):
        model_reference(ROOT, "support")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://me:secret@mlflow.example.org")
    assert model_reference(ROOT, "support").uri == "https://mlflow.example.org"
    index("sqlite:///a.db", "sqlite:///a.db")
    assert model_reference(ROOT, "support@champion") == ModelReference("sqlite:///a.db", "support", None, "champion")
    assert model_reference(ROOT, "http://h:5000#support/7") == ModelReference("http://h:5000", "support", "7", None)


def test_a_name_in_two_registries_is_asked_for(state):
    index("sqlite:///a.db", "sqlite:///b.db")
    with pytest.raises(InputError, match="2 registries have a model 'support'") as e:
        model_reference(ROOT, "model:support")
    assert e.value.hint == "say which: sqlite:///a.db#support or sqlite:///b.db#support"


@pytest.mark.parametrize("text", ["", "a/b/c", "a@b@c", "uri#", "a b"])
def test_what_is_no_reference_is_refused(state, text):
    with pytest.raises(InputError, match="not a model reference"):
        model_reference(ROOT, text)
