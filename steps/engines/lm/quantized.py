"""bitsandbytes: weights of 4 and 8 bits, optimizers of 8 bits. It is an extra."""

from importlib.util import find_spec

from steps.contracts.errors import ConfigError

HOW_TO_GET_IT = "pip install 'assay[bitsandbytes]'"


def has_bitsandbytes() -> bool:
    """Whether it is installed here. It isn't imported, which takes a second and prints."""
    return find_spec("bitsandbytes") is not None


def require_bitsandbytes(what: str) -> None:
    """Refuse what needs it where it is absent.

    Raises:
        ConfigError: it isn't installed.
    """
    if not has_bitsandbytes():
        raise ConfigError(f"{what} needs bitsandbytes, which isn't installed", where="train", hint=HOW_TO_GET_IT)
