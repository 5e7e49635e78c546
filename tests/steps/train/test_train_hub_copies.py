"""Checkpoints on a hub: a server of the tests that answers the calls of `huggingface_hub`."""

import json

import pytest
from support.hub_server import TOKEN
from support.tiny_model import tiny_dataset

from steps.contracts.digests import bytes_digest
from steps.train.config import TrainConfig
from steps.train.train import train

SETTINGS = {
    "max_steps": 6, "save_steps": 2, "save_total_limit": 2, "per_device_train_batch_size": 4, "max_length": 128,
    "weights": {"kind": "lora", "r": 2}, "hub_model_id": "acme/orders",
}  # fmt: skip


def trained(folder, model, **more):
    config = TrainConfig.model_validate({**SETTINGS, **more})
    return train(model, tiny_dataset(folder / "d"), config, folder / "out", folder / "checkpoints")


@pytest.mark.slow
def test_the_newest_checkpoints_lie_on_the_hub_whole(tmp_path, tiny_model, hub):
    done = trained(tmp_path, tiny_model)
    repo = hub.repos["acme/orders"]
    assert repo.private and repo.messages == ["checkpoint-2", "checkpoint-4", "checkpoint-6"]
    files = {n: b for n, b in repo.files.items() if n != ".gitattributes"}
    assert {n.partition("/")[0] for n in files} == {"checkpoint-4", "checkpoint-6"}
    for step in (4, 6):
        marker = json.loads(files[f"checkpoint-{step}/complete.json"])
        assert len(marker) > 5
        assert {n: bytes_digest(files[f"checkpoint-{step}/{n}"]) for n in marker} == marker
    assert "checkpoints copied to acme/orders: of steps 2, 4, 6" in done.report.notes
    assert not list(tmp_path.rglob(".for-the-hub"))
    assert not any(TOKEN.encode() in content for content in repo.files.values())


@pytest.mark.slow
def test_a_hub_that_refuses_stops_nothing_and_is_told(tmp_path, tiny_model, hub):
    hub.status = 403
    done = trained(tmp_path, tiny_model)
    told = [n for n in done.report.notes if "isn't in acme/orders" in n]
    assert len(told) == 3 and all("403" in n and TOKEN not in n for n in told)
    assert done.report.counts["training"]["optimizer steps"] == 6


@pytest.mark.slow
def test_where_copies_go_decides_nothing(tmp_path, tiny_model, hub):
    with_copies = trained(tmp_path / "1", tiny_model)
    without = trained(tmp_path / "2", tiny_model, hub_model_id=None)
    assert with_copies.model.info.digest == without.model.info.digest
    names = [[f.name for f in (tmp_path / n / "checkpoints").iterdir()] for n in "12"]
    assert names[0] == names[1]
