"""A trained model written for other programs, each export proven in its runtime: what isn't the model isn't kept."""

import shutil
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

from steps.contracts.errors import IntegrityError
from steps.contracts.exports import (
    ExportManifest,
    ExportsManifest,
    ModelExports,
    Parity,
    ParityReport,
    RuntimeParity,
    ScoreBeside,
)
from steps.contracts.storage import full_disk
from steps.engines.exports.exported_folder import manifest_of, most_differing, take_card
from steps.engines.exports.folder_format import Asked, FolderFormat, Options, Runtime, Source, Written
from steps.engines.exports.formats import FORMATS
from steps.engines.exports.parity import Reference, compared, reference_of
from steps.engines.progress.progress import Stopwatch
from steps.export.config import ExportConfig, FormatConfig

# Tokens beside prompt and answer that templates may write.
_SPARE = 64

# A runtime's answers to the rows of the evaluation, graded, beside the trained model's.
Scoring: TypeAlias = Callable[[str, Runtime], Sequence[ScoreBeside]]


@dataclass(frozen=True)
class Elsewhere:
    """What answers without files of its own.

    Attributes:
        dtype: number format that it computes in.
        opened: the runtime, given the tokens that end the trained model's answers.
        texts: whether it takes texts and tokens, and not messages alone: how one is tokenised, what is said behind
            another, and whether a token ends an answer can't be asked otherwise.
    """

    name: str
    dtype: str
    opened: Callable[[Sequence[int]], AbstractContextManager[Runtime]]
    texts: bool = True


@dataclass(frozen=True)
class Measured:
    """What every runtime is asked.

    Attributes:
        name: the subject that the trained model was evaluated as.
        asked, texts: prompts that are answered token by token, and texts that are tokenised.
        context: tokens that prompt and answer take at most in the evaluation.
        scores: the trained model's own; scoring: a runtime's beside them.
        rows: of the evaluation.
    """

    name: str
    asked: Sequence[Asked]
    texts: Sequence[str]
    context: int
    scores: Sequence[ScoreBeside]
    scoring: Scoring
    rows: int


def export(
    source: Source,
    config: ExportConfig,
    measured: Measured,
    elsewhere: Sequence[Elsewhere],
    folder: Path,
    options: Options,
    *,
    device: str = "auto",
    num_threads: int = 1,
    formats: Callable[[str], FolderFormat] = FORMATS.__getitem__,
) -> tuple[ModelExports, ParityReport]:
    """Write the formats that the config names, and hold them and `elsewhere` against the trained model.

    An export that isn't the model is told of in the report, and left out of the exports.

    Args:
        folder: an empty one on a disk with room for all exports.
        options: what all formats may need.
        formats: how each is written.

    Raises:
        ConfigError: the model can't be written so. StorageError: there is no room. As `reference_of`.
    """
    watch = Stopwatch()
    reference = reference_of(
        source, measured.asked, measured.texts, max_new_tokens=config.max_new_tokens, device=device,
        num_threads=num_threads,
    )  # fmt: skip
    longest = max(len(r.prompt) + len(r.answer) for r in reference.replies) + _SPARE
    options = replace(options, context=max(options.context, longest, measured.context))
    made: dict[str, ExportManifest] = {}
    told: list[RuntimeParity] = []
    try:
        for one in config.formats:
            found, manifest = _written(
                source, one, formats(one.to), measured, reference, folder / "files" / one.name, options
            )
            told.append(found)
            if manifest is not None:
                made[one.name] = manifest
        told += [_elsewhere(place, reference, measured) for place in elsewhere]
    except OSError as e:
        if full := full_disk(e):
            raise full from e
        raise
    report = ParityReport(
        model=source.model.info.digest, name=measured.name, rows=measured.rows, scores=tuple(measured.scores),
        runtimes=tuple(told), seconds=watch.seconds, cpu_seconds=watch.cpu_seconds,
    )  # fmt: skip
    (folder / "files").mkdir(exist_ok=True)
    return ModelExports(ExportsManifest(model=report.model, exports=made), folder / "files"), report


def _written(
    source: Source,
    one: FormatConfig,
    how: FolderFormat,
    measured: Measured,
    reference: Reference,
    folder: Path,
    options: Options,
) -> tuple[RuntimeParity, ExportManifest | None]:
    """What was found of one export; its manifest, None where it isn't the model and is gone again."""
    scratch = folder.parent.parent / f"scratch-{one.name}"
    folder.mkdir(parents=True)
    scratch.mkdir()
    options = replace(options, dtype=one.dtype, pre_tokenizer=one.pre_tokenizer)
    try:
        written = how.write(source, folder, options, scratch)
        take_card(source, folder)
        found = _held(
            one.name, lambda: how.opened(source, folder, options, scratch), reference, measured,
            *_bounds(one, how, written),
        )  # fmt: skip
    except IntegrityError as e:  # what was written isn't what was meant
        found, written = _broken(one.name, str(e.what)), Written("", {})
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    found = found.model_copy(update={"notes": tuple(written.notes)})
    if not found.holds:
        shutil.rmtree(folder)
        return found, None
    return found, manifest_of(source, measured.name, one.to, written, folder, found.parity)


def _bounds(one: FormatConfig, how: FolderFormat, written: Written) -> tuple[float, float]:
    epsilon = how.epsilons[written.dtype] if one.epsilon is None else one.epsilon
    return epsilon, most_differing(written.dtype) if one.most_differing is None else one.most_differing


def _elsewhere(place: Elsewhere, reference: Reference, measured: Measured) -> RuntimeParity:
    able = reference if place.texts else replace(
        reference, texts={}, ends=[], replies=[replace(r, middle=None) for r in reference.replies]
    )  # fmt: skip
    epsilon = FORMATS["merged"].epsilons[place.dtype]
    return _held(
        place.name, lambda: place.opened(reference.ends), able, measured, epsilon, most_differing(place.dtype)
    )  # fmt: skip


def _held(
    name: str,
    opened: Callable[[], AbstractContextManager[Runtime]],
    reference: Reference,
    measured: Measured,
    epsilon: float,
    limit: float,
) -> RuntimeParity:
    """Tokens first; whoever says the same ones is then asked the rows of the evaluation."""
    try:
        with opened() as runtime:
            found = compared(reference, runtime, epsilon, limit)
            if found.why:
                return RuntimeParity(runtime=name, parity=found.parity, reasons=(found.why,))
            scores = tuple(measured.scoring(name, runtime))
    except IntegrityError as e:
        return _broken(name, str(e.what))
    return RuntimeParity(
        runtime=name, parity=found.parity, scores=scores, reasons=tuple(_beyond(s) for s in scores if not s.within)
    )


def _beyond(s: ScoreBeside) -> str:
    return (
        f"{s.task}: {s.metric} is {s.found.value:.4g} on {s.found.n} rows, the trained model's {s.trained.value:.4g}"
        f" ({s.trained.low:.4g} to {s.trained.high:.4g})"
    )


def _broken(name: str, why: str) -> RuntimeParity:
    return RuntimeParity(runtime=name, parity=Parity(prompts=0, texts=0, tokens=0, epsilon=0.0), reasons=(why,))
