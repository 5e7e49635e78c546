"""Train, and die by SIGKILL while the checkpoint of STEP is half written; -STEP: right after that optimizer step.

`python killed_run.py BASE DATASET FOLDER CHECKPOINTS CONFIG_JSON STEP [ADAPTER]`
"""

import os
import signal
import sys
from pathlib import Path

from transformers import Trainer

from steps.contracts.dataset import Dataset
from steps.contracts.models import ModelFolder, ModelInfo
from steps.train.asked import found_model
from steps.train.config import TrainConfig
from steps.train.objectives.registry import objective_of
from steps.train.train import train
from steps.train.trainer import Recorder


def main(base, dataset, folder, checkpoints, config, step, adapter=None):
    save, step_end = Trainer._save_optimizer_and_scheduler, Recorder.on_step_end

    def save_or_die(self, output_dir):
        if self.state.global_step == int(step):
            os.kill(os.getpid(), signal.SIGKILL)
        save(self, output_dir)

    def end_or_die(self, args, state, control, **more):
        if state.global_step == -int(step):
            os.kill(os.getpid(), signal.SIGKILL)
        step_end(self, args, state, control, **more)

    Recorder.on_step_end = end_or_die
    Trainer._save_optimizer_and_scheduler = save_or_die
    version = Dataset.open(Path(dataset, "split"), lambda sha: Path(dataset, "all", "shards", f"{sha}.parquet"))
    settings = TrainConfig.model_validate_json(config)
    start = model(adapter) if adapter else None
    models = {s.key: found_model(s, Path()) for s in objective_of(settings.objective).asks()}
    train(model(base), version, settings, Path(folder), Path(checkpoints), adapter=start, asked=models)


def model(folder):
    return ModelFolder(ModelInfo.model_validate_json(Path(folder, "info.json").read_text()), Path(folder, "model"))


if __name__ == "__main__":
    main(*sys.argv[1:])
