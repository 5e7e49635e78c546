"""A ZenML alerter that writes what it is told into a file."""

from pathlib import Path

from zenml.alerter.base_alerter import BaseAlerter, BaseAlerterConfig, BaseAlerterFlavor


class NoteConfig(BaseAlerterConfig):
    file: str


class NoteAlerter(BaseAlerter):
    def post(self, message, params=None):
        with Path(self.config.file).open("a") as f:
            f.write(f"{message}\n")
        return True

    def ask(self, question, params=None):
        return False


class NoteFlavor(BaseAlerterFlavor):
    @property
    def name(self):
        return "note"

    @property
    def config_class(self):
        return NoteConfig

    @property
    def implementation_class(self):
        return NoteAlerter
