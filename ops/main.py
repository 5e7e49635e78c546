"""The `assay` command. Each command's work lies in a module of its own that is imported when it is called."""

import io
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer.core import TyperCommand, TyperGroup

from ops.commands.judge import judge as judge_commands
from ops.commands.options import BY_OPTIONS, Json, Overrides, reads, root_folder
from ops.commands.review_group import review as review_commands
from ops.commands.schedule import schedule as schedule_commands
from ops.commands.stack import stack as stack_commands
from ops.commands.suite import suite as suite_commands
from steps.contracts.errors import AssayError, ConfigError, MissingDependencyError
from steps.contracts.storage import full_disk
from steps.zenml_runtime.light_start import start_light

if TYPE_CHECKING:
    from ops.reading import Reading

INTERRUPTED = 130
TERMINATED = 143
# An error that isn't the user's to mend.
INTERNAL = 1
# A module of these that isn't there is a fault.
_OURS = ("materializers", "ops", "pipelines", "steps")


class _Commands(TyperGroup):
    """Turns errors into one clear message and an exit status (docs/cli.md lists them)."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            with _terminable():
                return super().invoke(ctx)
        except KeyboardInterrupt as e:
            print("interrupted; finished steps are kept", file=sys.stderr)
            raise typer.Exit(TERMINATED if isinstance(e, Terminated) else INTERRUPTED) from e
        except (typer.Exit, typer.Abort, BrokenPipeError):
            raise
        except Exception as e:
            if _is_usage_error(e):
                raise
            known = full_disk(e) or _missing(e) or e
            _report(known)
            raise typer.Exit(known.exit_code if isinstance(known, AssayError) else INTERNAL) from e


class Terminated(KeyboardInterrupt):
    """SIGTERM: what a scheduler or an init system sends before SIGKILL. It ends a command as Ctrl-C does."""


@contextmanager
def _terminable() -> Iterator[None]:
    """Within, SIGTERM raises `Terminated`, and SIGINT what Ctrl-C does also where it was to be ignored, as it is in
    what a script leaves in the background. ZenML's own handler, which a running step sets, calls these.
    """

    def terminate(_signal: int, _frame: object) -> None:
        raise Terminated

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers: dict[int, Any] = {signal.SIGTERM: terminate}
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        handlers[signal.SIGINT] = signal.default_int_handler
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _StageCommand(TyperCommand):
    """Names the stages in its help; they are imported when they are asked for."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Parameters, with the names of the stages."""
        from pipelines.stages import CURATION

        params = super().get_params(ctx)
        *others, last = (s.name for s in CURATION)
        param: Any
        for param in params:
            if param.name == "name":
                param.help = f"{', '.join(others)} or {last}"
        return params


