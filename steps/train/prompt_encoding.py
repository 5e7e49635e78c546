"""Prompts as inference has them, each with the answer that its row gives, as a memory-mapped Arrow file."""

import heapq
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from steps.contracts.dataset import Dataset
from steps.contracts.errors import TrainingDataError
from steps.contracts.ledger import LedgerWriter
from steps.contracts.records import Row
from steps.contracts.reports import Example
from steps.contracts.storage import writing
from steps.engines.progress.progress import Progress
from steps.engines.template.render import ChatTemplate, chat_template, prompt_and_reference
from steps.train.encoding import Encoding
from steps.train.mixture import Origins
from steps.train.row_form import order_key
from steps.train.rows_to_encode import RowsToEncode
from steps.train.settings import TrainSettings

if TYPE_CHECKING:
    import datasets

_COLUMNS = (
    "record_id", "content_id", "source", "kind", "messages", "tools", "chosen", "rejected", "text", "label", "meta",
)  # fmt: skip
SCHEMA = pa.schema(
    [
        pa.field("prompt", pa.string(), nullable=False),
        # What the row answers, without reasoning; "": nothing
        pa.field("reference", pa.string(), nullable=False),
        # tokens of the prompt
        pa.field("length", pa.int32(), nullable=False),
    ]
)
_EXAMPLES = 5


def write_prompts(
    given: RowsToEncode, room: int, refusal: Callable[[Row], str | None]
) -> tuple["datasets.Dataset", Encoding]:
    """The prompts of one split, in the order of their rows' content ids. In memory: all prompts of the split.

    Args:
        room: tokens that a prompt may have.

    Raises:
        TrainingDataError: no usable row, or more unusable rows than the settings allow.
    """
    import datasets

    dataset, split, tokenizer, settings = given.dataset, given.split, given.tokenizer, given.settings
    chat = chat_template(tokenizer, given.template)
    control = [t.content for t in tokenizer.added_tokens_decoder.values() if t.special]
    result, found = Encoding(), list[tuple[bytes, str, tuple[str, str, int]]]()
    unusable = 0
    with Progress(f"prompts ({split or 'all rows'})", dataset.manifest.splits.get(split or "")) as progress:
        for row in _rows(dataset, split, given.limit):
            progress.advance()
            result.rows_in += 1
            reason, asked = refusal(row), None
            if reason is None:
                reason, asked = _asked(row, chat, [] if settings.allow_control_tokens else control)
                unusable += reason is not None
            if asked is not None:
                length = len(tokenizer(asked[0], add_special_tokens=False)["input_ids"])
                if length <= room:
                    found.append((order_key(row), str(row["source"]).partition("/")[0], (*asked, length)))
                    _count(result, length)
                    continue
                reason = "overlong_prompt"
            _drop(result, given.ledger, row["record_id"], str(reason))
    _require(result, unusable, settings, room)
    found.sort(key=lambda one: one[0])
    _describe(result, [(key, source) for key, source, _ in found])
    columns = list(zip(*(one for _, _, one in found), strict=True))
    with writing(given.path):
        given.path.parent.mkdir(parents=True, exist_ok=True)
        with pa.OSFile(str(given.path), "wb") as sink, pa.ipc.new_stream(sink, SCHEMA) as out:
            out.write_table(
                pa.table([pa.array(c, f.type) for c, f in zip(columns, SCHEMA, strict=True)], schema=SCHEMA)
            )
    return datasets.Dataset.from_file(str(given.path)), result


def _asked(row: Row, template: ChatTemplate, control: list[str]) -> tuple[str | None, tuple[str, str] | None]:
    """(why not, None), or (None, prompt and reference)."""
    said = [str(m.get("content") or "") for m in row["messages"]]
    if any(token in text for text in said for token in control):
        return "control_token_in_text", None
    try:
        prompt, reference, _ = prompt_and_reference(row, template)
    except TrainingDataError:
        has_turn = row["kind"] == "preference" or any(m["role"] == "assistant" for m in row["messages"])
        return ("template_error" if has_turn else "no_assistant_turn"), None
    # An unwanted answer is no reference.
    return None, (prompt, "" if row.get("label") is False else reference)


def _rows(dataset: Dataset, split: str | None, limit: int | None) -> Iterator[Row]:
    """The split's rows, or those with the smallest content ids."""
    ids: Any = None
    if limit is not None:
        tables = dataset.tables(["content_id"], split=split)
        ids = pa.array(heapq.nsmallest(limit, (c for t in tables for c in t["content_id"].to_pylist())), pa.string())
    for table in dataset.tables(_COLUMNS, split):
        yield from (table if ids is None else table.filter(pc.is_in(table["content_id"], ids))).to_pylist()


def _count(result: Encoding, length: int) -> None:
    result.kept += 1
    result.sequences += 1
    result.tokens += length
    result.longest = max(result.longest, length)
    result.lengths[min(max(length, 1).bit_length() - 1, len(result.lengths) - 1)] += 1


def _drop(result: Encoding, ledger: LedgerWriter | None, record_id: str, reason: str) -> None:
    result.dropped_by[reason] = result.dropped_by.get(reason, 0) + 1
    if len(result.examples) < _EXAMPLES:
        result.examples.append(Example(record_id=record_id, reason=reason, text="", evidence={}))
    if ledger:
        ledger.add(record_id, "dropped", reason, evidence={})


def _require(result: Encoding, unusable: int, settings: TrainSettings, room: int) -> None:
    seen = result.kept + unusable
    if (unusable and settings.unusable_rows == "fail") or unusable > settings.max_unusable_share * max(seen, 1):
        raise TrainingDataError(
            f"{unusable} of {seen} rows can't be put to the model: {result.dropped_by}", where="train",
            hint="clean the source of special tokens, or set template.system: merge_into_user, or max_unusable_share",
        )  # fmt: skip
    if not result.kept:
        raise TrainingDataError(
            f"no prompt is left to train on: {result.rows_in} rows read, dropped by {result.dropped_by}", where="train",
            hint=f"a prompt may have {room} tokens: raise max_length, or lower objective.max_completion_length;"
            " documents ask nothing",
        )  # fmt: skip


def _describe(result: Encoding, rows: list[tuple[bytes, str]]) -> None:
    """Where the prompts come from; nothing of a prompt is trained."""
    names = sorted({source for _, source in rows})
    keys = b"".join(key for key, _ in rows)
    hashes = np.frombuffer(keys, ">u8")[::4].astype(np.uint64)
    codes = np.array([names.index(source) for _, source in rows], np.int32)
    result.order, result.origins = keys, Origins(names, codes, hashes, np.zeros(len(rows)))
