"""ZenML's store says what a stack's file says, and nothing of it is lost or shown on the way."""

import base64
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from support.processes import ended, python
from zenml.client import Client

from ops.stacks import apply as applying
from ops.stacks.apply import apply, differences, remove
from steps.contracts.errors import ConfigError, InputNotFoundError

S3 = """
stack_name: NAME
components:
  orchestrator:
    - {name: NAME-here, flavor: local}
  artifact_store:
    - name: NAME-files
      flavor: s3
      configuration:
        path: s3://bucket/${PLACE}
        key: ${KEY:-}
        secret: ${secret:PASSWORD}
        client_kwargs: {endpoint_url: "http://${HOST}:1", region_name: eu}
"""
ENVIRONMENT = {"PLACE": "a", "PASSWORD": "correct-horse", "HOST": "127.0.0.1", "KEY": "ident-ity"}


@pytest.fixture
def declare(tmp_path: Path) -> Iterator:
    name = f"s{uuid4().hex[:8]}"
    path = tmp_path / f"{name}.yaml"

    def write(text: str = S3) -> Path:
        path.write_text(text.replace("NAME", name))
        return path

    yield write
    with suppress(InputNotFoundError):
        remove(name, None, {})


def component(path: Path, kind: str, name: str = "files"):
    listed = Client().list_stack_components(type=kind, name=f"equals:{path.stem}-{name}").items
    return listed[0] if listed else None


def stacks_of(path: Path) -> set[str]:
    return {str(s.id) for s in Client().list_stacks(name=f"startswith:{path.stem}-").items}


def database() -> Path:
    from zenml.config.global_config import GlobalConfiguration

    return Path(GlobalConfiguration().store_configuration.database)


def test_what_is_declared_is_what_is_stored_and_a_second_time_nothing_changes(declare) -> None:
    path = declare()
    planned = differences(path, ENVIRONMENT)
    assert component(path, "artifact_store") is None
    applied = apply(path, ENVIRONMENT)
    assert applied.changes == planned and len(planned) == 5
    assert applied.artifact_store == "s3://bucket/a"
    stored = component(path, "artifact_store").configuration
    assert stored["client_kwargs"] == {"endpoint_url": "http://127.0.0.1:1", "region_name": "eu"}
    assert apply(path, ENVIRONMENT).changes == ()


def test_secrets_are_references_and_in_the_store_nowhere_else(declare) -> None:
    path = declare()
    apply(path, ENVIRONMENT)
    found = component(path, "artifact_store")
    secret = f"assay-artifact_store-{path.stem}-files"
    # `key` is a secret by the flavour's own word, `secret` by the file's.
    assert found.configuration["key"] == f"{{{{{secret}.key}}}}"
    assert found.configuration["secret"] == f"{{{{{secret}.secret}}}}"
    assert Client().get_secret(secret).secret_values == {"key": "ident-ity", "secret": "correct-horse"}
    with sqlite3.connect(database()) as connection:
        (kept,) = connection.execute(
            "select configuration from stack_component where name = ?", (found.name,)
        ).fetchone()
    assert b"assay-artifact_store" in base64.b64decode(kept) and b"correct-horse" not in base64.b64decode(kept)
    changed = apply(path, {**ENVIRONMENT, "PASSWORD": "battery-staple"}).changes
    assert changed == (f"artifact_store '{path.stem}-files': secret secret stored",)
    assert Client().get_secret(secret).secret_values["secret"] == "battery-staple"
    # A launcher that a clock starts somewhere has no secrets in its environment: what is stored is kept.
    assert apply(path, {"PLACE": "a", "HOST": "127.0.0.1"}).changes == ()
    assert Client().get_secret(secret).secret_values == {"key": "ident-ity", "secret": "battery-staple"}
    remove(path.stem, path, ENVIRONMENT)
    with pytest.raises(ConfigError, match="PASSWORD is not set"):
        apply(path, {"PLACE": "a", "HOST": "127.0.0.1"})
    with pytest.raises(KeyError):
        Client().get_secret(secret)


