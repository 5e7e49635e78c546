"""Whole checkpoints, copied to a model repository of a Hugging Face hub while training goes on."""

import os
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from steps.train.checkpoints import step_of

# The library's own variable, which its other commands read as well.
TOKEN = "HF_TOKEN"
_WAITING = ".for-the-hub"


class HubCopies(TrainerCallback):
    """Copies each checkpoint that was marked whole, one after the other; the oldest are removed beyond `keep`.

    What goes wrong doesn't stop training: it is told by `notes`.
    """

    def __init__(self, repo: str, keep: int) -> None:
        self.repo, self.keep = repo, keep
        self._pool = ThreadPoolExecutor(1, "hub")
        self._copies: dict[int, Future[None]] = {}

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """The files are linked, so that they stay until they are copied; a second call for a step is none."""
        step = int(state.global_step)
        if not state.is_world_process_zero or step in self._copies:
            return
        checkpoint = Path(args.output_dir) / f"checkpoint-{step}"
        waiting = Path(args.output_dir) / _WAITING / checkpoint.name
        shutil.rmtree(waiting, ignore_errors=True)
        shutil.copytree(checkpoint, waiting, copy_function=os.link)
        self._copies[step] = self._pool.submit(_copied, waiting, self.repo, self.keep)

    def notes(self) -> list[str]:
        """What became of the copies, when all that began are done."""
        self._pool.shutdown(wait=True)
        failed = {step: e for step, copy in self._copies.items() if (e := copy.exception()) is not None}
        done = [str(step) for step in self._copies if step not in failed]
        notes = [f"checkpoints copied to {self.repo}: of steps {', '.join(done)}"] if done else []
        # The library's messages may quote the address, which is known, and no token.
        return notes + [f"the checkpoint of step {s} isn't in {self.repo}: {_told(e)}" for s, e in failed.items()]


@contextmanager
def hub_copies(trainer: Any, repo: str | None, keep: int) -> Iterator[list[str]]:
    """While a trainer trains, its checkpoints are copied to `repo`; the list then says what became of them."""
    notes: list[str] = []
    if repo is None:
        yield notes
        return
    copies = HubCopies(repo, keep)
    trainer.add_callback(copies)
    try:
        yield notes
    finally:
        notes += copies.notes()
        shutil.rmtree(Path(trainer.args.output_dir) / _WAITING, ignore_errors=True)


def _copied(folder: Path, repo: str, keep: int) -> None:
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
    from huggingface_hub.utils import disable_progress_bars

    disable_progress_bars()
    # Read here and not by the library, which reads it once, when it is imported.
    api = HfApi(endpoint=os.environ.get("HF_ENDPOINT"), token=os.environ.get(TOKEN))
    api.create_repo(repo, private=True, exist_ok=True)
    files = [p for p in sorted(folder.rglob("*")) if p.is_file()]
    adds = [CommitOperationAdd(f"{folder.name}/{p.relative_to(folder)}", p) for p in files]
    old = [CommitOperationDelete(f"{name}/", is_folder=True) for name in _old(api.list_repo_files(repo), folder, keep)]
    api.create_commit(repo, [*old, *adds], commit_message=folder.name)
    shutil.rmtree(folder)


def _old(files: Sequence[str], newest: Path, keep: int) -> list[str]:
    """Folders of checkpoints that are one too many with the newest one."""
    found = {name for name, _, rest in (f.partition("/") for f in files) if rest and name.startswith("checkpoint-")}
    steps = sorted({int(n) for f in found if (n := f.removeprefix("checkpoint-")).isdigit()} - {step_of(newest)})
    return [f"checkpoint-{s}" for s in steps[: max(len(steps) - keep + 1, 0)]]


def _told(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
