"""Supervised fine-tuning: rows in, an adapter or full weights out, resumable after a kill at any moment."""

import shutil
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from steps.contracts.code import function_digest
from steps.contracts.dataset import Dataset
from steps.contracts.digests import value_digest
from steps.contracts.errors import ConfigError, IntegrityError, TrainingDataError
from steps.contracts.ledger import Ledger, LedgerWriter
from steps.contracts.models import ModelFolder
from steps.contracts.reports import StageReport
from steps.contracts.storage import writing
from steps.engines.lm.load import load_start, weights_path
from steps.engines.lm.memory import release
from steps.engines.lm.quantized import without_missing_kernel
from steps.engines.progress.progress import Progress, Stopwatch
from steps.engines.template.config import TemplateConfig
from steps.engines.template.effective import config_of
from steps.train import checkpoints as stored
from steps.train.asked import asked_parameters
from steps.train.config import TrainConfig
from steps.train.encoding import rows_of, split_name
from steps.train.fallback import noted, with_less_where_needed
from steps.train.memory_estimate import Estimate, Shape, estimate, free_bytes, model_shape, require_fit
from steps.train.mixture import mixed
from steps.train.objectives.objective import EncodedRows, TrainerParts
from steps.train.objectives.registry import objective_of
from steps.train.plan import make_plan, require_context, sees_other_gpus
from steps.train.ranks.config import Ranks
from steps.train.ranks.launch import in_ranks, job_of
from steps.train.ranks.meeting import Meet, meeting
from steps.train.report import Run, build_report
from steps.train.rows_to_encode import RowsToEncode
from steps.train.settings import LIBRARIES, OnMetrics, Plan
from steps.train.start import Start
from steps.train.token_cache import Means
from steps.train.vocabulary import (
    embed_new_tokens,
    let_head_be_read,
    require_embeddings_trained,
    tokenizer_of,
    with_new_tokens,
)
from steps.train.watching.course import kept_step, stops_early
from steps.train.weights.kind import Draw, WeightsKind
from steps.train.weights.registry import weights_of

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Trained:
    """The tuned model, what was measured, and a ledger of the rows that were not trained on or cut."""

    model: ModelFolder
    report: StageReport
    ledger: Ledger


