from pathlib import Path

import pytest

from materializers.models import ModelFolderMaterializer
from steps.contracts.errors import UnsafeSerializationError
from steps.contracts.models import PICKLE_SUFFIXES, BaseRef, ModelFolder, ModelInfo, TemplateSettings


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


def test_settings_of_the_template_are_content_so_that_another_one_is_not_taken_from_the_cache(tmp_path: Path) -> None:
    def content(template: TemplateSettings | None) -> str:
        info = ModelInfo(
            kind="full", base=BaseRef(source="local", name="m"), digest="d", files={}, parameters=1, template=template
        )
        return ModelFolderMaterializer(str(tmp_path)).compute_content_hash(ModelFolder(info, None))

    hashes = [
        content(None),
        content(TemplateSettings(config={"thinking": "on"})),
        content(TemplateSettings(config={"thinking": "off"})),
        content(TemplateSettings(config={"override": "t.jinja"}, override="{{ 1 }}")),
        content(TemplateSettings(config={"override": "t.jinja"}, override="{{ 2 }}")),
    ]
    assert hashes[0] == "d"  # a model with its own template as it is
    assert len(set(hashes)) == 5
