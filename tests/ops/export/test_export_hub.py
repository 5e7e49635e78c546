"""A data set on a hub: a server of the tests that answers the calls of `huggingface_hub`."""

from pathlib import Path

import pytest
from support import hub_server
from support.exported_run import build, rows
from support.hub_server import TOKEN

ROOT = Path(__file__).resolve().parents[3]
FILES = {
    "README.md", ".assay-export.json", "conversations/train-00000.parquet", "conversations/test-00000.parquet",
    "preferences/train-00000.parquet", "documents/train-00000.parquet", "documents/test-00000.parquet",
    "unpaired/train-00000.parquet",
}  # fmt: skip


def test_a_version_becomes_a_private_data_set(shop, hub, told, tmp_path):
    from datasets import load_dataset

    done = told("shop", "--to", "hub", "--repo", "acme/shop")
    repo = hub.repos["acme/shop"]
    assert repo.private and set(repo.files) - {".gitattributes"} == FILES
    assert done["url"] == f"{hub.url}/datasets/acme/shop/commit/{hub_server.COMMIT}" and done["out"] is None
    assert repo.messages == [f"assay run {shop.name}"] and "# acme/shop" in repo.files["README.md"].decode()
    for name, content in repo.files.items():
        file = tmp_path / "clone" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    loaded = load_dataset(str(tmp_path / "clone"), "preferences", split="train")
    assert loaded[0]["chosen"] == [{k: v for k, v in m.items() if k in loaded[0]["chosen"][0]} | {"content": "Yes: é."}
                                   for m in loaded[0]["chosen"]]  # fmt: skip
    assert not any(TOKEN.encode() in content for content in repo.files.values())


def test_the_next_upload_takes_away_what_the_last_one_had(shop, hub, told, state):
    told("shop", "--to", "hub", "--repo", "acme/shop")
    hub.repos["acme/shop"].files["notes.md"] = b"mine"
    told("shop", "--to", "hub", "--repo", "acme/shop", "--split", "test", "--out", "kept")
    left = set(hub.repos["acme/shop"].files)
    assert "notes.md" in left and "conversations/train-00000.parquet" not in left
    assert "conversations/test-00000.parquet" in left and Path("kept/README.md").exists()


def test_public_is_said(shop, hub, invoke, told):
    hub.repos["acme/open"] = hub_server.Repo(private=False)
    result = invoke("shop", "--to", "hub", "--repo", "acme/open")
    assert result.exit_code == 2 and "this data set is public" in result.stderr
    assert not hub.repos["acme/open"].files
    told("shop", "--to", "hub", "--repo", "acme/open", "--public")
    told("shop", "--to", "hub", "--repo", "acme/new", "--public")
    assert hub.repos["acme/open"].files and not hub.repos["acme/new"].private


def test_unscrubbed_rows_don_t_leave(state, hub, invoke):
    build(ROOT, state / "work", rows(), scrubbed=False)
    result = invoke("shop", "--to", "hub", "--repo", "acme/shop")
    assert result.exit_code == 2 and "never scrubbed" in result.stderr and not hub.calls


def test_the_token_comes_from_the_named_variable(shop, hub, invoke, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    result = invoke("shop", "--to", "hub", "--repo", "acme/shop", "--token-env", "MINE")
    assert result.exit_code == 3 and "MINE: no token" in result.stderr and not hub.calls
    monkeypatch.setenv("MINE", "hf_wrong")
    result = invoke("shop", "--to", "hub", "--repo", "acme/shop", "--token-env", "MINE")
    assert result.exit_code == 5 and "refuses (401)" in result.stderr and "hf_wrong" not in result.output


@pytest.mark.parametrize(("status", "said"), [(403, "may it write"), (500, "refuses (500)")])
def test_a_hub_that_refuses_is_named(shop, hub, invoke, status, said, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda _: None)
    hub.status = status
    result = invoke("shop", "--to", "hub", "--repo", "acme/shop")
    assert result.exit_code == 5 and said in result.stderr and "fault" not in result.stderr


def test_a_hub_that_isn_t_there_and_a_name_that_is_none(shop, hub, invoke, monkeypatch):
    result = invoke("shop", "--to", "hub", "--repo", "a b/c")
    assert result.exit_code == 2 and "OWNER/NAME" in result.stderr
    monkeypatch.setattr("time.sleep", lambda _: None)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    result = invoke("shop", "--to", "hub", "--repo", "acme/shop")
    assert result.exit_code == 5 and "upload failed" in result.stderr