def _open_outputs() -> None:
    """Output that was closed (`>&-`) goes nowhere, before a file of ours takes its number; what a terminal's encoding
    can't say is a question mark.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 (open until the end)
        elif isinstance(stream, io.TextIOWrapper) and stream.encoding.lower() not in ("utf-8", "utf8"):
            stream.reconfigure(errors="replace")


def _is_usage_error(error: Exception) -> bool:
    return hasattr(error, "format_message") and hasattr(error, "exit_code")


def _missing(error: Exception) -> MissingDependencyError | None:
    """What isn't installed of that which always is, as an error of ours; None: that isn't what failed."""
    if not isinstance(error, ModuleNotFoundError) or str(error.name).partition(".")[0] in _OURS:
        return None
    return MissingDependencyError(
        f"the package {error.name} isn't installed", where=sys.prefix,
        hint="pip install -c constraints.txt -e . in this environment, from the checkout",
    )  # fmt: skip


def _report(error: Exception) -> None:
    from ops.console import complain, explain_error

    if os.environ.get("ASSAY_TRACEBACK") == "1":
        traceback.print_exception(error)
    elif isinstance(error, AssayError):
        complain(explain_error(error))
    else:
        place = traceback.extract_tb(error.__traceback__)[-1]
        complain(
            f"error: {type(error).__name__}: {str(error)[:500]}\n  at {place.filename}:{place.lineno};"
            " this is a fault of assay or of a library, ASSAY_TRACEBACK=1 shows more"
        )


app = typer.Typer(
    name="assay",
    cls=_Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="From raw text to a registered, audited, fine-tuned LLM.",
    epilog="Exit status: 0 done, 1 fault, 2 configuration, 3 input, 4 missing dependency, 5 service, 6 storage,"
    " 7 integrity, 8 pickle refused, 9 a step's time limit, 130 interrupted, 143 terminated.",
)


def _tell_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"assay {version('assay')}")
        raise typer.Exit


@app.callback()
def assay(
    version: Annotated[
        bool, typer.Option("--version", callback=_tell_version, is_eager=True, help="the version, and nothing else")
    ] = False,
) -> None:
    """From raw text to a registered, audited, fine-tuned LLM."""


Templates = Literal["all", "even", "odd"]

Yes = Annotated[bool, typer.Option("--yes", help="remove it; without, only what would go is shown")]
Workers = Annotated[
    int | None, typer.Option(min=1, help="processes for row-wise work, instead of run.executor of the infra file")
]

Slot = Annotated[
    str | None,
    typer.Option(
        metavar="TIME|now", help="moment that the run stands for, with its offset; sources' paths may hold it"
    ),
]


def _quiet(json_output: bool) -> None:
    if json_output:
        os.environ["ASSAY_PROGRESS"] = "off"


@app.command(rich_help_panel="Run")
def run(
    config: Annotated[Path, typer.Argument(help="what to do: a file of configs/runs/")],
    infra: Annotated[str | None, typer.Option(help="where: a name in configs/infra/")] = None,
    stack: Annotated[str | None, typer.Option(help="ZenML stack; overrides the one that --infra names")] = None,
    overrides: Overrides = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="check everything and show the plan; run nothing")] = False,
    no_cache: Annotated[
        bool, typer.Option("--no-cache", help="run every step, also those that are in the cache")
    ] = False,
    workers: Workers = None,
    slot: Slot = None,
    schedule: Annotated[str | None, typer.Option(help="name of what wanted that slot, for the run's record")] = None,
    if_changed: Annotated[
        bool, typer.Option("--if-changed", help="do nothing when the newest completed run read just the same")
    ] = False,
    detach: Annotated[
        bool, typer.Option("--detach", help="submit the run and don't wait for its end; where steps run elsewhere")
    ] = False,
    tags: Annotated[
        list[str] | None, typer.Option("--tag", metavar="KEY=VALUE", help="tag its run in the stack's tracker")
    ] = None,
    json_output: Json = False,
) -> None:
    """Run a pipeline from a config file."""
    from steps.engines.imports.arrow import leave_pandas

    leave_pandas()
    from ops.run import run as run_pipeline

    status = run_pipeline(
        config,
        infra=infra,
        stack=stack,
        overrides=overrides or [],
        dry_run=dry_run,
        no_cache=no_cache,
        workers=workers,
        json_output=json_output,
        root=root_folder(),
        slot=slot,
        schedule=schedule,
        if_changed=if_changed,
        detach=detach,
        tags=tags or [],
    )
    raise typer.Exit(status)


@app.command(rich_help_panel="Run")
def sweep(
    config: Annotated[Path, typer.Argument(help="what to try: a file of configs/sweeps/")],
    infra: Annotated[str | None, typer.Option(help="where: a name in configs/infra/")] = None,
    stack: Annotated[str | None, typer.Option(help="ZenML stack; overrides the one that --infra names")] = None,
    overrides: Overrides = None,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="the board as a page; default: in the state folder")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="check every trial and list them; run nothing")] = False,
    show: Annotated[bool, typer.Option("--show", help="the board of what is done; run nothing")] = False,
    again: Annotated[bool, typer.Option("--again", help="also trials that failed before")] = False,
    json_output: Json = False,
) -> None:
    """Try values of a config: each trial a run up to the trained model, compared by its validation loss."""
    from ops.commands.sweep import sweep as run_trials

    _quiet(json_output)
    run_trials(root_folder(), config, overrides or [], infra, stack, html, dry_run, show, again, json_output)


@app.command(rich_help_panel="Run")
def ladder(
    config: Annotated[Path, typer.Argument(help="run config whose base, training, evaluation and gate each gets")],
    bases: Annotated[
        list[str],
        typer.Argument(metavar="BASE...", help="models to start from: base.model, or all of base: as a YAML mapping"),
    ],
    infra: Annotated[str | None, typer.Option(help="where: a name in configs/infra/")] = None,
    stack: Annotated[str | None, typer.Option(help="ZenML stack; overrides the one that --infra names")] = None,
    overrides: Overrides = None,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="the table as a page; default: in the state folder")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="check every run; run nothing")] = False,
    whole: Annotated[
        bool, typer.Option("--all", help="run every base, also those larger than one that passes")
    ] = False,
    json_output: Json = False,
) -> None:
    """Tune and gate bases on the same rows, from the smallest to the first that passes."""
    from ops.commands.ladder import climb

    _quiet(json_output)
    climb(root_folder(), config, bases, overrides or [], infra, stack, html, dry_run, json_output, whole)


app.add_typer(schedule_commands, rich_help_panel="Run")
app.add_typer(stack_commands, rich_help_panel="Run")
app.add_typer(suite_commands, rich_help_panel="Look")
app.add_typer(judge_commands, rich_help_panel="Decide")
app.add_typer(review_commands, rich_help_panel="Look")


@app.command(rich_help_panel="Run")
def scheduler(
    at_once: Annotated[
        int | None, typer.Option(min=1, help="so many runs at the same time, of all schedules; default: 4")
    ] = None,
    until_idle: Annotated[
        bool, typer.Option("--until-idle", help="end when nothing is due or runs: for a line of a crontab")
    ] = False,
) -> None:
    """Serve the schedules of this state folder until told to end (SIGTERM, Ctrl-C)."""
    from ops.schedule.scheduler import run_scheduler

    raise typer.Exit(run_scheduler(root_folder(), at_once=at_once, until_idle=until_idle))


@app.command(rich_help_panel="Run")
def init(
    data: Annotated[list[str], typer.Argument(metavar="DATA...", help="files, folders, globs or URLs, each a source")],
    out: Annotated[Path | None, typer.Option(help="file to write; default: NAME.yaml here")] = None,
    name: Annotated[str | None, typer.Option(help="name of the run; default: that of the first file")] = None,
    base: Annotated[str | None, typer.Option(help="model to train: hub id or folder; default: a toy, offline")] = None,
    json_output: Json = False,
) -> None:
    """Look at files of your own and write a commented config for them."""
    from ops.commands.init import write_config

    _quiet(json_output)
    write_config(root_folder(), data, out, name, base, json_output)


@app.command(rich_help_panel="Run")
def validate(
    configs: Annotated[list[Path], typer.Argument(metavar="CONFIG...", help="run configs to check")],
    infra: Annotated[str | None, typer.Option(help="where they would run: a name in configs/infra/")] = None,
    overrides: Overrides = None,
    slot: Slot = None,
    json_output: Json = False,
) -> None:
    """Check run configs, and whether what they name is there: every mistake at once, with its line."""
    from ops.commands.config import validate as check

    _quiet(json_output)
    raise typer.Exit(check(root_folder(), configs, infra, overrides or [], slot, json_output))


@app.command(rich_help_panel="Run")
def plan(
    config: Annotated[Path, typer.Argument(help="run config that trains")],
    device: Annotated[
        str | None, typer.Option(help="card, such as a100-80gb, h100, 4090 or t4; cpu; default: what is here")
    ] = None,
    memory: Annotated[float | None, typer.Option(metavar="GIB", help="of the card, instead of the table's")] = None,
    base: Annotated[
        Path | None, typer.Option(metavar="FILE", help="config.json of the base, or a folder that has it")
    ] = None,
    rows: Annotated[int | None, typer.Option(min=1, help="rows that are trained on, instead of counting them")] = None,
    mfu: Annotated[
        float | None, typer.Option(min=0.01, max=1.0, help="share of the card's peak that training reaches")
    ] = None,
    probe: Annotated[
        int | None, typer.Option(metavar="STEPS", min=3, max=1000, help="train some steps here, and tell time by them")
    ] = None,
    prices: Annotated[Path | None, typer.Option(metavar="FILE", help="your prices of cards (docs/plan.md)")] = None,
    infra: Annotated[
        str | None, typer.Option(help="whose training.processes train together: a name in configs/infra/")
    ] = None,
    gpus: Annotated[
        int | None, typer.Option(min=1, max=1024, help="cards that train together, without an infra file")
    ] = None,
    overrides: Overrides = None,
    json_output: Json = False,
) -> None:
    """Say whether training fits, how long it takes and what it costs, and what to change, before anything is run."""
    from ops.commands.plan import plan as show_plan

    _quiet(json_output)
    fits = show_plan(
        root_folder(), config, overrides or [], device, memory, base, rows, mfu, prices, probe, infra, gpus, json_output
    )
    raise typer.Exit(0 if fits else ConfigError.exit_code)


@app.command(rich_help_panel="Run")
def join(
    wait: Annotated[
        float, typer.Option(metavar="SECONDS", min=1, help="how long no training may ask for another machine")
    ] = 3600.0,
    json_output: Json = False,
) -> None:
    """Train with a run that was started on another machine (nodes of its infra file), until it trains no more."""
    from ops.commands.join import join_training

    _quiet(json_output)
    join_training(root_folder(), wait, json_output)


@app.command(rich_help_panel="Run")
def schema(
    out: Annotated[Path | None, typer.Option(help="write here instead of printing")] = None,
) -> None:
    """Print the JSON Schema of a run config, for editors."""
    from ops.commands.config import schema as export

    export(out)


@app.command(rich_help_panel="Run", cls=_StageCommand)
@reads
def stage(
    name: Annotated[str, typer.Argument()],
    inputs: Annotated[list[str], typer.Argument(metavar="INPUT...", help="files or folders in any known format")],
    out: Annotated[Path, typer.Option(help="folder for kept.parquet, ledger.parquet, report.json, report.html")],
    config: Annotated[Path | None, typer.Option(help="YAML with this stage's keys")] = None,
    overrides: Overrides = None,
    reading: "Reading" = BY_OPTIONS,
    workers: Workers = None,
    json_output: Json = False,
) -> None:
    """Run one curation stage alone on files, without ZenML."""
    from steps.engines.imports.arrow import leave_pandas

    leave_pandas()
    from ops.commands.stage import run_stage

    _quiet(json_output)
    run_stage(name, inputs, out, config, overrides or [], json_output, root_folder, workers, reading)


@app.command("data-report", rich_help_panel="Look")
@reads
def data_report(
    inputs: Annotated[list[str], typer.Argument(metavar="INPUT...", help="files or folders in any known format")],
    against: Annotated[
        list[str] | None, typer.Option(help="files of a second data set, shown beside the first")
    ] = None,
    out: Annotated[Path, typer.Option(help="folder for data_report.html and data_report.json")] = Path("data-report"),
    config: Annotated[Path | None, typer.Option(help="run config (pipeline: data_report), without its sources")] = None,
    overrides: Overrides = None,
    reading: "Reading" = BY_OPTIONS,
    json_output: Json = False,
) -> None:
    """What is to be known of data before training on it: quality, topics, copies, lengths, and if it is enough."""
    from steps.engines.imports.arrow import leave_pandas

    leave_pandas()
    from ops.commands.data_report import run_data_report

    _quiet(json_output)
    run_data_report(inputs, against or [], out, config, overrides or [], json_output, root_folder, reading)


@app.command(rich_help_panel="Run")
@reads
def convert(
    source: Annotated[str, typer.Argument(metavar="IN", help="file or folder in any known format")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="file to write: .jsonl, .json, .csv, .tsv or .parquet")],
    to: Annotated[str, typer.Option(help="openai, alpaca or sharegpt")],
    reading: "Reading" = BY_OPTIONS,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace OUT where it is there already")] = False,
    json_output: Json = False,
) -> None:
    """Convert rows to another chat format."""
    from ops.commands.convert import convert_file

    _quiet(json_output)
    convert_file(source, out, to, reading, overwrite, json_output)


@app.command(rich_help_panel="Run")
def copy(
    what: Annotated[
        str, typer.Argument(metavar="WHAT", help="run:NAME, dataset:DIGEST, model:NAME[/VERSION], or a store's place")
    ],
    target: Annotated[str, typer.Argument(metavar="TARGET", help="a folder, or s3://, az://, gs:// ... bucket/prefix")],
    json_output: Json = False,
) -> None:
    """Copy a run, a dataset version or a model to another store; every file is read back there."""
    from ops.commands.copy import copy as copy_there

    copy_there(root_folder(), what, target, json_output)


@app.command(rich_help_panel="Run")
def export(
    what: Annotated[
        str,
        typer.Argument(
            metavar="DATASET|RUN|MODEL",
            help="rows: run, 'latest', or a dataset digest's beginning; model: models:/NAME@ALIAS, run:RUN or a folder",
        ),
    ],
    to: Annotated[
        str,
        typer.Option(help="rows: openai, sharegpt, alpaca, jsonl, parquet, hub; model: adapter, merged, gguf, onnx"),
    ],
    out: Annotated[
        Path | None, typer.Option(help="folder to write; an earlier export of rows in it is replaced")
    ] = None,
    splits: Annotated[
        list[str] | None, typer.Option("--split", help="only rows of this split: train, validation or test")
    ] = None,
    stage: Annotated[str | None, typer.Option(help="the run's version that this stage left; default: the last")] = None,
    repo: Annotated[str | None, typer.Option(metavar="OWNER/NAME", help="data set to upload to, with --to hub")] = None,
    push_to: Annotated[
        str | None, typer.Option(metavar="OWNER/NAME", help="model: the hub's, to bring it to with its cards; private")
    ] = None,
    public: Annotated[bool, typer.Option("--public", help="what is on the hub may be public")] = False,
    token_env: Annotated[str, typer.Option(help="environment variable with the hub token")] = "HF_TOKEN",
    raw: Annotated[bool, typer.Option("--raw", help="also to the hub: rows that were never scrubbed")] = False,
    dtype: Annotated[
        str, typer.Option(help="model: float32, float16, bfloat16 (merged); f16, bf16, q8_0, q4_k_m (gguf)")
    ] = "auto",
    over: Annotated[str | None, typer.Option(metavar="MODEL", help="what the adapter in a folder lies over")] = None,
    prompts: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="JSON Lines of messages or texts that model and export are asked"),
    ] = None,
    epsilon: Annotated[
        float | None, typer.Option(min=0, help="logits between the two best tokens where an export may say the other")
    ] = None,
    most_differing: Annotated[
        float | None, typer.Option(min=0, max=1, metavar="SHARE", help="of the tokens that an export may say otherwise")
    ] = None,
    pre_tokenizer: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="llama.cpp's rule for a tokenizer that its converter doesn't know"),
    ] = None,
    llama_cpp: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="llama.cpp's checkout; default: ASSAY_LLAMA_CPP, else what make llama-cpp fetched"
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace an earlier export of a model")] = False,
    json_output: Json = False,
) -> None:
    """Write a dataset version or a model as files for other programs; a model's are proven to be the model."""
    from ops.commands import export as commands
    from ops.export.model import ModelExport

    _quiet(json_output)
    if to in commands.model_formats():
        asked = ModelExport(to, dtype, over, prompts, epsilon, pre_tokenizer, llama_cpp, overwrite, most_differing)
        hub = commands.Hub(push_to, token_env, public) if push_to is not None else None
        commands.export_of_model(root_folder(), what, asked, out, json_output, hub)
        return
    if push_to is not None:
        raise ConfigError("only models are pushed so", where="--push-to", hint="rows: --to hub --repo OWNER/NAME")
    commands.export_version(
        root_folder(), what, to, out, splits or [], stage, repo, public, token_env, raw, json_output
    )


