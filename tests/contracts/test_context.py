from pathlib import Path

from steps.contracts.context import StageContext
from steps.contracts.execution import Inline
from steps.contracts.tombstones import Tombstones


def test_a_context_assumes_nothing_of_what_it_is_not_told() -> None:
    """Above all not that personal data is gone: then no text may be shown."""
    assert vars(StageContext(Path("out"))) == {
        "folder": Path("out"), "root": Path(), "cache": None, "earlier": {}, "code": "", "key_id": "", "search": "",
        "run": "", "scrubbed": False, "keep": False, "inputs": None, "quarantined": (), "executor": Inline(),
        "one_shard": False, "models": {}, "tombstones": Tombstones(), "shares": (),
            "clean": None,
    }  # fmt: skip
