"""What a run would do, and on what."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from ops.infra import InfraConfig
from pipelines.config import RunConfig
from pipelines.input_digests import Inputs
from pipelines.openlineage.config import Endpoint
from steps.contracts.digests import value_digest


@dataclass(frozen=True)
class Plan:
    """All that is known before anything runs.

    inputs: what the run would read now, for `--dry-run`; a run looks for itself when it starts.
    cache: whether a step may be taken from ZenML's cache.
    notes: what is worth knowing before it runs.
    slot: the moment that the run stands for, ISO 8601 with its offset; schedule: what wanted it. "" without one.
    events: where the run's OpenLineage events go; None: nowhere.
    shares: by stage, steps that its row-wise work is spread over; by its own alone where it isn't named.
    detach: whether the run's end isn't waited for, where it goes on elsewhere.
    tags: what its run in the stack's tracker is found by.
    """

    config: RunConfig
    infra: InfraConfig
    stack: str
    inputs: Inputs | None
    steps: tuple[str, ...]
    commit: str | None
    cache: bool = True
    notes: tuple[str, ...] = ()
    slot: str = ""
    schedule: str = ""
    events: Endpoint | None = None
    detach: bool = False
    shares: Mapping[str, int] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def config_digest(self) -> str:
        """Digest of the resolved config."""
        return value_digest(self.config.model_dump(mode="json"))
