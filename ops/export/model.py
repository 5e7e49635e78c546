"""A model as files for other programs, proven before its folder appears."""

import json
from dataclasses import dataclass
from pathlib import Path

from materializers.artifacts import going_on
from ops.export.folder import whole_folder
from ops.found_models import FoundModel, find_model
from ops.run_index import artifacts_of
from steps.contracts.errors import AssayError, ConfigError, InputError, InputNotFoundError
from steps.contracts.exports import ExportManifest
from steps.contracts.runs import RunRecord
from steps.engines.exports.exported_folder import MANIFEST, read_manifest, verify_files, write_export
from steps.engines.exports.folder_format import Asked, Options, Source
from steps.engines.exports.formats import FORMATS
from steps.engines.exports.gguf.converter import fetched_converter
from steps.engines.exports.probes import asked_rows, plain, prompts, texts
from steps.engines.lm.load import load_tokenizer


@dataclass(frozen=True)
class ModelExport:
    """What is asked of an export, as the command line has it.

    Attributes:
        to: name of the format; dtype: of the weights, "auto": the format's choice.
        over: the model that the adapter in a folder lies over.
        prompts: JSON Lines that both are asked, besides the built-in prompts and the run's own test rows.
        epsilon, most_differing: instead of the format's own.
        overwrite: whether an earlier export of a model may be replaced.
    """

    to: str
    dtype: str = "auto"
    over: str | None = None
    prompts: Path | None = None
    epsilon: float | None = None
    pre_tokenizer: str | None = None
    llama_cpp: Path | None = None
    overwrite: bool = False
    most_differing: float | None = None


def export_model(root: Path, text: str, asked: ModelExport, out: Path, *, words: bool = True) -> ExportManifest:
    """Write the model that `text` means into the folder `out`, whole and proven or not at all.

    `words`: as `write_model`.

    Raises:
        ConfigError: there are files in `out`, or the model can't be written so. IntegrityError: the export isn't the
            model, or the model's files aren't the recorded ones.
        As `find_model` and `write_export`.
    """
    check_export(asked)
    with whole_folder(out, _replaceable if asked.overwrite else _nothing) as folder:
        return write_model(root, text, asked, folder, words=words)


def check_export(asked: ModelExport) -> None:
    """Refuse what can be told before a model is looked for.

    Raises:
        ConfigError: the format has no such number format. As `read_prompts`.
    """
    how = FORMATS[asked.to]
    if asked.dtype != "auto" and asked.dtype not in how.epsilons:
        raise ConfigError(
            f"{asked.to} has no number format {asked.dtype!r}",
            where="--dtype",
            hint="one of " + ", ".join(how.epsilons),
        )
    if asked.prompts is not None:
        read_prompts(asked.prompts)


def write_model(
    root: Path, text: str, asked: ModelExport, folder: Path, found: FoundModel | None = None, *, words: bool = True
) -> ExportManifest:
    """Write the model that `text` means (or `found`) into an empty folder of `whole_folder`, its manifest last.

    `words`: whether the system message that all asked rows begin with may stand in a file.

    Raises: as `export_model`.
    """
    given = read_prompts(asked.prompts) if asked.prompts is not None else []
    for named in (text, asked.over):
        if named is not None and (Path(named).expanduser() / MANIFEST).is_file():
            verify_files(Path(named).expanduser())
    found = found or find_model(root, text, asked.over)
    source = Source(found.base, found.tuned)
    rows = _test_rows(root, found.run) if found.run else []
    said = [*prompts(), *given, *rows]
    if load_tokenizer(source.model if _has_own(source) else source.base).chat_template is None:
        said = plain(said)
    scratch = folder.with_name("scratch")
    scratch.mkdir()
    llama_cpp = asked.llama_cpp or fetched_converter(root)
    options = Options(asked.dtype, asked.pre_tokenizer, llama_cpp, system=_system(rows) if words else None)
    return write_export(
        source, text, FORMATS[asked.to], folder, scratch, said, texts(), options, format_name=asked.to,
        epsilon=asked.epsilon, limit=asked.most_differing, run=found.run.name if found.run else None,
    )  # fmt: skip


def _test_rows(root: Path, run: RunRecord) -> list[Asked]:
    """Questions of the run's test split."""
    versions = going_on(run)
    return asked_rows(artifacts_of(root, run).dataset(versions[-1]).iter_rows("test")) if versions else []


def _system(rows: list[Asked]) -> str | None:
    """The system message that all rows begin with."""
    found = {r[0]["content"] if not isinstance(r, str) and r[0]["role"] == "system" else None for r in rows}
    return found.pop() if len(found) == 1 else None


def read_prompts(file: Path) -> list[Asked]:
    """Prompts of a JSON Lines file: texts, lists of messages, or objects with `messages` or `prompt`.

    Raises:
        InputNotFoundError: no such file. InputError: a line is none of these.
    """
    if not file.is_file():
        raise InputNotFoundError("no such file", where=str(file))
    found = []
    for number, line in enumerate(file.read_text("utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except ValueError as e:
            raise InputError("not JSON", where=f"{file}, line {number}") from e
        if isinstance(value, dict):
            value = value.get("messages") or value.get("prompt")
        found.append(_asked(value, f"{file}, line {number}"))
    if not found:
        raise InputError("no prompt in it", where=str(file))
    return found


def _asked(value: object, where: str) -> Asked:
    if isinstance(value, str) and value:
        return [{"role": "user", "content": value}]
    if (
        isinstance(value, list)
        and value
        and all(isinstance(m, dict) and {"role", "content"} <= m.keys() for m in value)
    ):
        # Up to where the assistant goes on.
        while value and value[-1]["role"] == "assistant":
            value = value[:-1]
        if value:
            return value
    raise InputError(
        "neither a text nor messages",
        where=where,
        hint='a line such as {"messages": [{"role": "user", "content": ...}]}',
    )


def _has_own(source: Source) -> bool:
    from steps.engines.lm.load import has_tokenizer

    return source.tuned is None or has_tokenizer(source.tuned)


def _nothing(out: Path) -> set[str]:
    """Nothing may be replaced."""
    if (out / MANIFEST).is_file():
        raise ConfigError("there is an export of a model already", where=str(out), hint="--overwrite, or another --out")
    return set()


def _replaceable(out: Path) -> set[str]:
    """What an earlier export of a model wrote."""
    try:
        return {MANIFEST, *read_manifest(out).files}
    except AssayError:
        return set()
