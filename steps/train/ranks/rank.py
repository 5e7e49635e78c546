"""One of several processes that train a phase together: `python -m steps.train.ranks.rank FOLDER`.

Its launcher (`local.py`) gives it the folder of its job, its place in the environment as torch reads it (RANK,
WORLD_SIZE ...), and two pipes: it ends when nobody holds the other end of the first; rank 0 tells its progress through
the second.
"""

import json
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import IO

import numpy as np

from steps.engines.lm.quantized import without_missing_kernel
from steps.engines.progress.progress import Progress
from steps.train.encoding import Encoding
from steps.train.mixture import Origins
from steps.train.objectives.objective import EncodedRows
from steps.train.ranks.job import JOB, RESULT, Job, Result, read, said_of, write

# The module that trains; by its name, since it is what starts the ranks.
_TRAINS = "steps.train.train"

# Numbers of the pipes' ends that a rank has.
ALIVE, NEWS = "ASSAY_RANK_ALIVE", "ASSAY_RANK_NEWS"


def error_file(folder: Path, rank: int) -> Path:
    """Where a rank says why it ended."""
    return folder / f"rank-{rank}.error.json"


def main(folder: Path) -> None:
    """Train as one of the ranks; rank 0 writes the result."""
    rank = int(os.environ.get("RANK", "0"))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _end_with_launcher(int(os.environ[ALIVE]))
    try:
        _train(read(Job, folder / JOB), folder, rank)
    except Exception as e:  # noqa: BLE001 - told to the launcher
        write(said_of(e), error_file(folder, rank))
        traceback.print_exc()
        sys.stderr.flush()
        # What is left of the process group would wait for ranks that wait for this one.
        os._exit(1)


def _train(job: Job, folder: Path, rank: int) -> None:
    without_missing_kernel()
    import torch

    from steps.train.trainer import explained, torch_settings
    from steps.train.vocabulary import tokenizer_of

    tuned = import_module(_TRAINS).tuned
    if job.plan.device == "cuda":
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    with torch_settings(job.config.num_threads), _news() as news, explained(job.config, job.plan):
        rows = _rows(job)
        tokenizer = tokenizer_of(job.start, job.config)

        def tell(step: int, metrics: dict[str, float]) -> None:
            assert news is not None
            _tell(news, {"step": step, "metrics": metrics})

        model, run = tuned(
            job.start, tokenizer, rows, job.config, job.plan, job.dataset_digest, job.model, job.home, job.resume,
            tell if news else None, _Told(news) if news else Progress("train"), job.journal if news else None,
        )  # fmt: skip
        if model is not None:
            write(Result(model=model.info, run=run), folder / RESULT)
    if torch.distributed.is_initialized():
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()


def _rows(job: Job) -> EncodedRows:
    """The encoded rows, and of what became of the others as much as trainers ask for."""
    import datasets

    encoding, validation = Encoding(), Encoding()
    encoding.lint.end_tokens.update(job.end_tokens)
    codes = np.asarray(job.source_codes, np.int32)
    validation.origins = Origins(job.sources, codes, np.zeros(0, np.uint64), np.zeros(0))
    held_out = datasets.load_from_disk(str(job.validation)) if job.validation else None
    train = datasets.load_from_disk(str(job.train))
    return EncodedRows(train, held_out, encoding, validation if held_out is not None else None)


@contextmanager
def _news() -> Iterator[IO[str] | None]:
    """What rank 0 writes to; None in the others."""
    if NEWS not in os.environ:
        yield None
        return
    with os.fdopen(int(os.environ[NEWS]), "w") as news:
        yield news


class _Told(Progress):
    """Progress that the launcher shows."""

    def __init__(self, news: IO[str]) -> None:
        super().__init__("train", unit="steps")
        self.news = news

    def advance(self, count: int = 1) -> None:
        """Tell of finished steps."""
        self.done += count
        _tell(self.news, {"done": count, "total": self.total, "note": self.note})


def _tell(news: IO[str], what: dict[str, object]) -> None:
    news.write(json.dumps(what) + "\n")
    news.flush()


def _end_with_launcher(pipe: int) -> None:
    """Kill this process when nobody holds the other end of the pipe any more, whatever it waits for."""

    def watch() -> None:
        while os.read(pipe, 1):
            pass
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, name="launcher", daemon=True).start()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
