"""A stack's file held against ZenML's flavours: every mistake with its line, before anything is written."""

import difflib
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ops.stacks.files import VARIABLE, Component, StackFile
from ops.stacks.secrets import stored_secret
from pipelines.load import Written, read, validate
from steps.contracts.errors import ConfigError
from steps.engines.yaml_lines.parse import KeyPath
from steps.zenml_runtime.state import PROCESSES

# Extras of pyproject.toml by the integration of ZenML whose libraries they bring.
_EXTRAS = {"s3": "s3", "aws": "aws", "gcp": "gcp", "azure": "azure", "kubernetes": "kubernetes"}
# A name of ZenML's is unique on its server; where several people declare stacks on one, a name ends with so many digits
# of what is declared. Chosen: of a million components two are equal once in 280 million millions.
_DIGITS = 12
# The key under which components of ZenML name a secret whose keys they go by; here the keys themselves may stand there.
_NAMES_SECRET = "authentication_secret"
# Type and flavour of an artifact store that is a folder.
LOCAL_STORE = ("artifact_store", "local")


@dataclass(frozen=True)
class Declared:
    """One component as it should stand in ZenML's store.

    Attributes:
        kind: ZenML's component type. name: that of the file. stored: that in ZenML's store.
        configuration: as ZenML stores it; secrets are references.
        secrets: values by key, of the ZenML secret `secret`.
        remote: whether it needs a ZenML server that other machines reach.
    """

    kind: str
    name: str
    stored: str
    flavor: str
    configuration: Mapping[str, Any]
    secret: str
    secrets: Mapping[str, str] = field(repr=False)
    remote: bool
    place: KeyPath


@dataclass(frozen=True)
class Declaration:
    """A stack as it should stand in ZenML's store. `stored`: its name there."""

    name: str
    stored: str
    components: tuple[Declared, ...]
    written: Written

    def of(self, kind: str) -> list[Declared]:
        """Components of a type, in the order of the file."""
        return [c for c in self.components if c.kind == kind]

    def mistake(self, told: Mapping[KeyPath, list[str]]) -> ConfigError:
        """The error that names places of the file."""
        return ConfigError(self.written.mistakes(told), where=self.written.where)


def declaration(path: Path, environment: Mapping[str, str], *, shared: bool, libraries: bool = True) -> Declaration:
    """What a file declares, with variables filled in and held against ZenML's flavours. ZenML's store must be open.

    `shared`: others may declare stacks in the same store: names then tell by whose values they are made. `libraries`:
    a flavour whose library isn't installed is a mistake.

    Raises:
        ConfigError: all that is wrong with it, each with its line.
    """
    written = read(path)
    file = validate(StackFile, written)
    told: dict[KeyPath, list[str]] = {}
    if file.stack_name != path.stem:
        told[("stack_name",)] = [f"the file is {path.name}, so that the stack is called {path.stem!r}"]
    reader = _Reader(file.stack_name, environment, shared, libraries, told)
    components = tuple(reader.components(file))
    for kind in ("orchestrator", "artifact_store"):
        if not file.components.get(kind):
            told.setdefault(("components",), []).append(f"a stack needs an {kind}")
    if told:
        raise ConfigError(written.mistakes(told), where=written.where)
    stored = file.stack_name
    if shared:
        stored = f"{stored}-{_digest([(c.kind, c.stored) for c in components])}"
    return Declaration(file.stack_name, stored, components, written)


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:_DIGITS]


@dataclass(frozen=True)
class _Unset:
    """A secret whose variable isn't set. `is_key`: it is a key of a ZenML secret, no field of the flavour."""

    variable: str
    place: KeyPath
    needed: bool
    is_key: bool


@dataclass
class _Said:
    """A component's configuration: values; secrets by field; keys of a ZenML secret that it names; secrets not set."""

    values: dict[str, Any] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)
    unset: dict[str, _Unset] = field(default_factory=dict)


