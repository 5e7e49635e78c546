"""Small files of the kinds that users of training tools report as trouble, each with what is right beside it.

`write_all(folder)` writes them; `CASES` says what a loader that reads them rightly gives. `bench_rows.py` shows what
four loaders make of them; a test holds ours to it.
"""

import gzip
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

Shape = Literal["pairs", "messages", "conversations", "alpaca", "dpo_conversations", "kto", "ranked"]
Value = dict[str, Any]


@dataclass(frozen=True)
class Turn:
    """A turn as it must come out. `calls`: names and arguments of its tool calls."""

    role: str
    text: str
    trained: bool
    reasoning: str = ""
    calls: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Truth:
    """A row as it must come out: turns, or also the two answers of a preference, or a verdict on the last turn."""

    turns: tuple[Turn, ...]
    chosen: str = ""
    rejected: str = ""
    label: bool | None = None


@dataclass(frozen=True)
class Case:
    """A file: its name, what is in it, how rows are shaped, what is right, and how many rows can't be read."""

    file: str
    what: str
    shape: Shape
    write: Callable[[Path], object]
    rows: Sequence[Truth]
    lost: int = 0
    settings: Value = field(default_factory=dict)


def pair(prompt: str, answer: str) -> Truth:
    """One question with its answer."""
    return Truth((Turn("user", prompt, False), Turn("assistant", answer, True)))


TRAINS = [(f"When does train {n} leave?", f"Train {n} leaves at {7 + n % 12}:{n % 60:02d}.") for n in range(60)]
FEW = TRAINS[:4]
PAIRS = [pair(*t) for t in TRAINS]
FEW_PAIRS = PAIRS[:4]
# The broken row stands in the middle, and can't be read.
BROKEN = 30
ALL_BUT_ONE = [p for n, p in enumerate(PAIRS) if n != BROKEN]


def _messages(prompt: str, answer: str) -> Value:
    return {"messages": [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]}


