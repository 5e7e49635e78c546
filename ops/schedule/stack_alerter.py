"""An alert by the alerter of a stack (ZenML's Slack, Discord ...), in a process of its own: ZenML stays out of a
scheduler, which lives for months.
"""

import json
import os
import sys
from pathlib import Path

from steps.contracts.errors import AssayError, ConfigError, ServiceError


def post(root: Path, stack: str, text: str) -> None:
    """Tell it by that stack's alerter.

    Raises:
        InputNotFoundError: there is no such stack. ConfigError: it has no alerter. ServiceError: that takes no message.
    """
    from ops.environment import prepare

    prepare(root)
    from zenml.client import Client

    from ops.stacks.apply import apply
    from ops.stacks.files import stack_file
    from steps.zenml_runtime.database import open_store, starting

    with starting():
        open_store()
        os.environ["ZENML_ACTIVE_STACK_ID"] = apply(stack_file(root, stack), dict(os.environ)).id
        alerter = Client().active_stack.alerter
    if alerter is None:
        raise ConfigError(f"the stack {stack} has no alerter")
    if not alerter.post(text):
        raise ServiceError(f"the alerter of the stack {stack} takes no message")


def main() -> None:
    """Read what is to be told, as JSON, from standard input."""
    told = json.load(sys.stdin)
    try:
        post(Path.cwd(), told["stack"], told["text"])
    except AssayError as e:
        print(e.what, file=sys.stderr)
        sys.exit(e.exit_code)


if __name__ == "__main__":
    main()
