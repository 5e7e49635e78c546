"""Train, and at the first optimizer step wait until a file is there.

`python paused_run.py BASE DATASET FOLDER CHECKPOINTS CONFIG_JSON FILE`; prints a line at that step, and the weights'
digest and the report's notes at the end.
"""

import sys
import time
from pathlib import Path

from killed_run import model

from steps.contracts.dataset import Dataset
from steps.train.config import TrainConfig
from steps.train.train import train


def main(base, dataset, folder, checkpoints, config, file):
    def wait(step, metrics):
        if step == 1:
            print("paused", flush=True)
            while not Path(file).exists():
                time.sleep(0.05)

    version = Dataset.open(Path(dataset, "split"), lambda sha: Path(dataset, "all", "shards", f"{sha}.parquet"))
    settings = TrainConfig.model_validate_json(config)
    done = train(model(base), version, settings, Path(folder), Path(checkpoints), wait)
    print(done.model.info.digest, *done.report.notes, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