@pytest.mark.slow
def test_a_store_of_ones_own_encrypts_secrets(declare, tmp_path: Path) -> None:
    """In a process of its own: what other tests stored in theirs stays as it was."""
    code = f"""
from pathlib import Path
from ops.environment import find_root, prepare
prepare(find_root())
from ops.stacks.apply import apply
apply(Path({str(declare())!r}), {ENVIRONMENT!r})
"""
    status, said = ended(python(code, tmp_path / "state"))
    assert status == 0, said
    (store,) = (tmp_path / "state").rglob("zenml.db")
    with closing(sqlite3.connect(store)) as connection:
        values = [row[0] for row in connection.execute('select "values" from secret').fetchall()]
    assert values
    for value in values:
        with suppress(ValueError):
            assert b"correct-horse" not in base64.b64decode(value)


@pytest.mark.parametrize("shared", [False, True])
def test_a_secret_that_was_never_set_takes_no_other_away(
    declare, monkeypatch: pytest.MonkeyPatch, shared: bool
) -> None:
    monkeypatch.setattr(applying, "is_shared", lambda: shared)
    path = declare()
    without = {k: v for k, v in ENVIRONMENT.items() if k != "KEY"}
    made = apply(path, without)
    later = apply(path, {"PLACE": "a", "HOST": "127.0.0.1"})
    assert (later.id, later.changes) == (made.id, ())
    remove(path.stem, path, without)


def test_what_the_file_drops_goes(declare) -> None:
    apply(
        declare(
            S3 + "  container_registry:\n    - {name: NAME-reg, flavor: default, configuration: {uri: r.example}}\n"
        ),
        ENVIRONMENT,
    )
    path = declare(S3.replace("        key: ${KEY:-}\n", "").replace(", region_name: eu", ""))
    assert set(apply(path, ENVIRONMENT).changes) == {
        f"artifact_store '{path.stem}-files': client_kwargs changed",
        f"artifact_store '{path.stem}-files': key removed",
        f"artifact_store '{path.stem}-files': secret key removed",
        f"stack '{path.stem}': components changed",
        f"container_registry '{path.stem}-reg' dropped",
    }
    assert set(component(path, "artifact_store").configuration) == {"path", "secret", "client_kwargs"}
    assert set(Client().get_secret(f"assay-artifact_store-{path.stem}-files").secret_values) == {"secret"}
    assert component(path, "container_registry", "reg") is None
    stack = Client().get_stack(path.stem)
    assert {k.value for k in stack.components} == {"orchestrator", "artifact_store"}
    assert apply(path, ENVIRONMENT).changes == ()


def test_a_store_with_artifacts_keeps_its_path(declare, monkeypatch: pytest.MonkeyPatch) -> None:
    path = declare()
    apply(path, ENVIRONMENT)
    assert apply(path, {**ENVIRONMENT, "PLACE": "empty"}).artifact_store == "s3://bucket/empty"
    monkeypatch.setattr(applying, "_holds_artifacts", lambda store: True)
    with pytest.raises(ConfigError) as caught:
        apply(path, {**ENVIRONMENT, "PLACE": "b"})
    assert "line 7: components.artifact_store.0" in str(caught.value)
    assert "holds artifacts in s3://bucket/empty, and would lose them when its path became s3://bucket/b" in str(
        caught.value
    )
    assert component(path, "artifact_store").configuration["path"] == "s3://bucket/empty"
    # Nor is it removed with its stack.
    assert f"kept artifact_store '{path.stem}-files': it holds artifacts" in remove(path.stem, None, {})
    monkeypatch.undo()
    applying._remove_unused([component(path, "artifact_store")])


