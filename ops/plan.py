"""What a run would do, and on what."""

from dataclasses import dataclass

from ops.infra import InfraConfig
from pipelines.config import RunConfig
from pipelines.inputs import Inputs
from steps.contracts.digests import value_digest


@dataclass(frozen=True)
class Plan:
    """All that is known before anything runs. `cache`: whether a step may be taken from ZenML's cache."""

    config: RunConfig
    infra: InfraConfig
    stack: str
    inputs: Inputs
    steps: tuple[str, ...]
    commit: str | None
    cache: bool = True

    @property
    def config_digest(self) -> str:
        """Digest of the resolved config."""
        return value_digest(self.config.model_dump(mode="json"))

    @property
    def lineage(self) -> dict[str, str]:
        """What a registered model says about where it comes from; decides no number."""
        return {
            "config_name": self.config.name,
            "config_digest": self.config_digest,
            "sources_digest": value_digest(self.inputs.sources),
            "commit": self.commit or "",
        }