@app.command(rich_help_panel="Run")
def release(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="models:/NAME@ALIAS, run:RUN[/MODEL] or a folder")],
    out: Annotated[Path, typer.Option(help="folder to write")],
    to: Annotated[str, typer.Option(help="adapter, merged, gguf or onnx")] = "merged",
    although: Annotated[
        str | None,
        typer.Option(metavar="REASON", help="release what the gate refused, or nobody approved; the reason is kept"),
    ] = None,
    dtype: Annotated[
        str, typer.Option(help="float32, float16, bfloat16 (merged); f16, bf16, q8_0, q4_k_m (gguf)")
    ] = "auto",
    over: Annotated[str | None, typer.Option(metavar="MODEL", help="what the adapter in a folder lies over")] = None,
    prompts: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="JSON Lines of messages or texts that model and release are asked"),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace an earlier release")] = False,
    json_output: Json = False,
) -> None:
    """Write a model with cards, bill of materials, evaluation, approvals and hashes into a signed folder."""
    from ops.commands.release import release_model
    from ops.export.model import ModelExport

    _quiet(json_output)
    asked = ModelExport(to, dtype, over, prompts, overwrite=overwrite)
    release_model(root_folder(), model, asked, out, although, json_output)


@app.command(rich_help_panel="Look")
def verify(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="that assay release wrote")],
    key: Annotated[
        str | None, typer.Option("--key", metavar="PUBLIC", help="that must have signed: itself, or its file")
    ] = None,
    json_output: Json = False,
) -> None:
    """Read a released folder again, on any machine, and hold it against its signed manifest."""
    from ops.commands.verify import verify_folder

    _quiet(json_output)
    raise typer.Exit(verify_folder(folder, key, json_output))