@dataclass
class _Reader:
    """Reads components and notes what is wrong, by place."""

    stack: str
    environment: Mapping[str, str]
    shared: bool
    libraries: bool
    told: dict[KeyPath, list[str]]

    def components(self, file: StackFile) -> Iterator[Declared]:
        """Those without mistakes."""
        from zenml.enums import StackComponentType

        kinds = [t.value for t in StackComponentType]
        for kind, components in file.components.items():
            if kind not in kinds:
                self._tell(("components", kind), f"no such type of component{_meant(kind, kinds)}")
                continue
            for i, component in enumerate(components):
                found = self._component(kind, component, ("components", kind, i))
                if found is not None:
                    yield found

    def _tell(self, place: KeyPath, what: str) -> None:
        self.told.setdefault(place, []).append(what)

    def _component(self, kind: str, component: Component, place: KeyPath) -> Declared | None:
        flavor = self._flavor(kind, component.flavor, (*place, "flavor"))
        if flavor is None:
            return None
        said = self._said(flavor.config_class, component, (*place, "configuration"))
        values = said.values
        if (kind, component.flavor) == LOCAL_STORE and isinstance(values.get("path"), str):
            # ZenML follows links in what it stores, and then misses it below the link.
            values["path"] = str(Path(values["path"]).resolve())
        stored = self._stored(kind, component, said)
        secret = _secret(kind, stored)
        values |= {_NAMES_SECRET: secret} if said.keys else {}
        config = self._checked(flavor.config_class, values, said.secrets, (*place, "configuration"))
        if config is None:
            return None
        dumped = config.model_dump(mode="json", exclude_unset=True)
        dumped |= {key: f"{{{{{secret}.{key}}}}}" for key in said.secrets}
        hidden = said.secrets | said.keys
        return Declared(kind, component.name, stored, component.flavor, dumped, secret, hidden, config.is_remote, place)

    def _stored(self, kind: str, component: Component, said: "_Said") -> str:
        """The component's name in ZenML's store. What isn't set of its secrets keeps the value that is stored there, as
        for a launcher that a clock starts somewhere; it is told where there is none.
        """
        needed = {key: unset for key, unset in said.unset.items() if unset.needed}
        kept: dict[str, str] = {}
        # Where names tell what is declared, those that need not be set make another one.
        for wanted in (said.unset, needed):
            stored = self._name(component, said, [*said.secrets, *said.keys, *wanted])
            has = stored_secret(_secret(kind, stored)) if wanted else {}
            kept = {key: has[key] for key in wanted if key in has}
            if kept.keys() == wanted.keys() or not self.shared:
                break
        for key, value in kept.items():
            (said.keys if said.unset[key].is_key else said.secrets)[key] = value
        for unset in (unset for key, unset in needed.items() if key not in kept):
            self._tell(unset.place, f"the environment variable {unset.variable} is not set; export it")
        return self._name(component, said, [*said.secrets, *said.keys])

    def _name(self, component: Component, said: "_Said", keys: list[str]) -> str:
        digest = _digest([component.flavor, said.values, sorted(keys)])
        return f"{component.name}-{digest}" if self.shared else component.name

    def _flavor(self, kind: str, name: str, place: KeyPath) -> Any:
        """ZenML's flavour, importable; None when it was told what is wrong with it."""
        from zenml.client import Client
        from zenml.enums import StackComponentType
        from zenml.stack.flavor import Flavor

        from steps.zenml_runtime.step_processes import know_processes

        if (kind, name) == ("orchestrator", PROCESSES):
            know_processes()
        known = Client().list_flavors(type=StackComponentType(kind), name=f"equals:{name}").items
        if not known:
            names = [f.name for f in Client().list_flavors(type=StackComponentType(kind), size=200).items]
            self._tell(place, f"no flavour {name!r} of {kind}{_meant(name, names)}")
            return None
        try:
            flavor: Any = Flavor.from_model(known[0])
        except ImportError as e:
            self._tell(place, f"flavour {name!r} can't be imported ({e})")
            return None
        try:
            if self.libraries:
                _ = flavor.implementation_class
        except ImportError as e:
            self._tell(
                place, f"the library of flavour {name!r} isn't installed ({e}); {_install(known[0].integration)}"
            )
        return flavor

    def _said(self, config: Any, component: Component, place: KeyPath) -> "_Said":
        """What the file says of a component; unknown keys and secrets in clear text are told."""
        said = _Said()
        for key, value in component.configuration.items():
            here = (*place, key)
            known = config.model_fields.get(key)
            if known is None:
                self._tell(here, f"unknown key of flavour {component.flavor!r}{_meant(key, list(config.model_fields))}")
            elif key == _NAMES_SECRET and isinstance(value, dict):
                for name, inner in value.items():
                    self._secret(said, name, inner, (*here, name), is_key=True)
            elif self._hides(known, value):
                self._secret(said, key, value, here)
            elif (filled := self._filled(value, here)) not in (None, ""):
                said.values[key] = filled
        return said

    def _hides(self, field: Any, value: Any) -> bool:
        """Whether a value is a secret that isn't a reference to ZenML's already."""
        from zenml.utils.secret_utils import is_secret_field, is_secret_reference

        named = VARIABLE.finditer(value) if isinstance(value, str) else ()
        return (is_secret_field(field) or any(m.group(1) for m in named)) and not is_secret_reference(value)

    def _secret(self, said: "_Said", key: str, value: Any, place: KeyPath, *, is_key: bool = False) -> None:
        whole = VARIABLE.fullmatch(value) if isinstance(value, str) else None
        if whole is None:
            what = "a secret stands in clear text; write ${secret:NAME} alone, or {{secret.key}} of ZenML"
            self._tell(place, what)
        elif found := self.environment.get(whole.group(2)) or whole.group(3):
            (said.keys if is_key else said.secrets)[key] = found
        else:
            said.unset[key] = _Unset(whole.group(2), place, whole.group(3) is None, is_key)

    def _filled(self, value: Any, place: KeyPath) -> Any:
        """With variables filled in; none of them is a secret."""
        if isinstance(value, dict):
            return {k: self._filled(v, (*place, k)) for k, v in value.items()}
        if isinstance(value, list | tuple):
            return [self._filled(v, (*place, i)) for i, v in enumerate(value)]
        if not isinstance(value, str):
            return value
        if any(m.group(1) for m in VARIABLE.finditer(value)):
            self._tell(place, "ZenML has secrets in values of their own only, not within lists and mappings")
            return value
        return VARIABLE.sub(lambda m: self._variable(m.group(2), m.group(3), place), value)

    def _variable(self, name: str, default: str | None, place: KeyPath) -> str:
        if name not in self.environment and default is None:
            self._tell(place, f"the environment variable {name} is not set; export {name}=...")
        return self.environment.get(name) or default or ""

    def _checked(self, config: Any, values: dict[str, Any], secrets: Mapping[str, str], place: KeyPath) -> Any:
        """ZenML's configuration of these values; None when it doesn't take them. No secret is in what is told."""
        from zenml.exceptions import ZenMLBaseException
        from zenml.utils.pydantic_utils import has_validators

        for key in (k for k in secrets if has_validators(config, k)):
            self._tell((*place, key), "ZenML takes no secret here, since it looks at the value")
        try:
            checked = config(**values, **secrets)
            if checked.is_valid:
                return checked
            self._tell(place, "ZenML takes this configuration for invalid")
        except ValidationError as e:
            for error in e.errors(include_url=False, include_context=False):
                plain = error["loc"] and error["loc"][0] in values and error["type"] != "missing"
                shown = f" (found {str(error['input'])[:80]!r})" if plain else ""
                message = f"{error['msg'].removeprefix('Value error, ')}{shown}"
                here = (*place, *error["loc"])
                # A key is missing, too, when the variable that stands there is.
                if not any(known[: len(here)] == here for known in self.told):
                    self._tell(here, _without(message, secrets))
        except (ValueError, TypeError, KeyError, ZenMLBaseException) as e:
            self._tell(place, _without(str(e), secrets))
        return None


def _without(text: str, secrets: Mapping[str, str]) -> str:
    for value in secrets.values():
        text = text.replace(value, "***")
    return text


def _secret(kind: str, stored: str) -> str:
    """Name of the ZenML secret of a component."""
    return f"assay-{kind}-{stored}"


def _meant(written: str, names: list[str]) -> str:
    near = difflib.get_close_matches(written, names, n=1)
    return f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(sorted(names))}"


def _install(integration: str | None) -> str:
    extra = _EXTRAS.get(integration or "")
    if extra is None:
        return f"`assay zenml integration requirements {integration}` lists what it needs"
    return f"pip install -c constraints.txt '.[{extra}]' (see docs/stacks.md: some need an environment of their own)"
