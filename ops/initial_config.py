"""A first config for somebody's own files: what they are, seen in their first rows, and what is assumed of them."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from materializers.visible import visible
from steps.contracts.errors import AssayError, InputError
from steps.contracts.humanize import size
from steps.contracts.records import Row, all_messages, text_of
from steps.gate.config import GateConfig
from steps.ingest.config import IngestConfig, SourceConfig
from steps.ingest.peek import Peek, peek
from steps.ingest.quick import quick_config
from steps.screen.config import LanguageConfig
from steps.screen.language import UNDECIDED, Languages

# A model of a million weights that a run makes itself: offline, in about a minute.
TOY = "examples.toy_base.build:build"
_TOY_STEPS, _TOY_LENGTH = 60, 1024
# Chosen: of a folder of many files, and of a file's rows, so many say what they are.
_MOST_FILES, _MOST_ROWS = 20, 100
# Chosen: with fewer rows a twentieth of them measures nothing.
_FEW_ROWS = 2_000
_GATE_ROWS = GateConfig().min_n
_ANSWERED = {
    "preference": "of preferences the chosen answers are trained (dpo, kto, orpo compare both)",
    "unpaired_preference": "of labelled answers the wanted ones are trained, the others left out (kto takes both)",
}
_ON_DOCUMENTS = """train:
  objective: {kind: continued_pretraining}   # replay: {share: 0.05, sources: [NAME]}: general text, against forgetting
  weights: {kind: lora}     # full learns more of much text, and forgets more
  max_length: 2048          # tokens of a pack; longer documents are cut, and nothing of them is lost
  per_device_train_batch_size: 1
  gradient_accumulation_steps: 8
evaluate:
  metrics: [loss]           # documents ask nothing
  max_rows: 200
gate:
  metric: loss