@app.command(rich_help_panel="Look")
def runs(
    run: Annotated[
        list[str] | None, typer.Argument(metavar="[RUN | rm RUN...]", help="show this one; or remove these")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="how many, newest first")] = 20,
    sync: Annotated[bool, typer.Option("--sync", help="first read ZenML's store for runs that are not listed")] = False,
    yes: Yes = False,
    json_output: Json = False,
) -> None:
    """List the runs, show what the stages of one took out and cost, or remove some (rm)."""
    from ops.commands.runs import catch_up, list_runs, show_run

    catch_up(root_folder(), sync)
    first, *more = run or [""]
    if first == "rm" and more:
        from ops.commands.garbage import remove_runs

        remove_runs(root_folder(), more, yes, json_output)
    elif more or first == "rm":
        raise typer.BadParameter("one run is shown at a time; `assay runs rm RUN...` removes several")
    elif first:
        show_run(root_folder(), first, json_output)
    else:
        list_runs(root_folder(), limit, json_output)


@app.command(rich_help_panel="Run")
def repro(
    run: Annotated[str, typer.Argument(help="name, id or a beginning of one; latest: the newest")],
    keep: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="keep its state folder here; else nothing is left of it")
    ] = None,
    here: Annotated[
        bool, typer.Option("--here", help="the code of this checkout, instead of the recorded commit")
    ] = False,
    json_output: Json = False,
) -> None:
    """Run a run again, from its commit, config and inputs, and say what is equal bit by bit, what isn't, and why."""
    from ops.commands.repro import reproduce

    _quiet(json_output)
    raise typer.Exit(reproduce(root_folder(), run, keep, here, json_output))


