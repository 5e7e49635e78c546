"""One model in memory with the weights of several: those that differ are kept aside, and copied in when asked for."""

from typing import Any

from steps.contracts.errors import ConfigError
from steps.engines.lm.load import LoadedModel


class SharedWeights:
    """Weights by name. What is loaded is the very model that is evaluated, so that one in use gives the same bits.

    A model takes the memory of the weights that it has otherwise than the first: of an adapter, those of the layers
    that it changes.
    """

    def __init__(self, name: str, first: LoadedModel) -> None:
        self._shared = first
        self._own: dict[str, dict[str, Any]] = {name: {}}
        self._first: dict[str, Any] = {}
        self._now = name

    def add(self, name: str, loaded: LoadedModel) -> LoadedModel:
        """Keep what a model has otherwise; returns it with the shared weights in place of its own.

        Raises:
            ConfigError: it has other layers.
        """
        import torch

        there, theirs = self._shared.model.state_dict(), loaded.model.state_dict()
        wrong = sorted(n for n in {*there, *theirs} if n not in there or n not in theirs or _unlike(there, theirs, n))
        if wrong:
            raise ConfigError(
                f"it isn't made of the same layers as {next(iter(self._own))}: {wrong[0]}", where=name,
                hint="models that are served together lie over one base; give this one a server of its own",
            )  # fmt: skip
        self._own[name] = {n: t.clone() for n, t in theirs.items() if not torch.equal(t, self._first.get(n, there[n]))}
        for changed in self._own[name]:
            self._first.setdefault(changed, there[changed].clone())
        return LoadedModel(self._shared.model, loaded.tokenizer, loaded.device)

    def use(self, name: str) -> None:
        """Let the shared model be this one."""
        if name == self._now:
            return
        there = self._shared.model.state_dict()
        wanted = self._own[name]
        for changed in {*self._own[self._now], *wanted}:
            there[changed].copy_(wanted.get(changed, self._first[changed]))
        self._now = name


def _unlike(there: dict[str, Any], theirs: dict[str, Any], name: str) -> bool:
    return bool(there[name].shape != theirs[name].shape or there[name].dtype != theirs[name].dtype)
