"""`assay eval-pii` as a user calls it."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ops.commands.eval_pii import masked
from ops.main import app

ROOT = Path(__file__).resolve().parents[2]
TEXTS = [
    {"text": "write to jane@example.org", "spans": [{"start": 9, "end": 25, "label": "EMAIL"}], "template_id": 1},
    {"text": "host 192.168.10.77", "spans": [], "template_id": 2},
    {"text": "\x1b[31mDoe\u202e lives", "spans": [{"start": 0, "end": 9, "label": "PE\x1b[1mR"}], "template_id": 3},
]


@pytest.fixture
def files(tmp_path):
    config = tmp_path / "scrub.yaml"
    config.write_text("entities: [EMAIL_ADDRESS, IP_ADDRESS]\n")
    labelled = tmp_path / "labelled.jsonl"
    labelled.write_text("".join(json.dumps(t) + "\n" for t in TEXTS))
    return str(config), str(labelled)


def invoke(*arguments: str):
    return CliRunner().invoke(app, ["eval-pii", *arguments])


def told(*arguments: str):
    result = invoke(*arguments, "--json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def test_known_answers(files) -> None:
    said = told(*files)
    mail, host = said["overlap"]["EMAIL_ADDRESS"], said["overlap"]["IP_ADDRESS"]
    assert (mail["labelled"], mail["right"], mail["f1"]["value"]) == (1, 1, 1.0)
    assert (host["labelled"], host["found"], host["precision"]["value"], host["recall"]) == (0, 1, 0.0, None)
    assert said["overlap"]["all entities"]["labelled"] == 2
    assert [(e["kind"], e["value"]) for e in said["examples"] if e["entity"] == "IP_ADDRESS"] == [("wrong", "1***7")]
    assert told(*files, "--templates", "even")["texts"] == 1
    assert "IP_ADDRESS" not in told(*files, "--map", "IP_ADDRESS=-")["overlap"]


def test_output_is_harmless_and_masked(files) -> None:
    result = invoke(*files)
    assert result.exit_code == 0, result.stderr
    assert "\x1b" not in result.stdout and "\u202e" not in result.stdout
    assert "192.168.10.77" not in result.stdout and "not looked for" in result.stdout
    shown = invoke(*files, "--show-values")
    assert "192.168.10.77" in shown.stdout and "\x1b" not in shown.stdout and "\u202e" not in shown.stdout
    assert (masked("jane@example.org"), masked("1234"), masked("12345")) == ("j***g", "***", "1***5")


def test_a_run_config_will_do(files) -> None:
    said = told(str(ROOT / "configs/runs/quickstart.yaml"), files[1])
    assert "PHONE_NUMBER" in said["looked_for"]


def test_errors_say_the_way_out(files, tmp_path) -> None:
    unknown = tmp_path / "bad.yaml"
    unknown.write_text("entites: [EMAIL_ADDRESS]\n")
    for arguments, status, said in [
        ((str(tmp_path / "none.yaml"), files[1]), 3, "none.yaml"),
        ((str(unknown), files[1]), 2, "unknown key"),
        ((files[0], str(tmp_path / "none.json")), 3, "none.json"),
        ((files[0], files[0]), 3, "line 1"),
        ((*files, "--map", "nonsense"), 2, "LABEL=ENTITY"),
    ]:
        result = invoke(*arguments)
        assert (result.exit_code, said in result.stderr) == (status, True), result.stderr
