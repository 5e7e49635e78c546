"""Where a run of the local stores is seen in ZenML's dashboard and MLflow's UI, while `assay dashboard` runs."""

from dataclasses import dataclass

from steps.contracts.runs import RunRecord

# On this machine alone. ZenML's is the port of its own local server; a page names both, so that they stay the same.
ZENML_PORT, MLFLOW_PORT = 8237, 8238


@dataclass(frozen=True)
class Dashboards:
    """Addresses of both; "" for one that isn't there."""

    zenml: str = f"http://127.0.0.1:{ZENML_PORT}"
    mlflow: str = f"http://127.0.0.1:{MLFLOW_PORT}"

    def of(self, run: RunRecord) -> dict[str, str]:
        """By name, where a run is seen in each that knows it: ZenML's local store, and MLflow's file."""
        if "://" in run.artifact_store:
            return {}
        found = {"ZenML's dashboard": f"{self.zenml}/projects/default/runs/{run.run_id}"} if self.zenml else {}
        registered = run.registration
        if self.mlflow and registered is not None and registered.tracking_uri.startswith("sqlite:"):
            found["MLflow"] = f"{self.mlflow}/#/runs/{registered.run_id}"
        return found