"""
# Characters per token of English text in usual vocabularies are about four; other scripts need more tokens.
_CHARACTERS_PER_TOKEN = 3
# What people call a question and an answer, where the format's own names aren't used.
_PROMPTS = {"prompt", "question", "query", "frage", "pregunta", "vraag", "domanda", "pergunta", "q", "user", "in"}
_ANSWERS = {"completion", "answer", "response", "reply", "antwort", "respuesta", "réponse", "antwoord", "risposta",
            "resposta", "a", "assistant", "out"}  # fmt: skip
_LOCALES = {"de": "de", "fr": "fr", "es": "es"}


@dataclass(frozen=True)
class Source:
    """One of the inputs. `assumed`: what was taken for granted about it, in words."""

    config: SourceConfig
    files: tuple[Peek, ...]
    assumed: tuple[str, ...] = ()

    @property
    def rows(self) -> list[Row]:
        """The first rows, as ingest makes them."""
        return [row for file in self.files for row in file.rows][:_MOST_ROWS]

    @property
    def kinds(self) -> Counter[str]:
        """Of the first rows, how many of each kind."""
        return Counter(row["kind"] for row in self.rows)

    @property
    def summary(self) -> str:
        """What it is, in a line."""
        count = f"{len(self.files)} files" + (" or more" if len(self.files) == _MOST_FILES else "")
        shown = [count if len(self.files) > 1 else "", size(sum(f.bytes for f in self.files))]
        shown += [", ".join(dict.fromkeys(f.container for f in self.files))]
        shown += ["rows of " + ", ".join(dict.fromkeys(str(f.format) for f in self.files))]
        columns = list(dict.fromkeys(c for f in self.files for c in f.columns))
        shown += [f"columns {', '.join(columns[:12])}{' ...' if len(columns) > 12 else ''}" if columns else ""]
        return _one_line("; ".join(s for s in shown if s))


@dataclass(frozen=True)
class Draft:
    """The config as text, and what it rests on. `assumed`: for the terminal; the text says it as well."""

    text: str
    sources: tuple[Source, ...]
    assumed: tuple[str, ...] = field(default=())


def look_at(inputs: Sequence[str], root: Path) -> tuple[Source, ...]:
    """The inputs as sources whose first rows can be read; paths below the checkout are relative to it.

    Raises:
        InputError: a file isn't there, or its rows can't be told.
    """
    quick = quick_config([_from_root(given, root) for given in inputs])
    return tuple(_readable(source, quick, root) for source in quick.sources)


def _from_root(given: str, root: Path) -> str:
    if "://" in given:
        return given
    path = Path(given).expanduser().absolute()
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)


def _readable(source: SourceConfig, config: IngestConfig, root: Path) -> Source:
    """The source as it is, else with an encoding, else with two of its columns as prompt and answer."""
    assumed: list[str] = []
    files = _peeked(source, config, root)
    if sum(f.rejected["encoding"] for f in files) > sum(len(f.rows) for f in files) / 20:
        source = source.model_copy(update={"encoding": "cp1252"})
        files = _peeked(source, config, root)
        assumed.append("encoding cp1252 (Windows, Western Europe), since it isn't UTF-8")
    strange = [f for f in files if f.format is None]
    columns = _guessed_columns(strange[0]) if strange else {}
    if columns:
        source = source.model_copy(update={"columns": columns})
        files = _peeked(source, config, root)
        assumed.append("columns: " + ", ".join(f"{theirs!r} is the {ours}" for ours, theirs in columns.items()))
    return Source(source, tuple(files), tuple(assumed))


def _peeked(source: SourceConfig, config: IngestConfig, root: Path) -> list[Peek]:
    found = []
    for file in peek(source, config, root):
        found.append(file)
        if len(found) == _MOST_FILES:
            break
    return found


def _guessed_columns(file: Peek) -> dict[str, str]:
    """Columns by what they are usually called, else the two with the longest texts, the longer one as the answer."""
    texts = file.text_lengths
    by_name = {c.strip().lower(): c for c in texts}
    prompt = next((by_name[n] for n in by_name if n in _PROMPTS), None)
    answer = next((by_name[n] for n in by_name if n in _ANSWERS), None)
    if prompt and answer:
        return {"prompt": prompt, "completion": answer}
    longest = sorted(texts, key=lambda c: -texts[c])[:2]
    if len(longest) == 2:
        answer = answer or (longest[0] if longest[0] != prompt else longest[1])
        prompt = prompt or next(c for c in longest if c != answer)
        return {"prompt": prompt, "completion": answer}
    return {"text": longest[0]} if longest else {}


def draft(name: str, sources: Sequence[Source], base: str | None, key_is_set: bool) -> Draft:
    """The config of a run over these sources."""
    rows = [row for source in sources for row in source.rows]
    kinds = Counter(row["kind"] for row in rows)
    languages = _languages(sources)
    # The toy base has nothing that documents could add to.
    trains = any(kind != "document" for kind in kinds) or base is not None
    parts = [
        _header(name, sources, trains),
        _sources(sources),
        _split(sources),
        _scrub(key_is_set, languages),
        _language(languages),
        *(_training(name, kinds, rows, base) if trains else ()),
        _gate(sources) if trains else "",
    ]
    assumed = [f"{s.config.name}: {a}" for s in sources for a in s.assumed]
    if languages:
        found = ", ".join(f"{code} {n}" for code, n in languages.most_common(4))
        assumed.append(f"languages: {found} of the first rows")
    assumed += [_ANSWERED[kind] for kind in _ANSWERED if kinds[kind]]
    if trains and (tested := _tested(sources)) is not None:
        assumed.append(
            f"about {tested} rows are held out: less than gate.min_n ({_GATE_ROWS}), so probably no model is promoted"
        )
    if not trains:
        assumed.append(
            "only documents and no --base: the run curates and trains nothing; with one it continues its pre-training"
        )
    elif base is None:
        assumed.append(f"no --base: the run makes a toy model ({TOY}), which shows that all works and learns little")
    if not key_is_set:
        assumed.append("ASSAY_PII_KEY isn't set: the published demo key, for a try only")
    return Draft("\n".join(part for part in parts if part) + "\n", tuple(sources), tuple(assumed))


def _languages(sources: Sequence[Source]) -> Counter[str]:
    """Languages of as many rows of each source, since one source often is of one language."""
    languages, each = Languages(LanguageConfig()), max(1, 3 * _MOST_ROWS // len(sources))
    found = Counter(languages.identify(row).language for source in sources for row in source.rows[:each])
    return Counter({code: n for code, n in found.items() if code != UNDECIDED})


def _header(name: str, sources: Sequence[Source], trains: bool) -> str:
    pipeline = "end_to_end    # data, then training, evaluation, gate and registration; curate: data only"
    if not trains:
        pipeline = "curate        # only documents were found, and no base was named"
    count = "1 source" if len(sources) == 1 else f"{len(sources)} sources"
    return f"""# Made by `assay init` from the first rows of {count}. What was assumed is said beside each key.
