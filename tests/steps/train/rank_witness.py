"""Imported by every rank of a test (ASSAY_WITNESS names a folder): writes down what the rank sees and is.

`rows-R.jsonl`: the inputs of each forward pass of rank R, by optimizer step. `state-R.json`: its world, and how its
weights lie. In the N-th pass of rank R it kills itself (SIGKILL) with ASSAY_DIE=R:N, what has started it with
ASSAY_ORPHAN=R:N, and raises with ASSAY_RAISE=R:N, or, once, as if memory had ended, with ASSAY_FULL=R:N.
"""

import json
import os
import signal
import time
from pathlib import Path

from steps.contracts.errors import OutOfMemoryError, TrainingDataError
from steps.train.objectives.sft_trainer import SftTrainer


def watch():
    folder, rank = Path(os.environ["ASSAY_WITNESS"]), int(os.environ.get("RANK", "0"))
    step, passes = SftTrainer.training_step, []
    meant = {
        name: os.environ.get(name, "-1:0").split(":")
        for name in ("ASSAY_DIE", "ASSAY_ORPHAN", "ASSAY_RAISE", "ASSAY_FULL")
    }

    def is_meant(name):
        return [int(x) for x in meant[name]] == [rank, len(passes)]

    def seen(self, model, inputs, num_items_in_batch=None):
        labels = inputs["labels"]
        rows = [[t for t in row.tolist() if t >= 0] for row in labels if bool((row >= 0).any())]
        passes.append({"step": self.state.global_step, "rows": rows})
        with (folder / f"rows-{rank}.jsonl").open("a") as out:
            out.write(json.dumps(passes[-1]) + "\n")
        if len(passes) == 1:
            kinds = sorted({type(p).__name__ for p in model.parameters()} | {type(p.data).__name__ for p in
                           model.parameters()})  # fmt: skip
            state = {"world": self.args.world_size, "model": type(model).__name__, "parameters": kinds,
                     "pid": os.getpid(), "parent": os.getppid(),
                     "held": sum(p.numel() for p in model.parameters())}  # fmt: skip
            (folder / f"state-{rank}.json").write_text(json.dumps(state))
        if is_meant("ASSAY_DIE"):
            os.kill(os.getpid(), signal.SIGKILL)
        if is_meant("ASSAY_ORPHAN"):
            (folder / "orphaned").touch()
            os.kill(os.getppid(), signal.SIGKILL)
            time.sleep(600)
        if is_meant("ASSAY_FULL") and not (folder / "full").exists():
            (folder / "full").touch()
            raise OutOfMemoryError("memory ended", where="train")
        if is_meant("ASSAY_RAISE"):
            raise TrainingDataError("the row is bad", where="row 7", hint="mend it")
        return step(self, model, inputs, num_items_in_batch)

    SftTrainer.training_step = seen