def train(
    base: ModelFolder,
    dataset: Dataset,
    config: TrainConfig,
    folder: Path,
    checkpoints: Path,
    on_metrics: OnMetrics | None = None,
    adapter: ModelFolder | None = None,
    means: Means | None = None,
    journal: Path | None = None,
    ranks: Ranks | None = None,
    asked: Mapping[str, Start] | None = None,
    meet: Meet | None = None,
) -> Trained:
    """Run one phase: fine-tune `base`, or `adapter` over it, on the phase's rows.

    Args:
        folder: the model goes to `folder/model`, the ledger to `folder/ledger.parquet`.
        checkpoints: parent of the checkpoint folder. That one is named by a digest of config, dataset, base and
            library versions, so that a run resumes only from its own checkpoints.
        on_metrics: called with (optimizer step, metrics); after a resume, with the remaining steps only.
        adapter: the model of an earlier phase where that is an adapter; training starts from the merged weights.
        means: where rows become tokens, and are kept; None: in this process, for this run.
        journal: file for what is seen while it trains (`watching/journal.py`); None: nowhere.
        ranks: processes that train together; None: this one alone.
        asked: the models that the objective asks, by `ModelSource.key`.
        meet: where the machines find each other, if several train.

    Raises:
        TrainingDataError: the rows can't be trained on (see the mask lint), or its loss goes away.
        WorkerDiedError: one of the processes that train together has died.
        ConfigError: settings contradict each other, the data, the model or the machine.
    """
    without_missing_kernel()
    from steps.train.trainer import explained, torch_settings

    watch = Stopwatch()
    chosen = rows_of(dataset, config.rows)
    if config.eval_steps and not _validates(chosen, config):
        raise ConfigError(
            f"eval_steps is {config.eval_steps}, but there are no validation rows",
            hint="give the split stage a validation share, or leave eval_steps out",
        )
    start = Start(base, adapter, asked or {})
    with torch_settings(config.num_threads), ExitStack() as cleanup:
        tokenizer = tokenizer_of(start, config)
        objective_of(config.objective).require_asked(tokenizer, start.asked)
        plan = make_plan(config, len(tokenizer), ranks)
        require_context(_described(weights_path(base)), config)
        shape = replace(model_shape(weights_path(base), config), asked=asked_parameters(start.asked))
        memory = _memory(shape, config, plan)
        # Not beside the checkpoints, which are every run's of this key: what is mapped must be nobody else's.
        tokens = folder / "tokens"
        cleanup.callback(shutil.rmtree, tokens, ignore_errors=True)
        template = config_of(start.model.info.template)
        nodes = cleanup.enter_context(meeting(ranks or Ranks(), plan, meet, config.stage))
        rows, ledger = encode_rows(chosen, tokenizer, template, config, tokens, folder, means)
        home = checkpoints / run_key(start, dataset, config, plan)
        cleanup.enter_context(stored.alone(home))

        def attempt(now: TrainConfig, how: Plan) -> tuple[ModelFolder, Run]:
            resume, model_folder = stored.newest_whole(home), folder / "model"
            if how.strategy != "none" or sees_other_gpus(how):
                job = job_of(start, rows, now, how, dataset.digest, model_folder, home, resume, tokens, journal)
                return in_ranks(job, folder / "ranks", on_metrics, nodes)
            with explained(now, how):
                made, run = tuned(
                    start, tokenizer, rows, now, how, dataset.digest, model_folder, home, resume, on_metrics,
                    Progress("train", unit="steps"), journal,
                )  # fmt: skip
            assert made is not None, "of one process it is the first"
            return made, run

        (model, run), plan, fallbacks = with_less_where_needed(
            attempt, lambda now, how: estimate(shape, now, how).total, config, plan, home, lambda: _newest_step(home)
        )
        model, run = noted(model, fallbacks), replace(run, fallbacks=fallbacks)
        release()
        stored.keep_newest(home, 1, run.best_step)
    report = build_report(
        config, plan, rows.encoding, rows.validation_encoding, rows.mixture, run, memory, model, watch
    )
    return Trained(model, report, ledger)


def run_key(start: Start, dataset: Dataset, config: TrainConfig, plan: Plan) -> str:
    """Name of a run's checkpoint folder, 32 hex characters: equal only for runs that give equal weights."""
    parts = {
        "config": config.model_dump(mode="json", exclude={"hub_model_id"}),
        "plan": {name: value for name, value in asdict(plan).items() if name != "nodes"},
        "dataset": dataset.digest,
        "base": start.base.info.digest,
        "template": start.model.info.template.model_dump(mode="json") if start.model.info.template else None,
        "adapter": start.adapter.info.digest if start.adapter else None,
        "versions": {name: version(name) for name in (*LIBRARIES, *(["deepspeed"] if plan.zero_stage else []))},
    }
    if start.asked:
        parts["asked"] = {key: model.model.info.digest for key, model in start.asked.items()}
    if functions := objective_of(config.objective).functions():
        parts["functions"] = {place: function_digest(place) for place in functions}
    return value_digest(parts)[:32]


def _described(weights: Path) -> dict[str, Any]:
    from transformers import AutoConfig

    described = AutoConfig.from_pretrained(str(weights), trust_remote_code=False, local_files_only=True)
    return dict(described.to_dict())


