"""Every form that a config asks for, put together."""

from steps.scrub.config import ScrubConfig
from steps.scrub.recognizers.forms import Form, custom_forms
from steps.scrub.recognizers.labelled_numbers import presets
from steps.scrub.recognizers.secrets import secrets


def all_forms(config: ScrubConfig) -> list[Form]:
    """The config's own words and patterns, labelled numbers and secrets."""
    return [
        *custom_forms(config),
        *presets(config.wanted_of("label and number")),
        *secrets(config.wanted_of("secrets")),
    ]
