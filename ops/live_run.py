"""A run of this machine while it lives: the store and its stack made ready, dead runs cleared up, a lock held."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from ops.plan import Plan
from ops.stacks.apply import Applied, apply
from ops.stacks.files import stack_file
from ops.stacks.usable import check_usable
from ops.sync import refresh


@contextmanager
def live_run(root: Path, plan: Plan, launch: str) -> Iterator[Applied]:
    """The plan's stack, ready, and the lock of this launch. Of runs that start together one gets ready at a time.

    Raises:
        ConfigError, InputNotFoundError: the stack can't be had. ServiceError: its artifact store or its tracker can't
            be used. IntegrityError: ZenML's store is damaged.
    """
    from zenml.client import Client

    from steps.engines.progress.progress import say
    from steps.engines.tracking.secrets import without_secret
    from steps.zenml_runtime.database import open_store, starting
    from steps.zenml_runtime.local_store import reap, run_lock
    from steps.zenml_runtime.state import clear_workspaces
    from steps.zenml_runtime.tracker import prepare_tracker

    clear_workspaces()
    with ExitStack() as held:
        with starting():
            open_store()
            applied = apply(stack_file(root, plan.stack), dict(os.environ))
            for change in applied.changes:
                say(f"stack: {change}")
            os.environ["ZENML_ACTIVE_STACK_ID"] = applied.id
            prepare_tracker()
            for line in reap(partial(refresh, root)):
                say(line)
            tracked_at = _tracked_at(plan)
            held.enter_context(run_lock(launch, plan.config.name, list(map(without_secret, tracked_at))))
        check_usable(Client().active_stack, tracked_at)
        yield applied


def _tracked_at(plan: Plan) -> list[str]:
    """Where the run may leave something in an MLflow."""
    from steps.zenml_runtime.tracker import tracking_uri

    if not plan.config.tunes:
        return []
    named = plan.config.registry.tracking_uri if plan.config.registry is not None else None
    return [uri for uri in (tracking_uri(), named) if uri]
