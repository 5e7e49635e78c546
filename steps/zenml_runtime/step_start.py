"""`python -m steps.zenml_runtime.step_start`: ZenML's entrypoint of a step, started light."""

from steps.zenml_runtime.light_start import start_light


def main() -> None:
    """Run what the command's arguments say."""
    start_light()
    from zenml.entrypoints.entrypoint import main as entrypoint

    entrypoint()


if __name__ == "__main__":
    main()
