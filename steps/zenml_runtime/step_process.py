"""One step in a process of its own, in the checkout of its launcher, as long as that lives."""

import os
import signal
import threading

from zenml.entrypoints.step_entrypoint_configuration import StepEntrypointConfiguration

from steps.zenml_runtime import step_start
from steps.zenml_runtime.safety import harden

# The end of a pipe that the launcher holds open.
PARENT = "ASSAY_PARENT_PIPE"


class StepProcess(StepEntrypointConfiguration):
    """ZenML's entrypoint of a step, without the folder of an image."""

    def run(self) -> None:
        """Run the step."""
        from steps.zenml_runtime.database import open_store, starting
        from steps.zenml_runtime.tracker import prepare_tracker

        os.umask(0o077)
        end_with(int(os.environ[PARENT]))
        # Before ZenML makes its components and looks for integrations.
        harden()
        with starting():
            open_store()
            prepare_tracker()
        super().run()

    @classmethod
    def get_entrypoint_command(cls) -> list[str]:
        """ZenML's, started light."""
        return ["python", "-m", step_start.__name__]

    def prepare_code_environment(self) -> None:
        """The code is there: it is that of the launcher."""


def end_with(pipe: int) -> None:
    """Kill this process and its children when nobody holds the other end of the pipe any more."""

    def watch() -> None:
        while os.read(pipe, 1):
            pass
        os.killpg(os.getpgid(0), signal.SIGKILL)

    threading.Thread(target=watch, name="launcher", daemon=True).start()
