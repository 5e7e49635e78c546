"""Licences by their names: SPDX's, and the hub's for its metadata."""

from typing import Any

from ops.release.contents import UNKNOWN

# Those that models and data sets mostly have, as spdx.org/licenses spells them. Others are told by their name alone.
SPDX = (
    "AFL-3.0", "AGPL-3.0-only", "AGPL-3.0-or-later", "Apache-2.0", "Artistic-2.0", "BSD-2-Clause", "BSD-3-Clause",
    "BSL-1.0", "CC-BY-2.0", "CC-BY-2.5", "CC-BY-3.0", "CC-BY-4.0", "CC-BY-NC-4.0", "CC-BY-NC-ND-4.0",
    "CC-BY-NC-SA-4.0", "CC-BY-ND-4.0", "CC-BY-SA-3.0", "CC-BY-SA-4.0", "CC0-1.0", "CDLA-Permissive-1.0",
    "CDLA-Permissive-2.0", "CDLA-Sharing-1.0", "EPL-2.0", "EUPL-1.1", "EUPL-1.2", "GFDL-1.3-only", "GPL-2.0-only",
    "GPL-3.0-only", "GPL-3.0-or-later", "ISC", "LGPL-2.1-only", "LGPL-3.0-only", "MIT", "MPL-2.0", "ODC-By-1.0",
    "ODbL-1.0", "PDDL-1.0", "Unlicense", "WTFPL", "Zlib",
)  # fmt: skip
_BY_LOWER = {name.lower(): name for name in SPDX}
# What the hub calls these: the lower-case name, where that is one of its own (huggingface.co/docs/hub).
_HUB = frozenset({
    "apache-2.0", "mit", "bsd-2-clause", "bsd-3-clause", "bsl-1.0", "cc0-1.0", "cc-by-2.0", "cc-by-2.5", "cc-by-3.0",
    "cc-by-4.0", "cc-by-sa-3.0", "cc-by-sa-4.0", "cc-by-nc-4.0", "cc-by-nd-4.0", "cc-by-nc-nd-4.0", "cc-by-nc-sa-4.0",
    "cdla-sharing-1.0", "cdla-permissive-1.0", "cdla-permissive-2.0", "wtfpl", "epl-2.0", "eupl-1.1", "eupl-1.2",
    "isc", "mpl-2.0", "odc-by", "odbl", "pddl", "afl-3.0", "artistic-2.0", "unlicense", "zlib", UNKNOWN,
})  # fmt: skip
_HUB_NAMES = {"odc-by-1.0": "odc-by", "odbl-1.0": "odbl", "pddl-1.0": "pddl"}


def spdx_licence(name: str) -> dict[str, Any]:
    """A licence as CycloneDX has it: by SPDX's id where there is one, else by name."""
    known = _BY_LOWER.get(name.lower())
    return {"license": {"id": known} if known else {"name": name}}


def hub_licence(name: str) -> dict[str, str]:
    """The keys of a model card's metadata."""
    lower = _HUB_NAMES.get(name.lower(), name.lower())
    return {"license": lower} if lower in _HUB else {"license": "other", "license_name": name}