@app.command(rich_help_panel="Look")
def dashboard(
    zenml_port: Annotated[int | None, typer.Option(help="of ZenML's dashboard; default: 8237")] = None,
    mlflow_port: Annotated[int | None, typer.Option(help="of MLflow's UI; default: 8238")] = None,
) -> None:
    """ZenML's dashboard and MLflow's UI over the local stores, on this machine alone, until Ctrl-C."""
    from ops.dashboards import serve

    serve(root_folder(), zenml_port, mlflow_port)


@app.command(rich_help_panel="Look")
def status(json_output: Json = False) -> None:
    """Schedules, what is running, how fresh datasets and models are, and what needs a person."""
    from ops.commands.runs import catch_up
    from ops.commands.status import show_status

    catch_up(root_folder(), False)
    show_status(root_folder(), json_output)


@app.command(rich_help_panel="Look")
def gc(
    yes: Yes = False,
    grace: Annotated[
        str,
        typer.Option(metavar="TIME", help="what was changed so lately stays: 12h, 7d, 0d; longer than any run takes"),
    ] = "7d",
    store: Annotated[
        str | None,
        typer.Option(metavar="URI", help="an artifact store; default: that of the state folder, and its caches"),
    ] = None,
    without_registry: Annotated[
        list[str] | None, typer.Option(metavar="URI", help="a registry that is gone for good, and isn't asked")
    ] = None,
    json_output: Json = False,
) -> None:
    """Show what of an artifact store nothing needs any more, and how much room it takes; remove it with --yes."""
    from ops.commands.garbage import collect_garbage

    _quiet(json_output)
    raise typer.Exit(collect_garbage(root_folder(), yes, grace, store, without_registry or (), json_output))


@app.command(rich_help_panel="Look")
def erase(
    rows: Annotated[list[str] | None, typer.Argument(metavar="[ROW]...", help="record id, or words of a row")] = None,
    source: Annotated[list[str] | None, typer.Option(metavar="NAME", help="all rows of a source (repeatable)")] = None,
    subject: Annotated[
        list[str] | None,
        typer.Option(metavar="VALUE", help="all rows with this name, address or number; - asks for it (repeatable)"),
    ] = None,
    also: Annotated[
        list[str] | None, typer.Option(metavar="FOLDER", help="look there as well, e.g. in backups (repeatable)")
    ] = None,
    go_on: Annotated[bool, typer.Option("--continue", help="finish the erasure that was begun")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="carry it out; without, only the plan is shown")] = False,
    json_output: Json = False,
) -> None:
    """Erase rows, a source or a person from all that runs have left, and certify it (docs/erasure.md)."""
    from ops.commands.erase import carry_out, finish, requested, show_plan

    request = requested(rows or [], source or [], subject or [])
    if go_on:
        finish(root_folder(), request, json_output)
    else:
        (carry_out if yes else show_plan)(root_folder(), request, also or [], json_output)


@app.command(rich_help_panel="Look")
def report(
    run: Annotated[str | None, typer.Argument(help="name, id or a beginning of one; default: the newest")] = None,
    open_it: Annotated[bool, typer.Option("--open", help="open it in the browser")] = False,
    refresh: Annotated[bool, typer.Option("--refresh", help="render it again from the artifacts")] = False,
    json_output: Json = False,
) -> None:
    """Print the path of a run's one-page report."""
    from ops.commands.runs import show_report

    show_report(root_folder(), run, open_it, refresh, json_output)


Target = Annotated[str, typer.Argument(metavar="RUN|FILE", help="a run, 'latest', or a file, folder, glob or URL")]
StageOfRun = Annotated[str | None, typer.Option("--stage", help="of a run: the version that this stage made")]
DroppedFor = Annotated[
    str | None, typer.Option("--dropped", metavar="REASON", help="of a run: rows taken out for a reason that begins so")
]
HowMany = Annotated[int, typer.Option("-n", min=1, help="rows, at most")]
OfSplit = Annotated[
    Literal["train", "validation", "test"] | None, typer.Option("--split", help="only train, validation or test")
]
RawText = Annotated[bool, typer.Option("--raw", help="of a run: also text that was never scrubbed")]
Whole = Annotated[bool, typer.Option("--whole", help="don't cut long texts")]


@app.command(rich_help_panel="Look")
@reads
def head(
    target: Target,
    stage: StageOfRun = None,
    dropped: DroppedFor = None,
    rows: HowMany = 5,
    split: OfSplit = None,
    raw: RawText = False,
    whole: Whole = False,
    reading: "Reading" = BY_OPTIONS,
    json_output: Json = False,
) -> None:
    """Show the first rows of a run or a file, as assay reads them."""
    from ops.commands.head import show_rows
    from ops.row_samples import Choice

    _quiet(json_output)
    show_rows(root_folder(), target, stage, dropped, reading, Choice(rows, None, split, raw), whole, json_output)


@app.command(rich_help_panel="Look")
@reads
def sample(
    target: Target,
    stage: StageOfRun = None,
    dropped: DroppedFor = None,
    rows: HowMany = 5,
    seed: Annotated[int, typer.Option(help="another seed, other rows")] = 0,
    split: OfSplit = None,
    raw: RawText = False,
    whole: Whole = False,
    reading: "Reading" = BY_OPTIONS,
    json_output: Json = False,
) -> None:
    """Show rows drawn from all of a run or a file."""
    from ops.commands.head import show_rows
    from ops.row_samples import Choice

    _quiet(json_output)
    show_rows(root_folder(), target, stage, dropped, reading, Choice(rows, seed, split, raw), whole, json_output)