def test_a_local_store_that_was_moved_follows_its_folder(
    declare, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(applying, "_holds_artifacts", lambda store: True)
    text = """
stack_name: NAME
components:
  orchestrator: [{name: NAME-here, flavor: local}]
  artifact_store: [{name: NAME-files, flavor: local, configuration: {path: "${HERE}"}}]
"""
    path = declare(text)
    apply(path, {"HERE": f"{tmp_path}/old"})
    with pytest.raises(ConfigError, match="holds artifacts"):
        apply(path, {"HERE": f"{tmp_path}/new"})
    (tmp_path / "old").rename(tmp_path / "new")
    assert apply(path, {"HERE": f"{tmp_path}/new"}).artifact_store == f"{tmp_path}/new"


def test_every_mistake_is_told_with_its_line_and_nothing_is_written(declare) -> None:
    path = declare("""
stack_name: NAME
components:
  orchestrator:
    - {name: NAME-here, flavor: kubernets}
  artifact_stores: []
  artifact_store:
    - name: NAME-files
      flavor: s3
      configuration:
        pth: s3://bucket
        path: gs://bucket
        client_kwargs:
          endpoint_url: [http, "${NOWHERE}"]
          key: ${secret:PASSWORD}
  experiment_tracker:
    - name: NAME-tracker
      flavor: mlflow
      configuration:
        tracking_uri: https://tracker.example
        tracking_password: in clear
  step_operator:
    - {name: NAME-far, flavor: sagemaker, configuration: {bucket: [1]}}
""")
    with pytest.raises(ConfigError) as caught:
        apply(path, ENVIRONMENT)
    said = str(caught.value)
    for part in (
        "line 5: components.orchestrator.0.flavor: no flavour 'kubernets' of orchestrator; did you mean 'kubernetes'?",
        "line 6: components.artifact_stores: no such type of component; did you mean 'artifact_store'?",
        "line 11: components.artifact_store.0.configuration.pth: unknown key of flavour 's3'; did you mean 'path'?",
        "line 14: components.artifact_store.0.configuration.client_kwargs.endpoint_url.1: the environment variable NOW",
        "line 15: components.artifact_store.0.configuration.client_kwargs.key: ZenML has secrets in values of their",
        "line 21: components.experiment_tracker.0.configuration.tracking_password: a secret stands in clear text",
        "line 23: components.step_operator.0.flavor: the library of flavour 'sagemaker' isn't installed",
        "pip install -c constraints.txt '.[aws]'",
        "line 23: components.step_operator.0.configuration.bucket: Input should be a valid string (found '[1]')",
        "components.step_operator.0.configuration.role: Field required",
    ):  # fmt: skip
        assert part in said, part
    assert "gs://bucket" in said and "in clear'" not in said
    assert component(path, "artifact_store") is None and not Client().list_stacks(name=f"equals:{path.stem}").items


@pytest.mark.parametrize("what", ["create_stack_component", "create_stack"])
def test_what_another_user_makes_in_the_same_moment_is_taken(
    declare, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    create = getattr(Client, what)

    def lose(self: Client, *args: object, **kwargs: object) -> object:
        create(self, *args, **kwargs)
        raise RuntimeError("(pymysql.err.IntegrityError) (1062, \"Duplicate entry 'x' for key 'y'\")")

    monkeypatch.setattr(Client, what, lose)
    applied = apply(declare(), ENVIRONMENT)
    monkeypatch.undo()
    assert apply(declare(), ENVIRONMENT).id == applied.id and apply(declare(), ENVIRONMENT).changes == ()


def test_a_server_that_makes_nothing_is_told(declare, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Client, *args: object, **kwargs: object) -> object:
        raise RuntimeError("500 Server Error")

    monkeypatch.setattr(Client, "create_stack_component", refuse)
    with pytest.raises(RuntimeError, match="500 Server Error"):
        apply(declare(), ENVIRONMENT)


def test_two_users_of_one_server_never_change_each_others_components(declare, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(applying, "is_shared", lambda: True)
    path = declare()
    mine = apply(path, ENVIRONMENT)
    theirs = apply(path, {**ENVIRONMENT, "PLACE": "b"})
    assert mine.id != theirs.id and mine.names != theirs.names
    assert apply(path, ENVIRONMENT).changes == () == apply(path, {**ENVIRONMENT, "PLACE": "b"}).changes
    assert apply(path, {"PLACE": "b", "HOST": "127.0.0.1"}).id == theirs.id
    # The same declaration is the same stack, whoever applies it: caches are shared.
    assert apply(path, ENVIRONMENT).id == mine.id
    assert mine.names["orchestrator"] == theirs.names["orchestrator"]
    assert stacks_of(path) == {mine.id, theirs.id}
    # What this state folder made of the file before and nobody ran on goes, once nobody can be about to.
    monkeypatch.setattr(applying, "_LATELY", timedelta(0))
    newer = apply(path, {**ENVIRONMENT, "PLACE": "c"})
    assert stacks_of(path) == {newer.id}
    monkeypatch.setattr(applying, "_made_by", lambda declared: {"assay_state": "another"})
    theirs = apply(path, {**ENVIRONMENT, "PLACE": "b"})
    assert stacks_of(path) == {newer.id, theirs.id}
    for environment in ({**ENVIRONMENT, "PLACE": "c"}, {**ENVIRONMENT, "PLACE": "b"}):
        remove(path.stem, path, environment)
    assert not Client().list_stacks(name=f"startswith:{path.stem}").items
