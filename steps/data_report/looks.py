"""What the texts of chosen rows are: language, length, what is asked and answered."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from steps.contracts.dataset import Dataset
from steps.contracts.errors import InputNotFoundError, TrainingDataError
from steps.contracts.records import Row, text_of
from steps.data_report.sets import Sets, chosen_rows
from steps.engines.text.languages import language_of
from steps.engines.text.normalise import words
from steps.engines.text.pseudonyms import without_names
from steps.engines.text.sides import answers, asked_and_answered, opening

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

COLUMNS = (
    "record_id", "content_id", "source", "kind", "messages", "chosen", "rejected", "tools", "text", "label", "meta",
    "split",
)  # fmt: skip
# Chosen: what a text is about stands in so many characters; a row of a megabyte costs no more than others.
_READ = 4_000
_AT_ONCE = 256

# Tokens of each row; None: the template refuses the row.
Counter: TypeAlias = Callable[[Sequence[Row]], list[int | None]]


@dataclass(frozen=True)
class Look:
    """A row that was looked at.

    Attributes:
        place: in the sample of its set.
        length: of the row as it is trained; None: the chat template refuses it.
        answer: length of the answer in words.
        asked, answered: texts, cut, without pseudonyms; "" where the row isn't compared, or has no such side.
        about: what tells its topic, cut likewise.
        whole: whether nothing was cut of what is asked.
    """

    record_id: str
    code: int
    place: int
    kind: str
    wanted: bool
    language: str
    length: int | None
    answer: int
    asked: str = ""
    answered: str = ""
    about: str = ""
    whole: bool = True


def look_at(texts: Dataset, sets: Sets, most: int, compared: int, count: Counter) -> list[Look]:
    """Up to `most` rows of each set, of which the first `compared` keep their texts, by set and place."""
    chosen = sets.chosen(most)
    rows = chosen_rows(texts, chosen, COLUMNS)
    found: list[Look] = []
    while some := list(islice(rows, _AT_ONCE)):
        for row, length in zip(some, count(some), strict=True):
            code, place = chosen[row["record_id"].encode()]
            found.append(_look(row, code, place, length, keeps_text=place < compared))
    return sorted(found, key=lambda look: (look.code, look.place))


def _look(row: Row, code: int, place: int, length: int | None, *, keeps_text: bool) -> Look:
    asked, answer = asked_and_answered(row)
    answer = answers(row)[0] if row["kind"] == "preference" else answer
    about = opening(row) or asked
    parts = {"asked": asked, "answered": answer, "about": about} if keeps_text else {}
    texts = {name: without_names(text[:_READ]) for name, text in parts.items()}
    language = language_of(f"{about[:_READ]}\n{answer[:_READ]}")
    return Look(
        row["record_id"], code, place, row["kind"], row["label"] is not False, language, length,
        len(words(answer)), whole=len(asked) <= _READ, **texts,
    )  # fmt: skip


def counting(tokenizer: "PreTrainedTokenizerBase | None") -> tuple[Counter, str]:
    """How rows are measured, and in what."""
    if tokenizer is None:
        return (lambda rows: [max(len(words(text_of(part))) for part in _sequences(row)) for row in rows]), "words"
    return _by_tokenizer(tokenizer)


def _by_tokenizer(tokenizer: "PreTrainedTokenizerBase") -> tuple[Counter, str]:
    from steps.engines.template.render import chat_messages, chat_template, tools_of

    template = chat_template(tokenizer) if tokenizer.chat_template else None

    def text(row: Row) -> str | None:
        if template is None or row["kind"] == "document":
            return text_of(row)
        try:
            return template.render(chat_messages(row, template), tools_of(row))
        except TrainingDataError:
            return None

    def count(rows: Sequence[Row]) -> list[int | None]:
        parts = [[text(part) for part in _sequences(row)] for row in rows]
        said = [t for of_row in parts for t in of_row if t is not None]
        ids = tokenizer(said, add_special_tokens=template is None, verbose=False)["input_ids"] if said else []
        lengths: Iterator[int] = iter([len(i) for i in ids])
        found = [[None if t is None else next(lengths) for t in of_row] for of_row in parts]
        return [None if None in of_row else max(n for n in of_row if n is not None) for of_row in found]

    return count, "tokens" if template is not None else "tokens, without a chat template"


def _sequences(row: Row) -> list[Row]:
    """What of a row is read at once: of a preference the prompt with either answer."""
    if row["kind"] != "preference":
        return [row]
    answered = (row["chosen"], row["rejected"])
    return [{**row, "messages": [*row["messages"], *a], "chosen": [], "rejected": []} for a in answered]


def load_tokenizer(name: str, revision: str | None, root: Path) -> "PreTrainedTokenizerBase":
    """A tokenizer by the folder of a model, or by its hub id.

    Raises:
        InputNotFoundError: there is none.
    """
    from transformers import AutoTokenizer

    folder = root / name
    place: Mapping[str, Any] = {"local_files_only": True} if folder.is_dir() else {"revision": revision}
    try:
        return AutoTokenizer.from_pretrained(str(folder) if folder.is_dir() else name, trust_remote_code=False, **place)
    except (OSError, ValueError, KeyError) as e:
        raise InputNotFoundError(
            f"no loadable tokenizer: {str(e).splitlines()[0] if str(e) else type(e).__name__}", where=name,
            hint="name a folder with tokenizer.json and tokenizer_config.json, or a model of the hub; without one,"
            " lengths are in words",
        ) from e  # fmt: skip
