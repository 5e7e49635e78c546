"""A config's judge outside a run: its replies come from the cache of runs, and go there."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from steps.contracts.context import StageContext
from steps.contracts.locks import OwnFolder, remove_left
from steps.judge.backend import Judge
from steps.judge.config import CACHE, JudgeConfig
from steps.judge.judge import backend_for
from steps.zenml_runtime.state import use_state


@contextmanager
def opened_judge(root: Path, config: JudgeConfig, rows: int, what: str, *, scrubbed: bool) -> Iterator[Judge]:
    """The judge, for so many rows. what: the command, of which a folder is named; scrubbed: personal data is gone.

    Raises:
        As `backend_for`.
    """
    cache = use_state("", root) / CACHE
    remove_left(cache, f".{what}-")
    with closing(OwnFolder(cache, f".{what}-")) as folder:
        ctx = StageContext(folder.path, root, cache, scrubbed=scrubbed)
        with backend_for(config, ctx, rows) as backend:
            yield backend