def tuned(
    start: Start,
    tokenizer: "PreTrainedTokenizerBase",
    rows: EncodedRows,
    config: TrainConfig,
    plan: Plan,
    dataset_digest: str,
    folder: Path,
    home: Path,
    resume: Path | None,
    on_metrics: OnMetrics | None,
    progress: Progress,
    journal: Path | None,
) -> tuple[ModelFolder | None, Run]:
    """The model loaded, trained and saved; nothing but cycles holds its weights afterwards. Of several ranks the first
    has the model.
    """
    from steps.train.save import save_model

    if plan.zero_stage:
        from steps.train.ranks.zero import begin

        begin(plan)
    kind = weights_of(config.weights)
    loaded = load_start(
        start.base, start.adapter, dtype=plan.dtype, device=plan.device, quantization=kind.quantization
    )  # fmt: skip
    if config.attention != "auto":
        loaded.model.set_attn_implementation(config.attention)
    adapter = kind.stored_as == "adapter"
    new = embed_new_tokens(loaded.model, start, tokenizer, config, adapter=adapter)
    kind.know_start(start)
    kind.prepare(loaded.model, Draw(config.seed, len(start.model.info.started_from)))
    if not adapter:
        require_embeddings_trained(loaded.model, new)
    trainer, run = _fit(
        loaded.model, kind, tokenizer, rows, config, plan, start.asked, home, resume, on_metrics, progress, journal
    )
    first = trainer.is_world_process_zero()
    if plan.strategy == "fsdp2":
        from steps.train.ranks.sharded import gather

        gather(trainer.model, keep=first)
    elif plan.zero_stage:
        from steps.train.ranks.zero import put_together

        put_together(trainer.model, keep=first)
    if not first:
        return None, run
    ends = sorted(rows.encoding.lint.end_tokens)
    return save_model(trainer.model, kind, tokenizer, start, config, plan, dataset_digest, ends, folder), run


def _newest_step(home: Path) -> int:
    newest = stored.newest_whole(home)
    return stored.step_of(newest) if newest else 0


def _memory(shape: Shape, config: TrainConfig, plan: Plan) -> Estimate:
    """The estimate; on a GPU it must fit, on a CPU (which can swap) it is only reported."""
    available = free_bytes(plan.device)
    if plan.device == "cuda":
        return require_fit(shape, config, plan, available)
    return estimate(shape, config, plan, available)


def _validates(dataset: Dataset, config: TrainConfig) -> bool:
    """Whether there are validation rows that the phase doesn't train on."""
    return config.rows.split != "validation" and bool(dataset.manifest.splits.get("validation"))


def encode_rows(
    dataset: Dataset,
    tokenizer: "PreTrainedTokenizerBase",
    template: TemplateConfig,
    config: TrainConfig,
    tokens: Path,
    folder: Path,
    means: Means | None,
) -> tuple[EncodedRows, Ledger]:
    """The rows that are trained on and those of the validation loss, as tokens; and what became of the others."""
    objective, split = objective_of(config.objective), split_name(dataset, config.rows.split)
    with LedgerWriter(folder / "ledger.parquet", config.stage) as writer:
        seen, mixture = mixed(dataset, split, config.rows.mixture, config.seed, writer)
        given = RowsToEncode(
            seen, split, tokenizer, template, config, tokens / "train.arrow", writer, means=means
        )  # fmt: skip
        rows, encoding = objective.encode(given)
        if (places := encoding.mixed(mixture)) is not None:
            rows = rows.select(places)
        ledger = writer.close()
    validation, validation_encoding = None, None
    if _validates(dataset, config):
        # A validation row that can't be used is left out of the loss and counted; it is no reason to stop.
        lenient = config.model_copy(update={"max_unusable_share": 1.0, "unusable_rows": "drop", "overlong": "drop"})
        given = RowsToEncode(
            dataset, "validation", tokenizer, template, lenient, tokens / "validation.arrow",
            limit=config.max_eval_rows, means=means,
        )  # fmt: skip
        try:
            validation, validation_encoding = objective.held_out().encode(given)
        except TrainingDataError as e:
            encoding.notes.append(f"no validation row can be used: {e.what}")
    return EncodedRows(rows, validation, encoding, validation_encoding, mixture), ledger


