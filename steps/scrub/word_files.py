"""Word lists in files of their own, so that names of persons need not stand in a config that is logged."""

from pathlib import Path

from steps.contracts.errors import InputError, InputNotFoundError
from steps.scrub.config import ScrubConfig


def with_words(config: ScrubConfig, root: Path) -> ScrubConfig:
    """The config with the values of its `allow_file` and `deny_files` among `allow` and `deny`, and no files.

    Raises:
        InputNotFoundError: no such file below `root`.
        InputError: a file isn't UTF-8 text or holds no word.
    """
    if not config.word_files:
        return config
    deny = {entity: list(words) for entity, words in config.deny.items()}
    for entity, name in config.deny_files.items():
        deny.setdefault(entity, []).extend(_read(root, name))
    allow = [*config.allow, *(_read(root, config.allow_file) if config.allow_file else ())]
    # Sorted, so that equal lists give an equal config.
    words = {entity: tuple(sorted(set(values))) for entity, values in deny.items()}
    changes = {"deny": words, "deny_files": {}, "allow": tuple(sorted(set(allow))), "allow_file": None}
    return config.model_copy(update=changes)


def _read(root: Path, name: str) -> list[str]:
    try:
        lines = (root / name).read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError as e:
        raise InputNotFoundError("no such file", where=name, hint=f"paths in a config start from {root}") from e
    except (OSError, UnicodeDecodeError) as e:
        raise InputError("not a text file in UTF-8", where=name, hint="one word or name per line") from e
    words = [line.strip() for line in lines if line.strip()]
    if not words:
        raise InputError("the file holds no word", where=name, hint="one word or name per line")
    return words
