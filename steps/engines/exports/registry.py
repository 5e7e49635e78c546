"""The formats that models are exported in, by name."""

from collections.abc import Mapping

from steps.engines.exports.export import Export
from steps.engines.exports.pyfunc import Pyfunc

EXPORTS: Mapping[str, Export] = {"pyfunc": Pyfunc()}
