"""Sources that are still what was read, that grew, and that this machine doesn't have."""

import hashlib
import json
from types import SimpleNamespace

import pytest

from ops.audit.sources import check_sources

SLOT = "{slot:%Y}.jsonl"


@pytest.fixture
def data(tmp_path):
    """Artifacts of a run that read a file, a file of a slot, and one over HTTP."""
    (tmp_path / "chat.jsonl").write_text("{}\n")
    digest = hashlib.sha256(b"{}\n").hexdigest()
    read = {"chat/chat.jsonl": digest, "daily/2026.jsonl": digest, "web/rows.jsonl": digest}
    said = json.dumps(read)
    sources = [("chat", "chat.jsonl"), ("daily", SLOT), ("web", "https://example.org/rows.jsonl")]
    config = {"ingest": {"sources": [{"name": name, "path": path} for name, path in sources]}}
    noted = SimpleNamespace(
        name="ingest_inputs", uri="start", beside={"data.json": hashlib.sha256(said.encode()).hexdigest()}
    )
    return SimpleNamespace(run=SimpleNamespace(around=(noted,), config=config), text=lambda _uri: said)


def states(data, root) -> dict[str, str]:
    return {f.what.split()[1]: f.state for f in check_sources(root, data)}


def test_a_source_as_it_was_read_holds(data, tmp_path):
    assert states(data, tmp_path) == {"chat": "holds", "daily": "not checked", "web": "not checked"}


def test_a_source_that_grew_is_told_and_breaks_nothing(data, tmp_path):
    with (tmp_path / "chat.jsonl").open("a") as file:
        file.write("{}\n")
    (found, *_) = check_sources(tmp_path, data)
    assert (found.state, found.broken) == ("changed since", False) and "chat/chat.jsonl" in found.detail
    (tmp_path / "chat.jsonl").unlink()
    assert states(data, tmp_path)["chat"] == "not checked"


def test_digests_that_were_edited_are_not_taken(data, tmp_path):
    data.text = lambda _uri: "{}"
    assert states(data, tmp_path) == {}
