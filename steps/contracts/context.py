"""What a stage may use besides its rows and its settings. One type for all stages, made by whoever runs the stage."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from steps.contracts.dataset import Dataset
from steps.contracts.execution import Executor, Inline
from steps.contracts.models import ModelFolder
from steps.contracts.row_cache import RowCache
from steps.contracts.tombstones import Tombstones

# Texts that a model wrote, and what it was shown, in; the texts without personal data out, None where that isn't known.
Clean: TypeAlias = Callable[[Sequence[str], str], list[str | None]]


@dataclass(frozen=True)
class StageContext:
    """Where a stage writes, what lies where, and what earlier runs and stages left.

    Attributes:
        folder: results of this execution; nobody else writes there.
        root: relative paths in a config start here.
        cache: durable files on this machine (paid replies, embeddings); None: nothing outlives the run.
        earlier: artifacts that an earlier run left, by artifact name; what isn't there is computed.
        code: digest of the stage's code and libraries; "" where the caller doesn't know it.
        key_id: fingerprint of the pseudonym key and of the files that scrub reads.
        search: what this run looks for personal data with (scrub's settings and `key_id`); "" when it doesn't.
        scrubbed: whether personal data was removed from the rows before.
        clean: how what models write is scrubbed; None: it isn't.
        keep: whether to leave what a later run can build on.
        inputs: digests of the files and models that the stage reads, by the config's names; None: not known.
        quarantined: the versions that earlier stages set aside for a human.
        tombstones: rows that were erased, which whoever reads sources refuses.
        executor: where row-wise work runs.
        shares: what other steps of this run have computed of the rows, for a stage that decides row by row.
        run: id of the run, under which what it pays for stands; "" where it isn't one.
        models: registered models that the settings name, by that name: the whole weights that each lies over, and it.
        one_shard: whether rows that are read go into one file, since no later version will share parts of it.
    """

    folder: Path
    root: Path = Path()
    cache: Path | None = None
    earlier: Mapping[str, Any] = field(default_factory=dict)
    code: str = ""
    key_id: str = ""
    search: str = ""
    scrubbed: bool = False
    clean: Clean | None = None
    keep: bool = False
    inputs: Mapping[str, str] | None = None
    quarantined: Sequence[Dataset] = ()
    tombstones: Tombstones = field(default_factory=Tombstones)
    executor: Executor = field(default_factory=Inline)
    shares: Sequence[RowCache] = ()
    run: str = ""
    one_shard: bool = False
    models: Mapping[str, tuple[ModelFolder, ModelFolder]] = field(default_factory=dict)
