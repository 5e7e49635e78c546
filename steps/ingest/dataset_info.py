"""What LLaMA-Factory's dataset_info.json says of the files beside it: which columns mean what, and who speaks.

The form is that of LLaMA-Factory 0.9, `data/README.md` and `src/llamafactory/data/parser.py`: where an entry names
columns, only those are read; messages have `from` and `value` unless tags say otherwise.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from steps.contracts.errors import InputError
from steps.contracts.records import Row

NAME = "dataset_info.json"
# Their names of columns, and ours.
_COLUMNS = {
    "prompt": "instruction", "query": "input", "response": "output", "history": "history", "messages": "messages",
    "system": "system", "tools": "tools", "images": "images", "videos": "videos", "audios": "audio",
    "chosen": "chosen", "rejected": "rejected", "kto_tag": "label",
}  # fmt: skip
_ROLES = {
    "user_tag": ("human", "user"), "assistant_tag": ("gpt", "assistant"), "observation_tag": ("observation", "tool"),
    "function_tag": ("function_call", "function_call"), "system_tag": ("system", "system"),
}  # fmt: skip
_MESSAGES = ("messages", "chosen", "rejected")


@dataclass(frozen=True)
class Meaning:
    """What the rows of a file mean.

    Attributes:
        entry: the name that the file has in dataset_info.json.
        columns: our name of a column to the file's; empty: nothing is said of them.
        role, content: the keys of a message. roles: its names of roles to ours.
        ranking: an answer that is a list of two has the better one first.
    """

    entry: str
    columns: Mapping[str, str] = field(default_factory=dict)
    role: str = "from"
    content: str = "value"
    roles: Mapping[str, str] = field(default_factory=dict)
    ranking: bool = False

    def row(self, row: Row) -> Row:
        """The row under our names, without the columns of which nothing is said."""
        out = {ours: row[theirs] for ours, theirs in self.columns.items() if theirs in row} if self.columns else row
        if self.roles:
            out = {k: self._messages(v) if k in _MESSAGES or not self.columns else v for k, v in out.items()}
        answers = out.get("output")
        if self.ranking and isinstance(answers, list) and len(answers) == 2:
            out = {k: v for k, v in out.items() if k != "output"}
            out |= {"chosen": answers[0], "rejected": answers[1]}
        return out

    def unread(self, row: Row) -> Row:
        """The columns of which nothing is said."""
        named = set(self.columns.values())
        return {k: v for k, v in row.items() if k not in named} if self.columns else {}

    def _messages(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._message(m) for m in value]
        return self._message(value)

    def _message(self, m: Any) -> Any:
        if not isinstance(m, dict) or self.role not in m or self.content not in m:
            return m
        rest = {k: v for k, v in m.items() if k not in (self.role, self.content)}
        said = m[self.role]
        return {
            "role": self.roles.get(said, said) if isinstance(said, str) else said,
            "content": m[self.content],
            **rest,
        }


def meanings(text: str, folder: str, where: str) -> dict[str, list[Meaning]]:
    """By the path of a file or folder of files, what the entries say of it. Nothing where the text is something else.

    `folder` is that of dataset_info.json, with a slash behind it, or "".

    Raises:
        InputError: an entry isn't of the form that is known.
    """
    try:
        entries = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    out: dict[str, list[Meaning]] = {}
    for name, entry in entries.items() if isinstance(entries, dict) else ():
        if isinstance(entry, dict) and isinstance(entry.get("file_name"), str):
            path = PurePosixPath(folder, entry["file_name"].removeprefix("./").rstrip("/")).as_posix()
            out.setdefault(path, []).append(_meaning(str(name), entry, where))
    return out


def _meaning(name: str, entry: Row, where: str) -> Meaning:
    columns, tags = entry.get("columns") or {}, entry.get("tags") or {}
    if not isinstance(columns, dict) or not isinstance(tags, dict):
        raise InputError(
            f"entry {name[:40]!r}: columns and tags must be objects", where=where, hint="see LLaMA-Factory"
        )
    unknown = [k for k in columns if k not in _COLUMNS]
    if unknown:
        what = f"entry {name[:40]!r} names columns that aren't known: {', '.join(map(repr, unknown[:5]))}"
        raise InputError(what, where=where, hint=f"known are {', '.join(_COLUMNS)}")
    ours = {_COLUMNS[k]: v for k, v in columns.items() if isinstance(v, str)}
    if set(ours) == {"instruction"} and entry.get("formatting", "alpaca") == "alpaca":
        # What is only a prompt is text for continued pretraining.
        ours = {"text": ours["instruction"]}
    listed = entry.get("formatting") == "sharegpt"
    roles = {str(tags.get(tag, usual)): role for tag, (usual, role) in _ROLES.items()} if listed else {}
    role, content = str(tags.get("role_tag", "from")), str(tags.get("content_tag", "value"))
    return Meaning(name, ours, role, content, roles, entry.get("ranking") is True)
