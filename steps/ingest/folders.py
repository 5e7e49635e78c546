"""Which files of a folder hold its rows: by rules on names, by `include` and `exclude`, and by the hub's layout.

Names that begin with a dot are never read. Links are followed; a folder that is reached again through one isn't read
twice. Nothing else is left out without a word: `Choice.passed` names it with the reason.
"""

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from steps.contracts.digests import short_id
from steps.contracts.errors import InputError
from steps.ingest.config import SourceConfig
from steps.ingest.dataset_info import NAME as DATASET_INFO
from steps.ingest.dataset_info import Meaning, meanings

# Chosen: longer texts about a data set are none that a program wrote.
MOST_CARD_BYTES = 4 << 20
ALL = "all"

_LEFT_OVERS = re.compile(
    r".*~|~\$.*|#.*#|.*\.(?:sw[opn]|bak|orig|tmp|temp|part|partial|crdownload|incomplete|lock)"
    r"|thumbs\.db|desktop\.ini|icon\r",
    re.IGNORECASE,
)
_DESCRIBES = {"dataset_info.json", "dataset_infos.json", "dataset_dict.json", "dataset-metadata.json",
              "datapackage.json", "croissant.json"}  # fmt: skip
_CARDS = re.compile(
    r"(?:readme|licen[cs]e|copying|notice|citation|changelog|contributing|code_of_conduct|authors|requirements)"
    r"(?:[-_.].*)?\.(?:md|markdown|txt|rst|html?)",
    re.IGNORECASE,
)
_ROWS = re.compile(
    r".*\.(?:jsonl|ndjson|jsonlines|jl|json|csv|tsv|tab|parquet|pq|parq|arrow|feather|ipc|xlsx|xlsm)"
    r"(?:\.(?:gz|zst|zstd|bz2|xz|lzma|zip))?",
    re.IGNORECASE,
)
# As the hub names splits in names of files and folders.
_SHARD = re.compile(r"(?:.*/)?(\w+(?:\.\w+)*)-\d{5}-of-\d{5}[^/]*")
_WORDS = {"train": "train|training", "validation": "validation|valid|dev|val", "test": "test|testing|eval|evaluation"}
_KEYWORDS = {s: re.compile(rf"(?:^|[-._ 0-9])(?:{w})(?:[-._ 0-9]|$)", re.IGNORECASE) for s, w in _WORDS.items()}
# The part of an address before its @, and a phone number with its country.
_PERSONAL = re.compile(r"[\w.+%-]+(?=(?:@|%40)[\w-]+\.)|(?<!\w)\+\d[\d ().-]{7,17}\d")
_HIDDEN_CHARS = 12
_FRONT = re.compile(r"---\r?\n(.*?)\n---\s*(?:\n|$)", re.DOTALL)
_CONFIGS = re.compile(r"^configs:.*\n(?:(?![^\s#-]).*\n?)*", re.MULTILINE)


@dataclass(frozen=True)
class Entry:
    """A file: where it lies, its POSIX path below the folder, its size in bytes, and its file system (None: local)."""

    location: str
    relative: str
    size: int
    fs: Any = None


