"""Holds a declared stack against its clouds' own libraries: run by an interpreter that has them, `... stack_sdks NAME`.

Prints one line per part that was made, then what is wrong; ends with 1 when something is.
"""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def main(name: str) -> int:
    """What ZenML's components say of their configuration, of each other, and of the settings of every step."""
    from ops.environment import prepare

    prepare(ROOT)
    from support.stack_values import environment, settings_of, steps_of

    from ops.infra import load_infra, merged
    from ops.stacks.checks import flavors_of
    from ops.stacks.declaration import declaration
    from ops.stacks.files import StackFile, stack_file
    from ops.stacks.usable import in_memory, misfit
    from pipelines.load import load_model
    from steps.zenml_runtime.database import open_store

    client = open_store()
    path = stack_file(ROOT, name)
    file = load_model(StackFile, path)
    stack = in_memory(declaration(path, environment(file), shared=True))
    for component in stack.all_components:
        print(f"{component.type.value} {type(component).__module__}.{type(component).__name__}")
    wrong = [why] if (why := misfit(stack)) else []
    infra = load_infra(ROOT, name).filled({"ASSAY_IMAGE": "registry.example/assay:1"})
    flavors = flavors_of(file)
    for step, said in infra.step_configurations(steps_of(), flavors).items():
        settings = merged(infra.settings, said.get("settings", {}))
        for kind in (k for k in settings if k in flavors):
            flavor = flavors[kind].get(said.get(kind, ""), next(iter(flavors[kind].values())))
            try:
                settings_of(client.get_flavor_by_name_and_type(name=flavor, component_type=kind))(**settings[kind])
            except ValueError as e:
                wrong.append(f"{step}: {e}")
    for line in wrong:
        print(f"wrong: {line}")
    return 1 if wrong else 0


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    sys.exit(main(sys.argv[1]))