def _fit(
    model: Any,
    kind: WeightsKind,
    tokenizer: "PreTrainedTokenizerBase",
    rows: EncodedRows,
    config: TrainConfig,
    plan: Plan,
    asked: Mapping[str, Start],
    home: Path,
    resume: Path | None,
    on_metrics: OnMetrics | None,
    progress: Progress,
    journal: Path | None,
) -> tuple[Any, Run]:
    """Train, from a whole checkpoint where there is one; the last step is always a checkpoint."""
    from steps.train.hub_copies import hub_copies
    from steps.train.trainer import Recorder, explained, own_config, say_trained, seed_rank, summed
    from steps.train.watching.samples import rendered
    from steps.train.watching.watcher import Watcher

    with progress, own_config(model), Watcher(config, progress, journal, on_metrics) as watcher:
        done_before = stored.step_of(resume) if resume else 0
        recorder = Recorder(config, progress, watcher.metrics, done_before)
        peft_config = with_new_tokens(kind.peft_config(model), model, tokenizer, config)
        parts = TrainerParts(model, tokenizer, rows, config, plan, peft_config, home, recorder, asked)
        trainer = objective_of(config.objective).trainer(parts)
        let_head_be_read(trainer.model)
        kind.begin(trainer, config)
        if trainer.is_world_process_zero():
            say_trained(trainer.model)
        if plan.strategy == "fsdp2":
            from steps.train.ranks.sharded import shard

            shard(trainer, plan, adapter=kind.stored_as == "adapter")
        elif plan.zero_stage:
            from steps.train.ranks.zero import by_engine

            by_engine(trainer, plan)
        watcher.watch(trainer, done_before, config.stage, rendered(tokenizer, config.sample_prompts), tokenizer)
        # Before a checkpoint is loaded the model is what the phase starts from: a new adapter adds nothing.
        before = _measured(trainer.evaluate())
        seed_rank(trainer.args)
        start = time.monotonic()
        with (
            explained(config, plan),
            writing(home),
            hub_copies(trainer, config.hub_model_id, config.save_total_limit) as copies,
        ):
            if resume is None or not _is_finished(trainer, resume, config):
                trainer.train(resume_from_checkpoint=str(resume) if resume else None)
            seconds = time.monotonic() - start
        best = _use_best(trainer, home, config)
        at = trainer.state.global_step if best is None else best
        done = [h for h in trainer.state.log_history if "eval_loss" in h and h["step"] == at]
        after = _measured(done[-1] if done else trainer.evaluate())
        watcher.validated(at, rows)
    run = Run(
        steps=int(trainer.state.global_step),
        resumed_from=stored.step_of(resume) if resume else None,
        history=tuple(trainer.state.log_history),
        before=before,
        after=after,
        seconds=seconds,
        tokens=summed(trainer.tokens_seen, trainer.args),
        trained=summed(trainer.trained_seen, trainer.args),
        sequences=len(trainer.train_dataset),
        notes=(*getattr(trainer, "notes", ()), *copies),
        best_step=best,
    )
    return trainer, run


def _use_best(trainer: Any, home: Path, config: TrainConfig) -> int | None:
    """Give the model the weights of the lowest validation loss, where they are wanted; returns their step."""
    best = kept_step(trainer.state.log_history, config)
    if best is not None and best != trainer.state.global_step:
        checkpoint = stored.at_step(home, best)
        if checkpoint is None:
            raise IntegrityError(
                f"the checkpoint of the best step {best} is gone or damaged", where=str(home),
                hint="remove this folder: training then starts anew",
            )  # fmt: skip
        trainer._load_from_checkpoint(str(checkpoint))
    return best


def _is_finished(trainer: Any, checkpoint: Path, config: TrainConfig) -> bool:
    """Whether a checkpoint is of the last step, or the one that training stopped at; then the trainer has its weights
    and its history.

    transformers would train one step more, where the last step isn't the last one of an epoch.
    """
    from transformers import TrainerState

    state = TrainerState.load_from_json(str(checkpoint / "trainer_state.json"))
    if state.global_step < state.max_steps and not stops_early(state.log_history, config):
        return False
    trainer._load_from_checkpoint(str(checkpoint))
    trainer.state = state
    return True


def _measured(logged: dict[str, Any]) -> dict[str, float]:
    """What was measured on the validation rows, without the step and epoch that are logged beside it."""
    return {name: float(value) for name, value in logged.items() if name.startswith("eval_")}
