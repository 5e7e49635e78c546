"""Files that the files which the settings name, name in turn."""

from steps.evaluate.config import EvaluateConfig
from steps.evaluate.harness.task_files import files_below
from steps.evaluate.suites.reading import Place, read_suites


def files_of(config: EvaluateConfig, place: Place) -> tuple[str, ...]:
    """Names of the files that suites and tasks of lm_eval are made of, besides their own.

    Raises:
        InputNotFoundError, ConfigError: one can't be read, or names what can't travel with it.
    """
    of_suites = (f for s in read_suites(config.suites, place) for f in s.files)
    tasks = config.lm_eval.files if config.lm_eval else ()
    of_tasks = (f for name in tasks for f in files_below(name, place))
    return tuple(dict.fromkeys((*of_suites, *of_tasks)))
