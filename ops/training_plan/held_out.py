"""What difference the held-out rows can show, told before the run is paid for."""

from dataclasses import dataclass
from pathlib import Path

from ops.training_plan.rows import version_known
from pipelines.config import RunConfig
from steps.contracts.errors import AssayError
from steps.engines.scoring.metrics import LOSS, PERPLEXITY
from steps.engines.scoring.power import ASSUMED_SD, least_gain, least_gain_of_share
from steps.ingest.ingest import count_rows
from steps.zenml_runtime.urls import is_url

# Chosen: rows of a file that are counted at every start of a run; what is longer is told by its size.
_COUNTED = 5_000
# Chosen: the share of rows that are right without training and wrong after it, where nothing is measured yet.
WORSE = 0.05
# Chosen: who can see a twentieth needs no word.
_SEEN = 0.05


@dataclass(frozen=True)
class HeldOut:
    """Rows that would be asked, and where their number is from. `exact`: they are there already."""

    rows: int
    origin: str
    exact: bool


def held_out_rows(root: Path, config: RunConfig) -> HeldOut | None:
    """None: the number can't be told from here, or the run evaluates nothing."""
    if not config.evaluates:
        return None
    version = version_known(root, config)
    if version is not None and version.dataset.manifest.splits:
        said = "of the dataset" if config.dataset is not None else "as the newest run of this config left them"
        return _asked(version.dataset.manifest.splits.get("test", 0), said, config, exact=config.dataset is not None)
    total = 0.0
    for source in config.ingest.sources if config.ingest is not None and config.curates else ():
        if config.ingest is None or source.hub is not None or is_url(source.path or ""):
            return None
        try:
            total += count_rows(source, config.ingest, root, _COUNTED).rows * source.sample
        except AssayError:
            return None
    return _asked(round(total * config.split.test), "of the sources, before anything is filtered", config, exact=False)


def _asked(rows: int, origin: str, config: RunConfig, *, exact: bool) -> HeldOut | None:
    most = config.evaluate.max_rows
    return HeldOut(min(rows, most) if most else rows, origin, exact) if rows else None


def power(found: HeldOut, config: RunConfig) -> str:
    """In a sentence, with what is assumed."""
    n, margin = found.rows, config.gate.min_gain_lower_bound
    count = f"{'' if found.exact else 'about '}{n:,} held-out rows {found.origin}"
    above = f" (above the {margin:g} that the gate wants)" if margin else ""
    if config.gate.metric in (LOSS, PERPLEXITY):
        return f"{count}: which gain in {config.gate.metric} they show is told after the run, by how it varies"
    few = "" if n >= config.gate.min_n else f"; gate.min_n is {config.gate.min_n}, so that nothing is promoted"
    best, usual = (least_gain_of_share(n, worse, margin) for worse in (0.0, WORSE))
    return (
        f"{count}: in a share of rows a gain under {best:.2f} can't be seen{above}, where no row gets worse; where 1 in"
        f" {1 / WORSE:.0f} does, one under {usual:.2f}; in a mean of values from 0 to 1 one under"
        f" {min(1.0, least_gain(n, margin=margin)):.2f} (changes of a standard deviation of {ASSUMED_SD}). 95 %"
        f" interval, power 0.8{few}"
    )


def worth_knowing(found: HeldOut, config: RunConfig) -> bool:
    """Whether a gain that somebody may hope for can't be seen."""
    few = found.rows < config.gate.min_n
    return few or least_gain_of_share(found.rows, margin=config.gate.min_gain_lower_bound) >= _SEEN