@app.command(rich_help_panel="Look")
def watch(
    run: Annotated[
        str | None, typer.Argument(help="name, id or a beginning of one; default: what was trained last")
    ] = None,
    serve: Annotated[bool, typer.Option("--serve", help="as a page on this machine's own address")] = False,
    port: Annotated[int, typer.Option(min=0, max=65535, help="of --serve; 0: any that is free")] = 8239,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="write the page as it is now")] = None,
    once: Annotated[bool, typer.Option("--once", help="show what there is by now, and don't wait for more")] = False,
    json_output: Json = False,
) -> None:
    """Watch a training: losses, speed, memory, time left, samples; also one that has ended."""
    from ops.commands.watch import watch as look

    look(root_folder(), run, html, serve, port, not once, json_output)


@app.command("show-batch", rich_help_panel="Look")
def show_batch(
    config: Annotated[Path, typer.Argument(help="run config")],
    phase: Annotated[str | None, typer.Option(help="phase of training; default: the first")] = None,
    step: Annotated[int, typer.Option(min=1, help="optimizer step")] = 1,
    rows: Annotated[int, typer.Option("--rows", min=1, help="lines of the batch, at most")] = 8,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="write it as a page, token by token")] = None,
    raw: RawText = False,
    overrides: Overrides = None,
    json_output: Json = False,
) -> None:
    """Show a batch as it is trained: what is trained, packed, padded, cut or left out. Nothing is run."""
    from steps.engines.imports.arrow import leave_pandas

    leave_pandas()
    from ops.commands.show_batch import show_batch as show

    _quiet(json_output)
    show(root_folder(), config, overrides or [], phase, step, rows, html, raw, json_output)


@app.command(rich_help_panel="Look")
def explain(
    row: Annotated[str, typer.Argument(help="record id, a beginning of one, or text to search for")],
    run: Annotated[str | None, typer.Option(help="look in this run alone; default: in all")] = None,
    raw: Annotated[bool, typer.Option("--raw", help="show an excerpt of rows that were never scrubbed")] = False,
    most: Annotated[int, typer.Option("-n", min=1, help="of several rows that fit, list so many")] = 20,
    json_output: Json = False,
) -> None:
    """Follow one row through every stage of all runs, with the evidence."""
    from ops.commands.explain import explain_row

    raise typer.Exit(explain_row(root_folder(), row, run, raw, most, json_output))


@app.command("where-used", rich_help_panel="Look")
def where_used(
    what: Annotated[str | None, typer.Argument(help="record id or a beginning of one, or a source by its name")] = None,
    subject: Annotated[
        list[str] | None, typer.Option(metavar="VALUE", help="a person's value; - reads values from standard input")
    ] = None,
    in_text: Annotated[bool, typer.Option("--in-text", help="also rows whose text holds a value of --subject")] = False,
    json_output: Json = False,
) -> None:
    """Name every dataset version, run, model and export that contains a row, a source or a person."""
    from ops.commands.where_used import show_uses

    raise typer.Exit(show_uses(root_folder(), what, subject or [], in_text, json_output))


@app.command(rich_help_panel="Look")
def diff(
    a: Annotated[str, typer.Argument(help="run, 'latest', or the beginning of a dataset digest")],
    b: Annotated[
        str | None, typer.Argument(help="the same; default: the newest, or the one before for 'latest'")
    ] = None,
    rows: Annotated[int, typer.Option("--rows", min=0, help="examples of added, removed and changed rows")] = 0,
    json_output: Json = False,
) -> None:
    """Say which rows one dataset version has more, less and otherwise than another, and why."""
    from ops.commands.diff import show_difference

    show_difference(root_folder(), a, b, rows, json_output)


@app.command("why-rerun", rich_help_panel="Look")
def why_rerun(
    run: Annotated[str, typer.Argument(help="run, by name, id or a beginning of one, or 'latest'")],
    step: Annotated[str, typer.Argument(help="step, such as dedup")],
    json_output: Json = False,
) -> None:
    """Say why a step of a run ran and wasn't taken from the cache: which part of its key had changed."""
    from ops.commands.reruns import show_why

    _quiet(json_output)
    show_why(root_folder(), run, step, json_output)


@app.command(rich_help_panel="Look")
def stale(
    config: Annotated[Path, typer.Argument(help="run config")],
    infra: Annotated[str | None, typer.Option(help="where: a name in configs/infra/")] = None,
    stack: Annotated[str | None, typer.Option(help="ZenML stack; overrides the one that --infra names")] = None,
    overrides: Overrides = None,
    slot: Slot = None,
    json_output: Json = False,
) -> None:
    """Say which steps a run of a config would run, and which part of each key has changed. Nothing is run."""
    from ops.commands.reruns import show_stale

    _quiet(json_output)
    show_stale(root_folder(), config, infra, stack, overrides or (), slot, json_output)


@app.command(rich_help_panel="Look")
def audit(
    model: Annotated[
        str,
        typer.Argument(
            metavar="[REGISTRY#]MODEL[@ALIAS|/VERSION]|run:RUN|dataset:DIGEST",
            help="registered model; or the dataset that a run ended with, or that a digest names",
        ),
    ],
    verify: Annotated[
        bool, typer.Option("--verify", help="read everything again, and hold it against the records and the registry")
    ] = False,
    key: Annotated[
        str | None,
        typer.Option("--key", metavar="PUBLIC", help="verify, and that this key signed: itself, or its file"),
    ] = None,
    json_output: Json = False,
) -> None:
    """Say everything behind a registered model or a dataset, and whether it is still what was recorded."""
    from ops.commands import audit as commands

    raise typer.Exit(commands.audit(root_folder(), model, verify, key, json_output))


