"""Where ZenML keeps its things. `prepare` must run before zenml is imported: it reads these names at import."""

import logging
import os
import sys
import warnings
from pathlib import Path

from steps.contracts.errors import InputNotFoundError
from steps.engines.lm.quantized import without_missing_kernel
from steps.zenml_runtime.state import state_folder

REPOSITORY_FOLDER = ".zenml"
# What libraries that print, count and phone home are told, here and in every step's process elsewhere.
SWITCHES = {
    "ZENML_ANALYTICS_OPT_IN": "false",
    "ZENML_LOGGING_VERBOSITY": "CRITICAL",
    "ZENML_ENABLE_RICH_TRACEBACK": "false",
    # Measured: 18 commits per step; storing each step's log costs a third of a trivial step.
    "ZENML_DISABLE_STEP_LOGS_STORAGE": "true",
    "ZENML_DISABLE_PIPELINE_LOGS_STORAGE": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "1",
    # A tracker that is down must say so in seconds, not after MLflow's default of seven doubling waits.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
    # On standard output, where --json says all there is.
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    # Bars of libraries; our own progress says more in fewer lines.
    "TQDM_DISABLE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    # Threads of torch that wait for each other sleep: by default they spin, which beside other work tripled the
    # CPU seconds of training and took longer, for the same bits. Read when torch is loaded.
    "OMP_WAIT_POLICY": "PASSIVE",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "GIT_PYTHON_REFRESH": "quiet",
}
_MARKERS = ("pyproject.toml", "steps", "pipelines")


def _keep_off_standard_output() -> None:
    """SageMaker's library would say there, where a command's JSON goes, which files of defaults it has read."""
    logger = logging.getLogger("sagemaker")
    if not logger.handlers:
        logger.addHandler(logging.StreamHandler())
        logging.getLogger("sagemaker.config").setLevel(logging.WARNING)


def find_root(start: Path | None = None) -> Path:
    """The checkout that holds the pipelines: ASSAY_ROOT, else the nearest parent of `start` (default: here).

    Raises:
        InputNotFoundError: neither names a checkout.
    """
    named = os.environ.get("ASSAY_ROOT")
    candidates = [Path(named)] if named else [(start or Path.cwd()), *(start or Path.cwd()).resolve().parents]
    candidates.append(Path(__file__).resolve().parent.parent)
    for folder in candidates:
        if all((folder / m).exists() for m in _MARKERS):
            return folder.resolve()
    raise InputNotFoundError(
        "no assay checkout found here or above",
        where=str(Path.cwd()),
        hint="change into the checkout, or set ASSAY_ROOT to it",
    )


def prepare(root: Path) -> Path:
    """Set the environment that ZenML, MLflow and the Hub read, where the user hasn't. Returns the state folder.

    The folder is readable by its owner only: it holds raw rows, and the key that ZenML's secrets are encrypted with.
    """
    if "zenml" in sys.modules and os.environ.get("ZENML_REPOSITORY_DIRECTORY_NAME") != REPOSITORY_FOLDER:
        raise RuntimeError("zenml was imported before ops.environment.prepare(); it can't see its settings any more")
    state = state_folder(root)
    # ZenML, MLflow and the libraries of training write with the modes of the process.
    os.umask(0o077)
    os.environ["ASSAY_STATE"] = str(state)
    settings = {
        "ZENML_REPOSITORY_DIRECTORY_NAME": REPOSITORY_FOLDER,
        # A folder that is no ZenML repository: the active stack then stands in the state folder alone, and runs with
        # other state folders don't rewrite one file of the checkout under each other.
        "ZENML_REPOSITORY_PATH": str(state),
        "ZENML_CUSTOM_SOURCE_ROOT": str(root),
        "ZENML_CONFIG_PATH": str(state / "zenml"),
        **SWITCHES,
    }
    defaults = root / "configs" / "sagemaker.yaml"
    if defaults.is_file():
        settings["SAGEMAKER_ADMIN_CONFIG_OVERRIDE"] = str(defaults)
    for name, value in settings.items():
        os.environ.setdefault(name, value)
    _keep_off_standard_output()
    # What transformers will rename is for those who write code, and stands among what a command says.
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
    without_missing_kernel()
    importable(root)
    return state


def importable(root: Path) -> None:
    """Let functions that a config names be found in the checkout."""
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))
