"""Train in a process that can't have more than some MiB of address space beyond what it has at a moment.

`python limited_run.py BASE DATASET FOLDER CHECKPOINTS CONFIG_JSON MIB LIMIT_AT KILL_AT`: the limit is set before the
first attempt (LIMIT_AT 0) or behind an optimizer step (-1: never); behind another one it dies by SIGKILL. Prints the
files of the model, the notes of its record, and the report's table of ends of memory, as JSON.
"""

import json
import os
import resource
import signal
import sys
from pathlib import Path

from killed_run import model

from steps.contracts.dataset import Dataset
from steps.train import train as training
from steps.train.config import TrainConfig


def main(base, dataset, folder, checkpoints, config, mib, limit_at, kill_at):
    version = Dataset.open(Path(dataset, "split"), lambda sha: Path(dataset, "all", "shards", f"{sha}.parquet"))
    settings = TrainConfig.model_validate_json(config)
    asked = training.with_less_where_needed

    def begin(*arguments):
        if limit_at == "0":
            limit(int(mib))
        return asked(*arguments)

    def metrics(step, _):
        if step == int(kill_at):
            os.kill(os.getpid(), signal.SIGKILL)
        if step == int(limit_at):
            limit(int(mib))

    training.with_less_where_needed = begin
    done = training.train(model(base), version, settings, Path(folder), Path(checkpoints), metrics)
    ended = [row for t in done.report.tables if t.title == "Memory ended" for row in t.rows]
    print(json.dumps({"files": done.model.info.files, "notes": done.model.info.notes, "ended": ended}))


def limit(mib):
    held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (held + (mib << 20), resource.RLIM_INFINITY))


if __name__ == "__main__":
    main(*sys.argv[1:])
