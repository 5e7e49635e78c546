from pathlib import Path

import pytest

from materializers.models import ModelFolderMaterializer
from steps.contracts.errors import UnsafeSerializationError
from steps.contracts.models import PICKLE_SUFFIXES, BaseRef, ModelFolder, ModelInfo


@pytest.mark.parametrize("suffix", sorted(PICKLE_SUFFIXES))
def test_no_file_that_may_hold_a_pickle_is_stored(tmp_path: Path, suffix: str) -> None:
    source, store = tmp_path / "model", tmp_path / "store"
    source.mkdir()
    store.mkdir()
    (source / f"weights{suffix}").write_bytes(b"\x80\x04.")
    info = ModelInfo(
        kind="full", base=BaseRef(source="scratch", name="scratch"), digest="", files={f"weights{suffix}": ""},
        parameters=1,
    )  # fmt: skip
    with pytest.raises(UnsafeSerializationError, match=f"weights{suffix} may hold a pickle"):
        ModelFolderMaterializer(str(store)).save(ModelFolder(info, source))
    assert list(store.iterdir()) == []