ModelName = Annotated[str, typer.Argument(metavar="MODEL", help="models:/NAME@ALIAS, run:RUN[/MODEL] or a folder")]
Over = Annotated[str | None, typer.Option(metavar="MODEL", help="what adapters in folders lie over")]


@app.command(rich_help_panel="Run")
def serve(
    model: ModelName,
    adapter: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=MODEL", help="another model over the same base, asked by this name"),
    ] = None,
    name: Annotated[str | None, typer.Option("--as", metavar="NAME", help="its own name; default: MODEL")] = None,
    host: Annotated[str, typer.Option(help="address to listen on")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="0: any that is free")] = 8000,
    max_tokens: Annotated[int, typer.Option(min=1, help="of an answer, where the request doesn't say")] = 1024,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="an evaluate setting, such as device=cpu")
    ] = None,
    over: Over = None,
    log: Annotated[
        Path | None, typer.Option(metavar="FILE", help="keep every request with its answer, a line each; default: none")
    ] = None,
    page: Annotated[bool, typer.Option("--page", help="with a page in the browser to talk to it")] = False,
    engine: Annotated[
        str, typer.Option(help="what answers: auto, llama.cpp (GGUF files and exports), vllm or transformers")
    ] = "auto",
) -> None:
    """Answer OpenAI's chat completions with a model, as it was evaluated, until SIGTERM or Ctrl-C."""
    from ops.commands.serve import Listening, serve_models
    from ops.serving.opening import Served, opened
    from ops.serving.page import Page

    served = Served(model, name, adapter or [], over, engine, overrides or [])
    serve_models(
        root_folder(), opened(root_folder(), served), Listening(host, port, max_tokens, log, Page() if page else None)
    )


Deployed = Annotated[str, typer.Option("--as", metavar="NAME", help="of the deployment")]


@app.command(rich_help_panel="Run")
def deploy(
    model: Annotated[
        str | None,
        typer.Argument(metavar="[MODEL]", help="models:/NAME@ALIAS, run:RUN[/MODEL], a folder, or a GGUF file"),
    ] = None,
    to: Annotated[
        str, typer.Option(help="serve: assay serve; mlflow: MLflow's model server; kubernetes; sagemaker")
    ] = "serve",
    name: Deployed = "default",
    port: Annotated[int | None, typer.Option(min=1, max=65_535, help="where it is asked; default: as it was")] = None,
    previous: Annotated[bool, typer.Option("--previous", help="back to the model that was deployed before")] = False,
    again: Annotated[bool, typer.Option("--again", help="start anew what is down of it")] = False,
    show: Annotated[bool, typer.Option("--show", help="what is deployed, and whether it runs")] = False,
    timeout: Annotated[float, typer.Option(min=1, help="seconds until the new server must be up")] = 600.0,
    prompts: Annotated[
        Path | None, typer.Option(metavar="FILE", help="JSON Lines of messages or texts that it must answer as well")
    ] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="an evaluate setting, such as device=cpu")
    ] = None,
    over: Over = None,
    json_output: Json = False,
) -> None:
    """Start a server of a model, test it, and let it take over the address from the one before."""
    from ops.commands.deploy import deploy_model

    _quiet(json_output)
    status = deploy_model(
        root_folder(),
        model,
        to,
        name,
        port,
        timeout,
        prompts,
        over,
        overrides or [],
        previous,
        again,
        show,
        json_output,
    )
    raise typer.Exit(status)


@app.command(rich_help_panel="Run")
def undeploy(name: Deployed = "default", json_output: Json = False) -> None:
    """End a deployment: its server, its address, and what was kept of it."""
    from ops.commands.deploy import undeploy_model

    _quiet(json_output)
    undeploy_model(root_folder(), name, json_output)


@app.command(rich_help_panel="Look")
def chat(
    model: ModelName,
    against: Annotated[str | None, typer.Option(metavar="MODEL", help="another one, side by side")] = None,
    system: Annotated[str, typer.Option(help="instructions before everything else")] = "",
    temperature: Annotated[float, typer.Option(min=0, max=2, help="0: as it was evaluated")] = 0.0,
    seed: Annotated[int | None, typer.Option(help="of what is drawn")] = None,
    max_tokens: Annotated[int, typer.Option(min=1, help="of an answer")] = 1024,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="an evaluate setting, such as device=cpu")
    ] = None,
    over: Over = None,
    page: Annotated[bool, typer.Option("--page", help="in the browser instead of the terminal")] = False,
    port: Annotated[int, typer.Option(min=0, max=65_535, help="of --page; 0: any that is free")] = 0,
    json_output: Annotated[bool, typer.Option("--json", help="a JSON object per prompt and line")] = False,
) -> None:
    """Talk to a model, or to two side by side; of a pipe every line is a prompt of its own."""
    from ops.commands.chat import chat_on_page, chat_with
    from ops.talk import Manner

    _quiet(json_output)
    manner = Manner(system, temperature, seed, max_tokens)
    if page:
        chat_on_page(root_folder(), model, against, manner, overrides or [], over, port)
        return
    raise typer.Exit(chat_with(root_folder(), model, against, manner, overrides or [], over, json_output))


@app.command(rich_help_panel="Look")
def leaderboard(
    task: Annotated[str | None, typer.Option(help="only this task, such as held_out")] = None,
    metric: Annotated[str | None, typer.Option(help="what is sorted by; default: the one that decides")] = None,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="write it as a page")] = None,
    json_output: Json = False,
) -> None:
    """Every model that was evaluated, in runs and by compare, task by task on the same rows."""
    from ops.commands.leaderboard import show_leaderboard

    _quiet(json_output)
    show_leaderboard(root_folder(), task, metric, out, json_output)


