"""The export step: it writes a model, holds what answers then against it, and has the answers graded as an evaluation.

The stages export and evaluate know nothing of each other: they meet here.
"""

import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, NamedTuple

import materializers.all  # noqa: F401 - says how the outputs are stored
from steps.contracts.dataset import Dataset
from steps.contracts.evaluation import Answers, Decision, EvalReport, Registration
from steps.contracts.exports import ExportsManifest, ModelExports, ParityReport
from steps.contracts.models import ModelFolder
from steps.engines.embed.config import CACHE as EMBEDDINGS
from steps.engines.exports.folder_format import Options, Runtime, Source
from steps.engines.exports.gguf.converter import fetched_converter
from steps.evaluate.config import EvaluateConfig
from steps.export.config import ExportConfig
from steps.export.export import Elsewhere
from steps.zenml_runtime.context import input_root, source_root
from steps.zenml_runtime.state import state_folder, workspace
from steps.zenml_runtime.step import assay_step, cache_key

# What starts the server: the command, in this environment.
_SERVE, _NAME = "from ops.main import app; app()", "model"
_NOT_PROMOTED = "the gate promoted no model, so that nothing was exported"


class ExportOutputs(NamedTuple):
    """The outputs."""

    exports: Annotated[ModelExports, "exports"]
    parity: Annotated[ParityReport, "export_parity"]


def key() -> str:
    """Cache key of this step."""
    libraries = ("torch", "transformers", "peft", "mlflow", "gguf", "xllamacpp", "onnx", "onnxruntime", "rouge-score",
                 "sacrebleu", "jsonschema")  # fmt: skip
    used = ("steps.engines.exports.served", "steps.engines.exports.ask_pyfunc", "ops.commands.serve",
            "ops.serving.app", "ops.serving.desk", "ops.serving.loading", "ops.serving.requests")  # fmt: skip
    return cache_key(__name__, libraries, used_by_path=used)


@assay_step(key)
def export_step(
    base: ModelFolder,
    model: ModelFolder,
    dataset: Dataset,
    decision: Decision,
    registration: Registration,
    evaluated: EvalReport,
    answers: Answers,
    config: ExportConfig,
    evaluate: EvaluateConfig,
    inputs: dict[str, str],
) -> ExportOutputs:
    """Make the exports of a promoted model, and prove them. `evaluated`, `answers`: of that model; `inputs`: digests of
    the files that an evaluation reads.
    """
    from steps.engines.exports.probes import asked_rows, plain, prompts, texts
    from steps.engines.lm.load import load_without_weights
    from steps.evaluate.exported import same_rows
    from steps.export.export import Measured, export

    folder = workspace("export")
    if not decision.promote:
        (folder / "files").mkdir(parents=True)
        digest = model.info.digest
        return ExportOutputs(
            ModelExports(ExportsManifest(model=digest), folder / "files"),
            ParityReport(model=digest, name=evaluated.subject, notes=(_NOT_PROMOTED,)),
        )
    source, root = Source(base, model), input_root("evaluate")
    rows = same_rows(dataset, answers, evaluate, config.max_rows, root)
    said = [*prompts(), *asked_rows(dataset.iter_rows("test"))]
    tokenizer = load_without_weights(base, model).tokenizer
    measured = Measured(
        name=evaluated.subject, asked=said if tokenizer.chat_template else plain(said), texts=texts(),
        context=rows.longest(evaluated, tokenizer), rows=rows.count, scores=rows.trained_scores(),
        scoring=partial(rows.scores, source, folder, state_folder() / EMBEDDINGS),
    )  # fmt: skip
    elsewhere = _elsewhere(config, source, registration, evaluate, folder)
    if not tokenizer.chat_template:
        elsewhere = [e for e in elsewhere if e.name != "server"]
    done = export(
        source, config, measured, elsewhere, folder, Options(llama_cpp=fetched_converter(source_root())),
        device=evaluate.device, num_threads=evaluate.num_threads,
    )  # fmt: skip
    return ExportOutputs(*done)


def _elsewhere(
    config: ExportConfig, source: Source, made: Registration, evaluate: EvaluateConfig, folder: Path
) -> list[Elsewhere]:
    """What answers without an export: the registered version, and the server."""
    from steps.engines.exports.pyfunc_runtime import pyfunc_runtime

    found = []
    scratch = folder / "elsewhere"
    scratch.mkdir(parents=True)
    if "mlflow" in config.runtimes:

        def registered(_: Sequence[int]) -> AbstractContextManager[Runtime]:
            return pyfunc_runtime(made.model_uri, made.tracking_uri, scratch)

        found.append(Elsewhere("mlflow", evaluate.dtype, registered))
    if "server" in config.runtimes:
        served = partial(_served, source, evaluate, scratch)
        found.append(Elsewhere("server", evaluate.dtype, served, texts=False))
    return found


@contextmanager
def _served(source: Source, evaluate: EvaluateConfig, scratch: Path, ends: Sequence[int]) -> Iterator[Runtime]:
    """`assay serve` over the model's own files; where the run changed the chat template, over merged ones, which have
    it written into them.
    """
    from steps.engines.exports.merged import save_merged
    from steps.engines.exports.server_runtime import server_runtime
    from steps.engines.lm.load import weights_path

    folder = weights_path(source.model)
    over = ["--over", str(weights_path(source.base))] if source.model.info.kind == "adapter" else []
    if source.model.info.template is not None:
        folder, over = scratch / "served", []
        save_merged(source, folder, "float32")
    settings = {"dtype": evaluate.dtype, "device": evaluate.device, "num_threads": evaluate.num_threads}
    said = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    command = [sys.executable, "-c", _SERVE, "serve", str(folder), *over, "--as", _NAME, "--port", "0", *said]
    with server_runtime(command, _NAME, ends, source_root(), scratch) as runtime:
        yield runtime
