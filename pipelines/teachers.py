"""Whether teachers read the tokens of the models that they teach, where one of the two is registered: told by a run's
first step, before a row is read.
"""

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from zenml.io import fileio

from materializers import layout
from pipelines.config import RunConfig
from steps.base.config import BaseConfig
from steps.base.inputs import on_this_machine
from steps.base.registered import looked_at
from steps.engines.tracking.registered_files import RegisteredFiles
from steps.train.asked import require_same_vocabulary
from steps.train.config import added_tokens
from steps.train.objectives.registry import objective_of
from steps.zenml_runtime.models import made_by

_FILES = ("tokenizer.json", "tokenizer_config.json", "config.json")


def require_teachers_fit(
    config: RunConfig, root: Path, base: Mapping[str, str], asked: Mapping[str, Mapping[str, str]]
) -> None:
    """Compare tokenizers; of models that are on no disk here and in no registry nothing is known. `base`, `asked`: the
    registered models, as `find_registered_base` and `find_asked_models` found them.

    Raises:
        ConfigError: a teacher has another vocabulary.
    """
    if config.base is None:
        return
    for phase in config.phases:
        for source in objective_of(phase.objective).asks() if phase.objective.kind == "distill" else ():
            if source.model is None or not (base or source.registered):
                continue
            with TemporaryDirectory(prefix="assay-tokenizers-") as scratch:
                named = BaseConfig(model=source.model, revision=source.revision)
                own = _folder(base, config.base, root, Path(scratch, "own"))
                other = _folder(asked.get(source.key, {}), named, root, Path(scratch, "other"))
                if own is not None and other is not None:
                    added = added_tokens(config.phases, phase.model_name)
                    require_same_vocabulary(own, other, added, f"train.objective.teacher: {source.key}")


def _folder(registered: Mapping[str, str], named: BaseConfig, root: Path, scratch: Path) -> Path | None:
    """Where a model's tokenizer and description are; those of a registered one are copied to `scratch`."""
    if not registered:
        return None if named.registered or named.is_built else on_this_machine(root, named)
    scratch.mkdir()
    if not registered["run"]:
        files = RegisteredFiles(registered["registry"], registered["name"], registered["version"])
        wanted = [n for n in looked_at(files).files if Path(n).name in _FILES]
        files.fetch(wanted, scratch)
        for name in wanted:
            (scratch / name).rename(scratch / Path(name).name)
        return scratch
    uri = str(made_by(registered["run"])[registered["weights"]].uri)
    for name in _FILES:
        file = layout.model_file(uri, name)
        if fileio.exists(file):
            fileio.copy(file, str(scratch / name), overwrite=True)
    return scratch