@app.command(rich_help_panel="Look")
def compare(
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL...",
            help="models:/NAME@ALIAS, run:RUN[/MODEL], a folder, http://HOST/v1#MODEL; the first: the reference",
        ),
    ],
    config: Annotated[
        Path | None, typer.Option(help="run config whose evaluate settings and newest rows are used")
    ] = None,
    run: Annotated[
        str | None, typer.Option(help="run whose settings and rows are used; default: that of the first model with one")
    ] = None,
    overrides: Overrides = None,
    over: Over = None,
    answers: Annotated[Path | None, typer.Option(metavar="FOLDER", help="where answers are kept")] = None,
    allow_seen: Annotated[
        bool, typer.Option("--allow-seen", help="also models that were trained on some of the rows")
    ] = False,
    suites: Annotated[
        list[str] | None,
        typer.Option("--suite", metavar="FILE", help="ask a suite of questions; without --run or --config that alone"),
    ] = None,
    key_env: Annotated[
        str | None, typer.Option(metavar="NAME", help="environment variable with the key of models behind a server")
    ] = None,
    judge: Annotated[
        str | None,
        typer.Option(
            metavar="CONFIG|URL#MODEL",
            help="whose answers a model prefers: that of a run config's evaluate.judge, or one behind a server",
        ),
    ] = None,
    json_output: Json = False,
) -> None:
    """Measure models on the same test rows or questions, as a run does, and put them side by side."""
    from ops.commands.compare import Wanted, compare_models

    _quiet(json_output)
    asked = Wanted(config, run, overrides or [], suites or [], key_env, judge)
    compare_models(root_folder(), models, asked, over, answers, allow_seen, json_output)


Model = Annotated[str, typer.Argument(metavar="[URI#]MODEL[@ALIAS|/VERSION]", help="registered model")]
Why = Annotated[str, typer.Option(help="the reason, kept with the version")]
By = Annotated[str | None, typer.Option(help="who decides; default: the login name")]


@app.command(rich_help_panel="Decide")
def approve(model: Model, why: Why, by: By = None, json_output: Json = False) -> None:
    """Say that a registered version is approved; default: the one with the alias candidate."""
    from ops.commands.promote import decide_about

    decide_about(root_folder(), "approve", model, by, why, json_output)


@app.command(rich_help_panel="Decide")
def promote(
    model: Model,
    why: Why,
    by: By = None,
    despite_gate: Annotated[
        bool, typer.Option("--despite-gate", help="also a version that the gate refused, or didn't judge")
    ] = False,
    json_output: Json = False,
) -> None:
    """Make a registered version champion; default: the one with the alias candidate."""
    from ops.commands.promote import decide_about

    decide_about(root_folder(), "promote", model, by, why, json_output, despite_gate=despite_gate)


@app.command(rich_help_panel="Decide")
def rollback(
    model: Annotated[str, typer.Argument(metavar="[URI#]MODEL", help="registered model")],
    why: Why,
    to: Annotated[str | None, typer.Option(metavar="VERSION", help="default: the champion before this one")] = None,
    by: By = None,
    json_output: Json = False,
) -> None:
    """Make a version champion again that was it before."""
    from ops.commands.promote import decide_about

    decide_about(root_folder(), "rollback", model, by, why, json_output, to=to)


@app.command(rich_help_panel="Look")
def lineage(
    model: Annotated[
        str | None, typer.Argument(metavar="[[URI#]MODEL[@ALIAS|/VERSION]]", help="only this one; default: all runs")
    ] = None,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="write it as a page to click through")] = None,
    json_output: Json = False,
) -> None:
    """What was made of what: sources, dataset versions, models, registered versions, exports."""
    from ops.commands.lineage import show_lineage

    raise typer.Exit(show_lineage(root_folder(), model, html, json_output))


@app.command("eval-pii", rich_help_panel="Look")
def eval_pii(
    config: Annotated[Path, typer.Argument(help="run config, or YAML with the scrub keys alone")],
    labelled: Annotated[Path, typer.Argument(help="JSON or JSON Lines of text and spans, or words with BIO tags")],
    templates: Annotated[Templates, typer.Option(help="only texts whose template_id is even or odd")] = "all",
    mapping: Annotated[
        list[str] | None, typer.Option("--map", metavar="LABEL=ENTITY", help="compare under this name; - leaves it out")
    ] = None,
    examples: Annotated[int, typer.Option(min=0, help="mistakes shown per entity and kind")] = 3,
    show_values: Annotated[bool, typer.Option("--show-values", help="print the values of mistakes unmasked")] = False,
    json_output: Json = False,
) -> None:
    """Measure what the scrub detectors of a config find and miss in labelled texts."""
    from ops.commands.eval_pii import evaluate_pii

    _quiet(json_output)
    evaluate_pii(config, labelled, templates, mapping or [], examples, show_values, json_output)


@app.command(rich_help_panel="Look")
def doctor(
    config: Annotated[Path | None, typer.Option(help="also check what this run config needs")] = None,
    json_output: Json = False,
) -> None:
    """Check this machine: what is there, what is missing, how to get it."""
    from ops.commands.doctor import examine

    raise typer.Exit(examine(root_folder(), config, json_output))


@app.command(
    rich_help_panel="Look",
    add_help_option=False,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)
def zenml(context: typer.Context) -> None:
    """ZenML's own command, on this project's store."""
    from ops.environment import prepare

    state = prepare(root_folder())
    if not any(state.glob("zenml/local_stores/*/zenml.db")):
        from steps.zenml_runtime.database import local_database, open_store, starting

        # A server is left to ZenML's command, which may be there to log in.
        if local_database() is not None:
            with starting():
                open_store()
    os.execv(sys.executable, [sys.executable, "-c", "from zenml_cli import cli; cli()", *context.args])


def main() -> None:
    """Entry point of the `assay` program."""
    _open_outputs()
    start_light()
    app(prog_name="assay")


if __name__ == "__main__":
    main()