def _text(text: str | bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(text.encode() if isinstance(text, str) else text)


def _lines(rows: Sequence[Value], end: str = "\n") -> Callable[[Path], object]:
    return _text("".join(json.dumps(row, ensure_ascii=False) + end for row in rows))


def _csv(broken: Callable[[str, str], str] | None = None, end: str = "\n") -> Callable[[Path], object]:
    rows = [f"{q},{a}" if n != BROKEN or broken is None else broken(q, a) for n, (q, a) in enumerate(TRAINS)]
    return _text(end.join(["prompt,completion", *rows, ""]))


def _array(broken: Callable[[str], str]) -> Callable[[Path], object]:
    rows = [json.dumps({"prompt": q, "completion": a}) for q, a in TRAINS]
    rows[BROKEN] = broken(rows[BROKEN])
    return _text("[\n" + ",\n".join(rows) + "\n]\n")


def _table(rows: Sequence[Value]) -> Callable[[Path], object]:
    return lambda path: pq.write_table(pa.Table.from_pylist(list(rows)), path)


_CHATS = [_messages(*t) for t in FEW]
_CALL = {"id": "a1", "type": "function"}


def _calling(question: str, name: str, arguments: Value, answer: str) -> Value:
    tool = {"type": "object", "properties": {key: {"type": "integer"} for key in arguments}}
    return {
        "messages": [
            {"role": "user", "content": question},
            {
                "role": "assistant",
                "content": "",
                "tool_calls": [{**_CALL, "function": {"name": name, "arguments": arguments}}],
            },
            {"role": "tool", "content": "done", "tool_call_id": "a1"},
            {"role": "assistant", "content": answer},
        ],
        "tools": [{"type": "function", "function": {"name": name, "parameters": tool}}],
    }


def _called(question: str, name: str, arguments: str, answer: str) -> Truth:
    return Truth((
        Turn("user", question, False), Turn("assistant", "", True, calls=((name, arguments),)),
        Turn("tool", "done", False), Turn("assistant", answer, True),
    ))  # fmt: skip


def _hub(path: Path) -> None:
    (path / "data").mkdir(parents=True)
    (path / "README.md").write_text(
        "---\nconfigs:\n- config_name: default\n  data_files:\n  - split: train\n    path: data/train-*\n"
        "  - split: test\n    path: data/test-*\n---\n# Trains\n\nWhen which train leaves.\n"
    )
    _table(_CHATS)(path / "data" / "train-00000-of-00001.parquet")
    _table([_messages(*t) for t in TRAINS[50:]])(path / "data" / "test-00000-of-00001.parquet")


def _factory(path: Path) -> None:
    path.mkdir()
    (path / "dataset_info.json").write_text(json.dumps({"trains": {"file_name": "trains.json"}}))
    rows = [{"instruction": q, "input": "", "output": a} for q, a in FEW]
    (path / "trains.json").write_text(json.dumps(rows))


_WEIGHTS = [
    {
        "messages": [
            {"role": "user", "content": "Which platform?"},
            {"role": "assistant", "content": "Platform 9.", flag: off},
            {"role": "user", "content": "Is that right?"},
            {"role": "assistant", "content": "No, it is platform 4.", flag: on},
        ]
    }
    for flag, off, on in (("weight", 0, 1), ("train", False, True))
]
_WEIGHTED = Truth((
    Turn("user", "Which platform?", False), Turn("assistant", "Platform 9.", False),
    Turn("user", "Is that right?", False), Turn("assistant", "No, it is platform 4.", True),
))  # fmt: skip
_ASK, _GOOD, _POOR = "Which train to the sea?", "The 8:15 goes to the sea.", "Some train."
_GREETING = [{"from": "human", "value": "Hello."}, {"from": "gpt", "value": "Good morning."}]
_GREETED = (Turn("user", "Hello.", False), Turn("assistant", "Good morning.", True))


def _preference(before: list[dict[str, str]]) -> list[Value]:
    asked = {"from": "human", "value": _ASK}
    sides = {"chosen": {"from": "gpt", "value": _GOOD}, "rejected": {"from": "gpt", "value": _POOR}}
    return [{"conversations": [*before, asked], **sides}]


CASES: tuple[Case, ...] = (
    Case("open_quote.csv", "a quote is opened in the middle of row 31 of 60 and never closed", "pairs",
         _csv(lambda q, a: f'"{q},{a}'), ALL_BUT_ONE, lost=1),
    Case("open_quote_cell.csv", "the same in the second cell", "pairs", _csv(lambda q, a: f'{q},"{a}'), ALL_BUT_ONE, 1),
    Case("stray_quote.json", "an array; row 31 of 60 has a quote too many", "pairs",
         _array(lambda row: row.replace("leaves", 'lea"ves')), ALL_BUT_ONE, lost=1),
    Case("no_brace.json", "an array; row 31 of 60 has no closing brace", "pairs", _array(lambda row: row[:-1]),
         ALL_BUT_ONE, lost=1),
    Case("cr.csv", "CR line ends", "pairs", _csv(end="\r"), PAIRS),
    Case("sep.csv", "Excel's `sep=;`", "pairs",
         _text("sep=;\nprompt;completion\n" + "".join(f"{q};{a}\n" for q, a in FEW)), FEW_PAIRS),
    Case("blank_columns.csv", "two columns without a name", "pairs",
         _text("prompt,completion,,\n" + "".join(f"{q},{a},,\n" for q, a in FEW)), FEW_PAIRS),
    Case("packed.jsonl", "gzip under a plain name", "messages",
         lambda path: path.write_bytes(gzip.compress("".join(json.dumps(c) + "\n" for c in _CHATS).encode(), mtime=0)),
         FEW_PAIRS),
    Case("array.jsonl", "an array in a .jsonl", "messages", _text(json.dumps(_CHATS)), FEW_PAIRS),
    Case("pretty.jsonl", "one object over many lines", "messages",
         _text("\n".join(json.dumps(c, indent=2) for c in _CHATS)), FEW_PAIRS),
    Case("two_on_a_line.jsonl", "two objects on a line", "messages", _text("".join(json.dumps(c) for c in _CHATS)),
         FEW_PAIRS),
    Case("commas.jsonl", "a comma behind each line", "messages", _lines(_CHATS, ",\n"), FEW_PAIRS),
    Case("bom_later.jsonl", "a byte order mark before a later line", "messages",
         _text("\n\ufeff".join(json.dumps(c) for c in _CHATS)), FEW_PAIRS),
    Case("utf16.jsonl", "UTF-16 with a byte order mark", "messages",
         _text("".join(json.dumps(c) + "\n" for c in _CHATS).encode("utf-16")), FEW_PAIRS),
    Case("wrapped.json", '`{"version": ..., "data": [...]}`', "messages",
         _text(json.dumps({"version": "2", "data": _CHATS})), FEW_PAIRS),
    Case("columns.json", "one list per column", "pairs",
         _text(json.dumps({"prompt": [q for q, _ in FEW], "completion": [a for _, a in FEW]})), FEW_PAIRS),
    Case("weight.jsonl", "`weight: 0` on a turn", "messages", _lines(_WEIGHTS[:1]), [_WEIGHTED]),
    Case("train_flag.jsonl", "`train: false` on a turn", "messages", _lines(_WEIGHTS[1:]), [_WEIGHTED],
         settings={"message_field_training": "train"}),
    Case("kto.jsonl", "prompt, completion and a label", "kto",
         _lines([{"prompt": _ASK, "completion": a, "label": a == _GOOD} for a in (_GOOD, _POOR)]),
         [Truth(pair(_ASK, a).turns, label=a == _GOOD) for a in (_GOOD, _POOR)]),
    Case("dpo_conversations.jsonl", "conversations with chosen and rejected", "dpo_conversations",
         _lines(_preference([])), [Truth((Turn("user", _ASK, False),), _GOOD, _POOR)]),
    Case("dpo_turns.jsonl", "the same behind earlier turns", "dpo_conversations", _lines(_preference(_GREETING)),
         [Truth((*_GREETED, Turn("user", _ASK, False)), _GOOD, _POOR)]),
    Case("reasoning.jsonl", "`reasoning_content` beside the answer", "messages",
         _lines([{"messages": [{"role": "user", "content": "How long from 8:10 to 9:05?"},
                               {"role": "assistant", "content": "55 minutes.", "reasoning_content": "50 and 5."}]}]),
         [Truth((Turn("user", "How long from 8:10 to 9:05?", False),
                 Turn("assistant", "55 minutes.", True, reasoning="50 and 5.")))]),
    Case("tools_unified.parquet", "tool arguments that Arrow made one struct of", "messages",
         _table([_calling("Book seat 3.", "book", {"seat": 3}, "Booked."),
                 _calling("Cancel ticket 7.", "cancel", {"ticket": 7}, "Cancelled.")]),
         [_called("Book seat 3.", "book", '{"seat": 3}', "Booked."),
          _called("Cancel ticket 7.", "cancel", '{"ticket": 7}', "Cancelled.")]),
    Case("roles.jsonl", "other names for the same roles", "conversations",
         _lines([{"conversations": [{"from": u, "value": q}, {"from": a, "value": r}]}
                 for (q, r), (u, a) in zip(FEW, [("human ", "ai"), ("Human", "Assistant"), ("user", "bot"),
                                                 ("human", "claude")], strict=True)]), FEW_PAIRS),
    Case("mixed_keys.jsonl", "`role` with `value`, `from` with `content`", "conversations",
         _lines([{"conversations": [{"role": "user", "value": FEW[0][0]}, {"role": "assistant", "value": FEW[0][1]}]},
                 {"conversations": [{"from": "human", "content": FEW[1][0]}, {"from": "gpt", "content": FEW[1][1]}]}]),
         FEW_PAIRS[:2]),
    Case("empty_instruction.jsonl", "an empty instruction with an input", "alpaca",
         _lines([{"instruction": "", "input": q, "output": a} for q, a in FEW]), FEW_PAIRS),
    Case("values.jsonl", "answers that are numbers or objects", "pairs",
         _lines([{"prompt": "How many platforms?", "completion": 12},
                 {"prompt": "The next train as JSON?", "completion": {"line": "S1", "at": "8:15"}}]),
         [pair("How many platforms?", "12"), pair("The next train as JSON?", '{"at":"8:15","line":"S1"}')]),
    Case("null_content.jsonl", "content null beside a call, content an object in a tool's answer", "messages",
         _lines([{"messages": [
             {"role": "user", "content": "Seat 3?"},
             {"role": "assistant", "content": None,
              "tool_calls": [{**_CALL, "function": {"name": "seat", "arguments": '{"n": 3}'}}]},
             {"role": "tool", "tool_call_id": "a1", "content": {"free": True}},
             {"role": "assistant", "content": "It is free."}]}]),
         [Truth((Turn("user", "Seat 3?", False), Turn("assistant", "", True, calls=(("seat", '{"n": 3}'),)),
                 Turn("tool", '{"free":true}', False), Turn("assistant", "It is free.", True)))]),
    Case("refusal.jsonl", "`refusal` in place of content", "messages",
         _lines([{"messages": [{"role": "user", "content": "How do I ride without a ticket?"},
                               {"role": "assistant", "content": None, "refusal": "I can't help with that."}]}]),
         [pair("How do I ride without a ticket?", "I can't help with that.")]),
    Case("parts.jsonl", "content as parts of text", "messages",
         _lines([{"messages": [{"role": "user", "content": [{"type": "text", "text": "When does "},
                                                            {"type": "text", "text": "it leave?"}]},
                               {"role": "assistant", "content": [{"type": "text", "text": "At nine."}]}]}]),
         [pair("When does it leave?", "At nine.")]),
    Case("image.jsonl", "an image in the question of one of five rows", "messages",
         _lines([*_CHATS, {"messages": [
             {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "a.png"}},
                                          {"type": "text", "text": "Which station is this?"}]},
             {"role": "assistant", "content": "The main station."}]}]), FEW_PAIRS, lost=1),
    Case("ranked.jsonl", "`context`, `responses` and `scores`", "ranked",
         _lines([{"context": _ASK, "responses": [_POOR, _GOOD], "scores": [1, 5]}]),
         [Truth((Turn("user", _ASK, False),), _GOOD, _POOR)]),
    Case("hub_clone", "a cloned hub data set with two splits", "messages", _hub, FEW_PAIRS),
    Case("factory", "a folder with dataset_info.json", "alpaca", _factory, FEW_PAIRS),
)  # fmt: skip


def write_all(folder: Path) -> dict[str, Path]:
    """Write every file below `folder`; file name -> path."""
    folder.mkdir(parents=True, exist_ok=True)
    out = {case.file: folder / case.file for case in CASES}
    for case in CASES:
        case.write(out[case.file])
    return out
