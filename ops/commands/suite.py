"""`assay suite ...`: suites of questions looked at, made from documents, and canaries planted."""

from pathlib import Path
from typing import Annotated, Any

import typer

from ops.commands.options import Json, root_folder

suite = typer.Typer(name="suite", no_args_is_help=True, help="Suites of questions: checked, made, canaries planted.")

Out = Annotated[Path, typer.Option(metavar="FOLDER", help="new folder for the suite")]


@suite.command("check")
def check(
    file: Annotated[str, typer.Argument(metavar="FILE", help="a suite's YAML file, or URL#sha256=...")],
    json_output: Json = False,
) -> None:
    """Read a suite and all that it names, as a run would; every mistake with its line."""
    from ops.commands.compare import name_below
    from ops.console import emit, show_table
    from steps.evaluate.config import EvaluateConfig
    from steps.evaluate.named_files import files_of
    from steps.evaluate.suites.tasks import suite_parts
    from steps.zenml_runtime.urls import downloaded, with_urls

    root = root_folder()
    name = name_below(root, file)
    config = EvaluateConfig(suites=(name,))
    place = downloaded if "://" in name else lambda n: root / n
    folder = with_urls((name, *files_of(config, place)), root)
    parts = suite_parts([name], folder)
    used = parts[0].suite
    rows = [(p.settings.name, p.settings.kind, len(p.asked), ", ".join(_languages(p))) for p in parts]
    if json_output:
        columns = ("task", "kind", "questions", "languages")
        emit({**used.model_dump(), "tasks": [dict(zip(columns, r, strict=True)) for r in rows]})
        return
    print(f"{used.name} {used.version}, {used.licence}, digest {used.digest[:12]}")
    show_table(("task", "kind", "questions", "languages"), [[str(c) for c in r] for r in rows])


def _languages(part: Any) -> list[str]:
    return sorted({a.language for a in part.asked if a.language})


@suite.command("make")
def make(
    documents: Annotated[
        list[Path], typer.Argument(metavar="DOCUMENTS...", help="files or folders: text, Markdown, HTML, PDF, DOCX")
    ],
    out: Out,
    endpoint: Annotated[str | None, typer.Option(metavar="URL", help="OpenAI-compatible server, up to /v1")] = None,
    model: Annotated[str | None, typer.Option(help="the server's name of the model that writes the questions")] = None,
    key_env: Annotated[str | None, typer.Option(help="environment variable with the server's API key")] = None,
    name: Annotated[str, typer.Option(help="name of the suite")] = "own",
    licence: Annotated[
        str, typer.Option(help="of the questions, as that of the documents allows")
    ] = "as the documents",
    hold_out: Annotated[
        float, typer.Option(min=0.01, max=0.99, help="share of the documents, whole, that questions come from")
    ] = 0.2,
    allow_raw_egress: Annotated[
        bool, typer.Option("--allow-raw-egress", help="send documents to a server on another machine")
    ] = False,
    json_output: Json = False,
) -> None:
    """Make 14 questions from your documents by a model behind an endpoint: 8 domain, 4 general, 2 without an answer."""
    from ops.suites.command import make_suite

    made = make_suite(
        root_folder(), documents, out, endpoint, model, key_env, name, licence, hold_out, allow_raw_egress
    )
    _tell(made, json_output)


@suite.command("held-out")
def held_out(
    run: Annotated[str, typer.Argument(metavar="RUN", help="a run with synthesize")],
    out: Out,
    name: Annotated[str, typer.Option(help="name of the suite")] = "held-out",
    licence: Annotated[
        str, typer.Option(help="of the questions, as that of the documents allows")
    ] = "as the documents",
    json_output: Json = False,
) -> None:
    """Write the questions that a run's synthesize made of the documents that it held out, as a suite."""
    from ops.suites.synthesized import suite_of_run

    _tell(suite_of_run(root_folder(), run, out, name, licence), json_output)


@suite.command("plant")
def plant(
    source: Annotated[Path, typer.Argument(metavar="ROWS", help="JSON Lines with messages or text")],
    out: Out,
    count: Annotated[int, typer.Option(min=1, max=1000, help="canaries per number of repetitions")] = 10,
    repeat: Annotated[
        list[int] | None, typer.Option(min=1, max=1000, help="how often each is planted; again for others; default: 1")
    ] = None,
    seed: Annotated[str, typer.Option(help="other canaries, at other places")] = "0",
    json_output: Json = False,
) -> None:
    """Plant secrets in training rows, and write the suite that asks whether a model gives them away."""
    from ops.suites.command import plant_canaries

    _tell(plant_canaries(source, out, count, sorted(set(repeat or [1])), seed), json_output)


def _tell(made: dict[str, Any], json_output: bool) -> None:
    from ops.console import emit, say

    if json_output:
        emit(made)
        return
    for key, value in made.items():
        say(f"{key.replace('_', ' ')}: {', '.join(map(str, value)) if isinstance(value, list) else value}")