# Check:  assay validate FILE;  assay run FILE --dry-run
# Run:    assay run FILE
name: {name}
pipeline: {pipeline}
reuse: latest           # with more rows in the files, only the new ones are computed
"""


def _sources(sources: Sequence[Source]) -> str:
    lines = ["ingest:", "  sources:"]
    for source in sources:
        lines.append(f"    # {source.summary}")
        lines += [f"    # assumed: {_one_line(a)}" for a in source.assumed]
        rejected = sum((f.rejected for f in source.files), Counter[str]())
        if rejected:
            why = ", ".join(f"{reason} {n}" for reason, n in rejected.most_common(4))
            lines.append(f"    # of the first {sum(f.read for f in source.files)} rows can't be read: {_one_line(why)}")
        given = source.config.model_dump(mode="json", exclude_unset=True)
        lines.append("    - {" + ", ".join(f"{key}: {json.dumps(value)}" for key, value in given.items()) + "}")
    return "\n".join([*lines, ""])


def _split(sources: Sequence[Source]) -> str:
    few = _is_small(sources)
    share = "{validation: 0.1, test: 0.2}" if few else "{validation: 0.05, test: 0.05}"
    why = "few rows: a larger share, so that the test says something" if few else "test rows are never trained on"
    return f"split: {share}    # {why}\n"


def _gate(sources: Sequence[Source]) -> str:
    """What few rows mean for the gate."""
    tested = _tested(sources)
    if tested is None:
        return ""
    return (
        f"# gate: {{min_n: {max(tested // 2, 1)}}}    # about {tested} rows are held out; the gate wants {_GATE_ROWS}\n"
    )


def _tested(sources: Sequence[Source]) -> int | None:
    """How many rows are probably held out, where that is less than the gate wants."""
    if any(len(s.files) == _MOST_FILES for s in sources):
        return None
    tested = round(sum(_estimated_rows(f) for s in sources for f in s.files) * (0.2 if _is_small(sources) else 0.05))
    return tested if tested < _GATE_ROWS else None


def _is_small(sources: Sequence[Source]) -> bool:
    """Whether there are probably less than some thousand rows, by the size of the first ones."""
    more_files = any(len(s.files) == _MOST_FILES for s in sources)
    return not more_files and sum(_estimated_rows(f) for s in sources for f in s.files) < _FEW_ROWS


def _estimated_rows(file: Peek) -> float:
    """Rows of a file, by its size where only the first ones were read."""
    if file.read < _MOST_ROWS or not file.rows:
        return file.read
    characters = sum(len(text_of(row)) for row in file.rows) / len(file.rows)
    return file.bytes / max(characters, 1)


def _scrub(key_is_set: bool, languages: Counter[str]) -> str:
    locales = ["en_US", *(_LOCALES[code] for code, _ in languages.most_common(4) if code in _LOCALES)]
    lines = ["scrub:                  # personal data: replaced by pseudonyms"]
    if key_is_set:
        lines.append("  key_env: ASSAY_PII_KEY    # the variable with the key of the pseudonyms; keep it")
    else:
        lines += [
            "  # The published key: good for a try. For real data:",
            "  # export ASSAY_PII_KEY=$(openssl rand -hex 32), keep it, and put key_env: ASSAY_PII_KEY here instead.",
            "  demo_key: true",
        ]
    if len(locales) > 1:
        lines.append(f"  locales: [{', '.join(locales)}]    # their numbers and addresses; by the rows' languages")
    lines.append("  # Names of people and places need a model: `assay doctor` says how to get one; then scrub.ner.")
    return "\n".join([*lines, ""])


def _language(languages: Counter[str]) -> str:
    if not languages:
        return ""
    codes = ", ".join(code for code, _ in languages.most_common(4))
    return f"# screen: {{language: {{keep: [{codes}]}}}}    # drops rows in other languages; off\n"


def _training(name: str, kinds: Counter[str], rows: Sequence[Row], base: str | None) -> Iterator[str]:
    if base is None:
        yield f"""base:
  model: {TOY}    # a toy that the run makes itself, offline; for real: a hub model or a folder
  options: {{steps: {_TOY_STEPS}}}
"""
    else:
        yield f"base:\n  model: {json.dumps(base)}\n"
    if set(kinds) == {"document"}:
        yield _ON_DOCUMENTS
        yield f"registry:\n  name: {name}\n"
        return
    length = _max_length(rows, base)
    objective = "{kind: sft, preference_as: chosen}" if kinds["preference"] else "{kind: sft}"
    said = "; ".join(text for kind, text in _ANSWERED.items() if kinds[kind])
    objective += f"    # {said}" if said else ""
    few = "  max_steps: 20         # a first try; without it: one pass over the rows\n" if base is None else ""
    yield f"""train:
  objective: {objective}
  weights: {{kind: lora}}
  max_length: {length}      # tokens; by the longest of the first rows, in characters
  per_device_train_batch_size: {8 if length <= 1024 else 2}
{few}"""
    if kinds["document"]:
        yield "# Documents are curated, but this phase doesn't train on them; continued_pretraining would.\n"
    yield "evaluate:\n  max_rows: 200         # held-out rows that are answered; null: all\n"
    yield f"registry:\n  name: {name}\n"


def _max_length(rows: Sequence[Row], base: str | None) -> int:
    """The smallest power of two of tokens that holds the longest of nineteen in twenty rows."""
    lengths = sorted(len(text_of(row)) + 8 * len(all_messages(row)) for row in rows if row["kind"] != "document")
    wanted = lengths[int(0.95 * (len(lengths) - 1))] / _CHARACTERS_PER_TOKEN if lengths else 0
    most = _TOY_LENGTH if base is None else 8192
    found = 256
    while found < min(wanted, most):
        found *= 2
    return found


def _one_line(text: str) -> str:
    return " ".join(visible(text).split())


def failure(sources: Sequence[Source]) -> AssayError | None:
    """Why no config can be made of these: a source of which no row can be read."""
    for source in sources:
        if not source.rows:
            first = source.files[0]
            rejected = ", ".join(f"{reason} {n}" for reason, n in first.rejected.most_common(3))
            return InputError(
                f"no row of it can be read: {first.why or rejected or 'it is empty'}",
                where=str(source.config.path),
                hint="`assay head FILE` with --columns, --format or --encoding finds out how",
            )
    return None
