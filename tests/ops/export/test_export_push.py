"""A model on a hub: a server of the tests that answers the calls of `huggingface_hub`; the hub itself wasn't asked."""

import json

import pytest
from support import hub_server, modelled_run
from support.hub_server import TOKEN

from ops.export.model_card import public_manifest
from steps.engines.exports.exported_folder import read_manifest


@pytest.fixture
def run(state, tiny_model):
    return modelled_run.build(state / "work", tiny_model)


@pytest.mark.slow
def test_a_model_is_pushed_whole_private_and_with_its_cards(run, state, hub, told) -> None:
    done = told("run:shop", "--to", "merged", "--push-to", "acme/shop", "--out", "out")
    repo = hub.repos["acme/shop"]
    assert (
        done["pushed"] == f"acme/shop@{hub_server.COMMIT}" and repo.private and repo.messages == ["assay export merged"]
    )
    assert {n: c for n, c in repo.files.items() if n in done["files"] and n != "README.md"} == {
        n: (state / "out" / n).read_bytes() for n in done["files"] if n != "README.md"
    }
    card, rows = repo.files["README.md"].decode(), repo.files["DATA.md"].decode()
    assert card.startswith('---\nlibrary_name: "transformers"\n') and f"digest of the model `{done['model']}`" in card
    assert "1,000 texts have the same tokens" in card and "# Rows that the model was trained on" in rows
    assert json.loads(repo.files["export.json"])["parity"] == done["parity"]
    said = b"".join(repo.files.values())
    assert TOKEN.encode() not in said and str(state).encode() not in said
    assert "POST /api/models/acme/shop/commit/main" in hub.calls

    # What an earlier export left goes, what somebody else wrote stays.
    repo.files |= {"model-f16.gguf": b"old", "notes.md": b"mine"}
    told("run:shop", "--to", "merged", "--push-to", "acme/shop")
    assert "model-f16.gguf" not in repo.files and repo.files["notes.md"] == b"mine"


@pytest.mark.slow
def test_what_isn_t_for_everybody_is_not_pushed(run, state, hub, invoke, monkeypatch) -> None:
    hub.repos["acme/open"] = hub_server.Repo(private=False)
    open_ = invoke("run:shop", "--to", "merged", "--push-to", "acme/open")
    assert open_.exit_code == 2 and "this model is public" in open_.stderr and not hub.repos["acme/open"].files
    local = invoke("run:shop", "--to", "adapter", "--push-to", "acme/shop")
    assert local.exit_code == 2 and "names a folder of this machine" in local.stderr and "acme/shop" not in hub.repos
    rows = invoke("shop", "--to", "jsonl", "--push-to", "acme/shop", "--out", "out")
    assert rows.exit_code == 2 and "only models are pushed so" in rows.stderr
    hub.status = 403
    refused = invoke("run:shop", "--to", "merged", "--push-to", "acme/shop")
    assert refused.exit_code != 0 and "the hub refuses (403)" in refused.stderr
    monkeypatch.delenv("HF_TOKEN")
    silent = invoke("run:shop", "--to", "merged", "--push-to", "acme/shop")
    assert "this environment variable is not set" in silent.stderr


@pytest.mark.slow
def test_a_manifest_for_others_has_no_paths(run, state, told) -> None:
    told("run:shop", "--to", "merged", "--out", "out")
    told(str(state / "out"), "--to", "merged", "--out", "again")
    manifest = read_manifest(state / "again")
    assert str(state) in manifest.name
    assert public_manifest(manifest).name == "out" and str(state) not in public_manifest(manifest).model_dump_json()
