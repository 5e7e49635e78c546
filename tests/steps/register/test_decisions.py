import threading
from types import SimpleNamespace

import pytest

from steps.contracts.errors import InputError, InputNotFoundError, ServiceError
from steps.register import versions
from steps.register.config import RegisterConfig
from steps.register.decisions import decide, decisions_of


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    """A registry with one version of each fate under every name that `models` makes."""
    from mlflow import MlflowClient

    uri = f"sqlite:///{tmp_path_factory.mktemp('decisions')}/ml.db"
    return SimpleNamespace(uri=uri, client=MlflowClient(uri, registry_uri=uri))


@pytest.fixture
def model(registry, request):
    """Version 1: was champion. 2: is. 3: passed the gate and waits. 4: the gate refused it."""
    name = f"m-{abs(hash(request.node.nodeid))}"
    registry.client.create_registered_model(name)
    for number, tags in enumerate((
        {"gate": "passed", "status": "champion"},
        {"gate": "passed", "status": "champion", versions.BEFORE: "1"},
        {"gate": "passed", "status": "candidate"},
        {"gate": "failed", "status": "rejected", "gate_failed": "gain in loss"},
    ), 1):  # fmt: skip
        tags |= {"weights_digest": f"w{number}"}
        registry.client.create_model_version(name, "/nowhere", tags=tags)
    registry.client.set_registered_model_alias(name, "champion", "2")
    registry.client.set_registered_model_alias(name, "candidate", "3")
    return name


def champion(registry, model):
    return str(registry.client.get_model_version_by_alias(model, "champion").version)


def tags(registry, model, version):
    return registry.client.get_model_version(model, version).tags


def test_a_promotion_moves_the_alias_and_is_written_down(registry, model):
    made = decide("promote", registry.uri, model, by="ada", why=" better answers ")
    assert (made.version, made.before, made.weights, made.gate) == ("3", "2", "w3", "passed")
    assert champion(registry, model) == "3"
    found = tags(registry, model, "3")
    assert decisions_of(found) == [made] and made.why == "better answers"
    assert (found["status"], found[versions.BEFORE]) == ("champion", "2")
    assert decisions_of(tags(registry, model, "2")) == []


def test_a_rollback_goes_back_one_champion_after_the_other(registry, model):
    assert decide("rollback", registry.uri, model, by="ada", why="complaints").version == "1"
    assert champion(registry, model) == "1"
    with pytest.raises(InputError, match="no champion before version 1"):
        decide("rollback", registry.uri, model, by="ada", why="more complaints")
    decide("promote", registry.uri, model, by="ada", why="mended")
    back = decide("rollback", registry.uri, model, by="bo", why="not mended", version="2")
    assert (back.version, back.before, champion(registry, model)) == ("2", "3", "2")
    # The champion before version 2 is still known.
    assert tags(registry, model, "2")[versions.BEFORE] == "1"


@pytest.mark.parametrize(
    ("action", "asked", "why"),
    [
        ("promote", {"version": "2"}, "it is champion already"),
        ("promote", {"version": "4"}, "the gate didn't let it pass: gain in loss"),
        ("rollback", {"version": "3"}, "it never was champion"),
    ],
)
def test_what_is_refused_changes_nothing(registry, model, action, asked, why):
    with pytest.raises(InputError, match=why):
        decide(action, registry.uri, model, by="ada", why="so", **asked)
    assert champion(registry, model) == "2" and decisions_of(tags(registry, model, asked["version"])) == []


def test_a_person_may_overrule_the_gate_and_says_so(registry, model):
    made = decide("promote", registry.uri, model, by="ada", why="the control was wrong", version="4", despite_gate=True)
    assert (made.gate, champion(registry, model)) == ("failed", "4")


@pytest.mark.parametrize("asked", [{"version": "99"}, {"version": "x"}, {"alias": "best"}])
def test_a_version_that_is_not_there_is_named_with_those_that_are(registry, model, asked):
    with pytest.raises(InputNotFoundError) as e:
        decide("approve", registry.uri, model, by="ada", why="so", **asked)
    assert next(iter(asked.values())) in e.value.what and e.value.hint == "known: 1, 2, 3, 4"


def test_a_model_that_is_not_there(registry):
    with pytest.raises(InputNotFoundError, match="no model 'nothing' is registered"):
        decide("promote", registry.uri, "nothing", by="ada", why="so")


@pytest.mark.slow
def test_a_server_that_is_down_is_told():
    with pytest.raises(ServiceError, match="MLflow can't be reached"):
        decide("promote", "http://127.0.0.1:9", "m", by="ada", why="so")


@pytest.mark.parametrize(("by", "why"), [("ada", " "), (" ", "so"), ("ada", "x" * 4001)])
def test_a_decision_says_who_and_why(registry, model, by, why):
    with pytest.raises(InputError, match=r"who and why|longer than"):
        decide("promote", registry.uri, model, by=by, why=why)


def test_approvals_are_of_people_and_of_these_weights(registry, model):
    registry.client.set_model_version_tag(model, "3", versions.APPROVALS, "2")
    for who in ("ada", "ada"):
        decide("approve", registry.uri, model, by=who, why="read 50 answers")
        with pytest.raises(InputError, match=r"1 of 2 approvals \(ada\)"):
            decide("promote", registry.uri, model, by="cy", why="so")
    registry.client.set_model_version_tag(model, "3", "weights_digest", "others")
    decide("approve", registry.uri, model, by="bo", why="read the card")
    with pytest.raises(InputError, match=r"1 of 2 approvals \(bo\)"):
        decide("promote", registry.uri, model, by="cy", why="so")
    registry.client.set_model_version_tag(model, "3", "weights_digest", "w3")
    decide("approve", registry.uri, model, by="bo", why="read the card again")
    assert decide("promote", registry.uri, model, by="cy", why="so").version == "3"


def test_approvals_that_are_given_at_once_are_all_kept(registry, model):
    threads = [
        threading.Thread(target=decide, args=("approve", registry.uri, model), kwargs={"by": f"p{n}", "why": "so"})
        for n in range(6)
    ]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert {d.by for d in decisions_of(tags(registry, model, "3"))} == {f"p{n}" for n in range(6)}


def test_a_tag_that_is_no_decision_is_left_out(registry, model):
    registry.client.set_model_version_tag(model, "3", "decision.2026", "not JSON")
    assert decisions_of(tags(registry, model, "3")) == []


def test_nobody_is_asked_where_promotion_is_automatic():
    with pytest.raises(ValueError, match="set promotion: manual"):
        RegisterConfig(name="m", approvals=1)
    assert RegisterConfig(name="m", approvals=1, promotion="manual").approvals == 1
