"""`assay chat`: a model in the terminal, or two side by side. What a model says can't move the cursor."""

import io
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from materializers.visible import visible
from ops.commands.serve import Listening, serve_models
from ops.console import complain, console, explain_error
from ops.environment import prepare
from ops.serving.desk import End
from ops.serving.opening import side_by_side
from ops.serving.page import Page
from ops.talk import Manner, Talk, as_json
from steps.contracts.errors import AssayError, ConfigError
from steps.engines.lm.transcript import Piece

_HELP = "/reset begins anew, /quit (or the end of input) ends; Ctrl-C ends an answer"


def chat_with(
    root: Path,
    model: str,
    against: str | None,
    manner: Manner,
    overrides: Sequence[str],
    over: str | None,
    json_output: bool,
) -> int:
    """Talk until there is an end of it. Returns the exit status: that of the first error, where lines were piped in.

    Raises: as `side_by_side`.
    """
    prepare(root)
    if isinstance(sys.stdin, io.TextIOWrapper):  # bytes that are no text are no reason to end
        sys.stdin.reconfigure(errors="replace")
    names = [model, *([against] if against else [])]
    with side_by_side(root, names, overrides, over) as (desk, _):
        talks = [Talk(name, desk, manner) for name in names]
        if sys.stdin.isatty() and not json_output:
            return _in_person(talks)
        return _from_pipe(talks, json_output)


def chat_on_page(
    root: Path, model: str, against: str | None, manner: Manner, overrides: Sequence[str], over: str | None, port: int
) -> None:
    """A page in the browser, until SIGTERM or Ctrl-C.

    Raises: as `serve_models` and `side_by_side`; ConfigError: a page draws by no seed.
    """
    if manner.seed is not None:
        raise ConfigError("the page draws anew each time", where="--seed", hint="leave it out, or leave --page out")
    names = [model, *([against] if against else [])]
    page = Page(manner.system, manner.temperature)
    listening = Listening(port=port, most=manner.most, page=page)
    serve_models(root, side_by_side(root, names, overrides, over), listening)


def _in_person(talks: Sequence[Talk]) -> int:
    with suppress(ImportError):
        import readline  # noqa: F401 - lets a line be edited
    out = console()
    out.print(Text(f"{' against '.join(visible(t.name) for t in talks)}: {_HELP}", style="dim"))
    for prompt in _typed():
        if prompt == "/reset":
            for talk in talks:
                talk.reset()
            out.print(Text("begun anew", style="dim"))
        elif prompt.startswith("/"):
            out.print(Text(_HELP, style="dim"))
        else:
            try:
                _answer(out, talks, prompt)
            except KeyboardInterrupt:
                out.print()
                out.print(Text("(not said, and not kept)", style="dim"))
            except AssayError as e:
                complain(explain_error(e))
    return 0


def _typed() -> Iterator[str]:
    """Lines of the terminal that say something."""
    while True:
        try:
            line = input("> ").strip()
        except EOFError:
            print()
            return
        if line == "/quit":
            return
        if line:
            yield line


def _answer(out: Console, talks: Sequence[Talk], prompt: str) -> None:
    """One answer as it comes, or two side by side when both are there."""
    if len(talks) == 1:
        end = talks[0].ask(prompt, lambda piece: _put(out, piece))
        out.print()
        if end.cut:
            out.print(Text("(cut: it had no more room)", style="dim"))
        return
    ends = [talk.ask(prompt, lambda _: None) for talk in talks]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, expand=True)
    for talk in talks:
        table.add_column(Text(visible(talk.name)), ratio=1, overflow="fold")
    table.add_row(*(_whole(end) for end in ends))
    out.print(table)


def _put(out: Console, piece: Piece) -> None:
    out.print(Text.assemble((visible(piece.reasoning), "dim"), visible(piece.text)), end="")


def _whole(end: End) -> Text:
    thought = visible(end.reasoning) + "\n\n" if end.reasoning else ""
    cut = "\n(cut: it had no more room)" if end.cut else ""
    return Text.assemble((thought, "dim"), visible(end.text), (cut, "dim"))


def _from_pipe(talks: Sequence[Talk], json_output: bool) -> int:
    """Every line begins a conversation; one that can't be asked is told of, and the next one is read."""
    status = 0
    for line in sys.stdin:
        if not (prompt := line.strip()):
            continue
        answers = []
        for talk in talks:
            talk.reset()
            try:
                answers.append({"model": talk.name, **as_json(talk.ask(prompt, lambda _: None))})
            except AssayError as e:
                status = status or e.exit_code
                answers.append({"model": talk.name, "error": e.what})
        if json_output:
            print(json.dumps({"prompt": prompt, "answers": answers}), flush=True)
        else:
            _tell(prompt, answers)
    return status


def _tell(prompt: str, answers: Sequence[dict[str, object]]) -> None:
    print(visible(f"> {prompt}"))
    for answer in answers:
        said = f"({answer['error']})" if "error" in answer else str(answer["text"])
        name = f"{answer['model']}: " if len(answers) > 1 else ""
        # So that no line of an answer stands where the program's own do.
        print(visible(name + said).replace("\n", "\n  "), flush=True)