@dataclass
class Choice:
    """The entries that hold rows; the others by the reason why they don't; what else is to be said."""

    entries: list[Entry] = field(default_factory=list)
    passed: dict[str, list[str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    # What is said of the rows of some, and the files that say it.
    meanings: dict[str, Meaning] = field(default_factory=dict)
    descriptions: list[Entry] = field(default_factory=list)

    def leave(self, relative: str, reason: str) -> None:
        """Pass over a file."""
        self.passed.setdefault(reason, []).append(relative)


def walk(base: Path) -> Iterator[Path]:
    """Files below a folder, links followed, without hidden names; each folder once."""
    seen: set[tuple[int, int]] = set()
    for here, folders, names in os.walk(base, followlinks=True):
        status = Path(here).stat()
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(here) / name for name in sorted(names) if not name.startswith("."))


def plain_name(relative: str) -> str:
    """A path that can be stored and shown: bytes that aren't UTF-8 and control characters are written as escapes, and
    what names a person is its digest (the part before the @ of an address, a phone number with its +): it stands in
    every record, report and log.
    """
    text = os.fsencode(relative).decode("utf-8", "backslashreplace")
    plain = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return _PERSONAL.sub(lambda found: f"hidden-{short_id(found[0])[:_HIDDEN_CHARS]}", plain)


def choose(entries: Sequence[Entry], source: SourceConfig, text_of: Callable[[Entry], str], *, splits: bool) -> Choice:
    """The entries of a folder that hold rows. `text_of` reads a small file; splits: whether names say splits.

    Raises:
        InputError: the wanted split or subset isn't there, or there are several to choose from.
    """
    choice = Choice()
    left = [e for e in entries if _by_name(e, source, choice)]
    left = _saved(left, choice, text_of)
    data = any(has_rows(e.relative) for e in left)
    card = next((e for e in entries if e.relative.lower() == "readme.md"), None)
    configs = _configs(text_of(card)) if card is not None and data else []
    for entry in list(left):
        if not _CARDS.fullmatch(_name(entry)) or _named(entry, source.include):
            continue
        if data:
            left.remove(entry)
            choice.leave(entry.relative, "describes the data set beside it")
        elif entry is card:
            choice.notes.append("README.md is read as a document, since all files are; `exclude` leaves it out")
    choice.entries = left
    described = _described(entries, source, choice, text_of) if splits else False
    if splits and data and not (described and source.subset):
        if source.subset and not configs:
            raise InputError(
                "the folder has no README.md whose head has `configs`",
                where=f"source {source.name}",
                hint="leave `subset` out; `include` chooses files",
            )
        named = _by_card(left, configs, source, choice) if configs else []
        choice.entries = _of_split(named or _by_names(left, choice, text_of, entries), source, choice)
    return choice


def _described(entries: Sequence[Entry], source: SourceConfig, choice: Choice, text_of: Callable[[Entry], str]) -> bool:
    """Give the chosen entries what LLaMA-Factory's dataset_info.json says of them; whether it names the subset.

    Raises:
        InputError: it says different things of a file, or not in the form that is known.
    """
    said: dict[str, list[Meaning]] = {}
    for info in entries:
        if _name(info) == DATASET_INFO and (here := meanings(text_of(info), _folder(info), info.relative)):
            choice.descriptions.append(info)
            said |= here
    names = {m.entry for listed in said.values() for m in listed}
    for entry in list(choice.entries):
        at = next((p for p in said if entry.relative == p or entry.relative.startswith(f"{p}/")), None)
        found = [m for m in said.get(at or "", ()) if source.subset not in names or m.entry == source.subset]
        if found and any(replace(m, entry="") != replace(found[0], entry="") for m in found):
            what = f"{entry.relative} is described in several ways: {', '.join(m.entry for m in found[:5])}"
            hint = f"set `subset: {found[0].entry}`"
            raise InputError(what, where=choice.descriptions[0].relative, hint=hint)
        if found:
            choice.meanings[entry.relative] = found[0]
            choice.notes.append(f"{entry.relative}: read as dataset_info.json says of {found[0].entry}")
        elif source.subset in names:
            choice.entries.remove(entry)
            choice.leave(entry.relative, f"not {source.subset} of dataset_info.json")
    missing = [p for p in said if not any(f"{e.relative}/".startswith(f"{p}/") for e in entries)]
    if missing:
        choice.notes.append(f"dataset_info.json names files that aren't there: {', '.join(missing[:3])}")
    return source.subset in names


def _folder(entry: Entry) -> str:
    return entry.relative.removesuffix(_name(entry))


def has_rows(relative: str) -> bool:
    """Whether a name is that of a container of rows, and not of a document."""
    return _ROWS.fullmatch(PurePosixPath(relative).name) is not None


def _name(entry: Entry) -> str:
    return PurePosixPath(entry.relative).name


def _by_name(entry: Entry, source: SourceConfig, choice: Choice) -> bool:
    """Whether a file stays as far as its name and the source's patterns say."""
    name = _name(entry)
    if _named(entry, source.exclude):
        choice.leave(entry.relative, "by `exclude`")
    elif source.include:
        if _named(entry, source.include):
            return True
        choice.leave(entry.relative, "not in `include`")
    elif any(part.startswith("_") for part in entry.relative.split("/")):
        choice.leave(entry.relative, "its name begins with _")
    elif _LEFT_OVERS.fullmatch(name):
        choice.leave(entry.relative, "a lock, a backup or unfinished")
    elif name.lower() in _DESCRIBES:
        choice.leave(entry.relative, "describes the data set beside it")
    else:
        return True
    return False


def _named(entry: Entry, patterns: Iterable[str]) -> bool:
    """Whether one of the patterns fits the path, or, without a slash in it, the name."""
    return any(pattern_of(p).fullmatch(entry.relative if "/" in p else _name(entry)) for p in patterns)


@cache
def pattern_of(glob: str) -> re.Pattern[str]:
    """A glob over a POSIX path as a pattern: `*` and `?` stay within a part, `**` goes over several."""
    out, at = [], 0
    for found in re.finditer(r"\*\*/?|\*|\?|\[[!^]?\]?[^\]]*\]", glob.removeprefix("./")):
        text = glob.removeprefix("./")
        out.append(re.escape(text[at : found.start()]))
        mark = found.group()
        if mark.startswith("["):
            inner = mark[1:-1].replace("\\", "\\\\")
            out.append(f"[{'^' + inner[1:] if inner[:1] in '!^' else inner}]")
        else:
            out.append({"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}[mark])
        at = found.end()
    out.append(re.escape(glob.removeprefix("./")[at:]))
    try:
        return re.compile("".join(out), re.DOTALL)
    except re.error:
        return re.compile(re.escape(glob))


# --- what `save_to_disk` of `datasets` writes ---


def _saved(left: list[Entry], choice: Choice, text_of: Callable[[Entry], str]) -> list[Entry]:
    """Without the state files of saved data sets, nor Arrow files beside them that they don't list (caches)."""
    by_path = {e.relative: e for e in left}
    out = list(left)
    for state in [e for e in left if _name(e) == "state.json"]:
        folder = state.relative.removesuffix("state.json")
        arrows = [e for e in left if e.relative.startswith(folder) and "/" not in e.relative[len(folder) :]]
        arrows = [e for e in arrows if e.relative.endswith(".arrow")]
        listed = _state_files(text_of(state))
        if not arrows or listed is None:
            continue
        out.remove(state)
        choice.leave(state.relative, "describes the data set beside it")
        for name in listed:
            if folder + name not in by_path:
                raise InputError(
                    f"the saved data set lacks its file {name}", where=state.relative, hint="copy the folder again"
                )
        for arrow in arrows:
            if arrow.relative.removeprefix(folder) not in listed:
                out.remove(arrow)
                choice.leave(arrow.relative, "a cache of a saved data set")
    return out


def _state_files(text: str) -> list[str] | None:
    try:
        return [str(f["filename"]) for f in json.loads(text)["_data_files"]]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


# --- splits ---


def _by_names(
    left: list[Entry], choice: Choice, text_of: Callable[[Entry], str], entries: Sequence[Entry]
) -> list[tuple[Entry, str | None]]:
    saved = next((e for e in entries if e.relative == "dataset_dict.json"), None)
    names = _dict_splits(text_of(saved)) if saved is not None else []
    if not names:
        return [(e, split_of(e.relative) if has_rows(e.relative) else None) for e in left]
    out: list[tuple[Entry, str | None]] = []
    for entry in left:
        first = entry.relative.partition("/")[0]
        if first in names:
            out.append((entry, first))
        else:
            choice.leave(entry.relative, "not in a split of the saved data set")
    return out


def _dict_splits(text: str) -> list[str]:
    try:
        return [str(s) for s in json.loads(text)["splits"]]
    except (ValueError, KeyError, TypeError, RecursionError):
        return []


def split_of(relative: str) -> str | None:
    """The split that a path names as the hub reads it (`data/test-00000-of-00001.parquet`, `dev/a.csv`); or None."""
    shard = _SHARD.fullmatch(relative)
    if shard:
        return shard[1]
    *folders, name = relative.split("/")
    for part in [*folders, name]:
        found = next((split for split, pattern in _KEYWORDS.items() if pattern.search(part)), None)
        if found:
            return found
    return None


def _of_split(named: list[tuple[Entry, str | None]], source: SourceConfig, choice: Choice) -> list[Entry]:
    """The entries of the wanted split; what names none is of the split train."""
    there = sorted({split or "train" for _, split in named})
    if not any(split for _, split in named) or source.split == ALL:
        return [e for e, _ in named]
    wanted = source.split.split("+")
    if "split" not in source.model_fields_set and len(there) == 1:
        wanted = there
        if wanted != ["train"]:
            choice.notes.append(f"all files are of the split {there[0]}, which is read")
    missing = [split for split in wanted if split not in there]
    if missing:
        raise InputError(
            f"no files of split {' or '.join(missing)}; the folder has {', '.join(there)}",
            where=f"source {source.name}",
            hint=f"set `split: {there[0]}`, or `split: all` for all of them",
        )
    for entry, split in named:
        if (split or "train") not in wanted:
            choice.leave(entry.relative, f"of the split {split or 'train'}; `split` chooses, `all` reads every one")
    return [e for e, split in named if (split or "train") in wanted]


# --- the card of a data set on the hub ---


def _configs(card: str) -> list[Mapping[str, Any]]:
    """The entries of `configs` in the YAML head of a card; none where it can't be read."""
    front = _FRONT.match(card.removeprefix("\ufeff"))
    block = _CONFIGS.search(front[1] + "\n") if front else None
    if block is None or re.search(r"[:\-,\[]\s*[&*]\w", block[0]):
        return []
    try:
        found = yaml.safe_load(block[0])["configs"]
    except (yaml.YAMLError, RecursionError, ValueError, KeyError, TypeError):
        return []
    return [c for c in found if isinstance(c, dict) and c.get("data_files")] if isinstance(found, list) else []


def _by_card(
    left: list[Entry], configs: list[Mapping[str, Any]], source: SourceConfig, choice: Choice
) -> list[tuple[Entry, str | None]]:
    """The entries of the chosen subset with their splits; none where the card names no file that is there."""
    names = [str(c.get("config_name", "default")) for c in configs]
    wanted = source.subset or ("default" if "default" in names else None)
    wanted = wanted or next((n for n, c in zip(names, configs, strict=True) if c.get("default") is True), None)
    wanted = wanted or (names[0] if len(names) == 1 else None)
    if wanted not in names:
        what = "several subsets" if wanted is None else f"no subset {wanted!r}"
        raise InputError(
            f"{what}; the data set's card names {', '.join(names)}",
            where=f"source {source.name}",
            hint=f"set `subset: {names[0]}`",
        )
    config = configs[names.index(wanted)]
    folder = str(config.get("data_dir", "")).strip("/")
    patterns = [(split, f"{folder}/{p}" if folder else p) for split, p in _data_files(config["data_files"])]
    splits = [next((s for s, p in patterns if pattern_of(p).fullmatch(e.relative)), None) for e in left]
    if not any(splits):
        choice.notes.append(f"the files that the data set's card names for {wanted} aren't there; names of files count")
        return []
    for entry, split in zip(left, splits, strict=True):
        if split is None:
            choice.leave(entry.relative, f"not of the subset {wanted} as the data set's card has it")
    return [(e, s) for e, s in zip(left, splits, strict=True) if s is not None]


def _data_files(value: Any) -> Iterator[tuple[str, str]]:
    """Splits and globs of a card's `data_files`, in all the forms that the hub takes."""
    if isinstance(value, str):
        yield "train", value
    elif isinstance(value, dict):
        for split, paths in value.items():
            yield from ((str(split), str(p)) for p in (paths if isinstance(paths, list) else [paths]))
    elif isinstance(value, list):
        for item in value:
            if isinstance(item, dict) and "path" in item:
                paths = item["path"] if isinstance(item["path"], list) else [item["path"]]
                yield from ((str(item.get("split", "train")), str(p)) for p in paths)
            elif isinstance(item, str):
                yield "train", item
