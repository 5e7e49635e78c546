"""Train, and die by SIGKILL while a checkpoint is half written.

`python killed_run.py BASE DATASET FOLDER CHECKPOINTS CONFIG_JSON STEP [ADAPTER]`
"""

import os
import signal
import sys
from pathlib import Path

from transformers import Trainer

from steps.contracts.dataset import Dataset
from steps.contracts.models import ModelFolder, ModelInfo
from steps.train.config import TrainConfig
from steps.train.train import train


def main(base, dataset, folder, checkpoints, config, step, adapter=None):
    save = Trainer._save_optimizer_and_scheduler

    def save_or_die(self, output_dir):
        if self.state.global_step == int(step):
            os.kill(os.getpid(), signal.SIGKILL)
        save(self, output_dir)

    Trainer._save_optimizer_and_scheduler = save_or_die
    version = Dataset.open(Path(dataset, "split"), lambda sha: Path(dataset, "all", "shards", f"{sha}.parquet"))
    settings = TrainConfig.model_validate_json(config)
    start = model(adapter) if adapter else None
    train(model(base), version, settings, Path(folder), Path(checkpoints), adapter=start)


def model(folder):
    return ModelFolder(ModelInfo.model_validate_json(Path(folder, "info.json").read_text()), Path(folder, "model"))


if __name__ == "__main__":
    main(*sys.argv[1:])
