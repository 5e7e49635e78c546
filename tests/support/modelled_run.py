"""A recorded run of a base and an adapter over it that can be loaded, with rows whose test split they are asked."""

import shutil
from pathlib import Path

import numpy as np
import yaml
from support import sample_run
from support.stored_run import StoredRun, with_digest
from support.tiny_model import tiny_row
from support.tuned_models import adapted

from ops.run_index import save_run
from steps.contracts.dataset import Dataset, DatasetWriter
from steps.contracts.evaluation import Registration
from steps.contracts.models import ModelFolder
from steps.contracts.records import SPLITS

# Answers of a few words: whole ones are compared.
SETTINGS = {"max_new_tokens": 6, "metrics": ["exact_match"], "device": "cpu"}
NAME = "shop-2026"


def build(work: Path, base: ModelFolder, *, name: str = NAME, first: int = 0, registered: bool = True) -> StoredRun:
    """Below `work`; its record goes to the state folder. `first`: number of its first row of 16, the last 8 of which
    are the test split.
    """
    run = StoredRun(work, work / "store", [tiny_row(n, f"box {n % 3}") for n in range(first, first + 16)])
    dataset = split_rows(run, work)
    run.add_dataset("split_step", "dataset", dataset)
    tuned = adapted(base, work / "adapter")
    info = tuned.info.model_copy(update={"dataset_digest": dataset.digest})
    _add_model(run, "base_step", "base", base)
    _add_model(run, "train_step", "tuned", ModelFolder(info, tuned.path))
    config = {"name": "shop", "evaluate": SETTINGS, "gate": {"candidate": None}}
    registration = Registration(
        name="shop", version="1", status="candidate", aliases=("candidate",), model_uri="models:/shop/1",
        tracking_uri="sqlite:///gone.db", run_id="r", tags={"weights_digest": info.digest},
    )  # fmt: skip
    run.record = sample_run.of_config(
        sample_run.record(name).model_copy(
            update={"artifact_store": str(run.store), "artifacts": tuple(map(with_digest, run.artifacts)),
                    "registration": registration if registered else None, "config_name": name.partition("-")[0],
                    "config": config, "run_id": name}
        ),
        yaml.safe_dump(config),
    )  # fmt: skip
    save_run(work, run.record, yaml.safe_dump(config))
    return run


def split_rows(run: StoredRun, work: Path) -> Dataset:
    writer = DatasetWriter(work / "v1", "ingest")
    writer.write_rows(run.rows)
    half = len(run.rows) // 2
    codes = np.array([SPLITS.index("train")] * half + [SPLITS.index("test")] * half, np.int8)
    return writer.close().select(np.ones(len(run.rows), bool), work / "v2", "split", codes)


def _add_model(run: StoredRun, step: str, name: str, model: ModelFolder) -> None:
    folder = run.add(step, name, "model", model.info.digest)
    assert model.path is not None
    shutil.copytree(model.path, folder / "files")
    (folder / "model.json").write_text(model.info.model_dump_json())
