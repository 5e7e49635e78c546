"""What the acceleration leans on, held against the pinned versions: private names, and code that it repeats.

When a version moves, a test says which name is gone or works otherwise, and which module to look at. Until that is done
`scrub.accelerate: false` takes presidio's own path, which the last test takes with the leaning modules gone.
"""

import ast
import hashlib
import importlib
import inspect
import json
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from re import _constants as op  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import NamedTuple

import pytest
from support.near_pii import generated

from steps.scrub.config import ScrubConfig
from steps.scrub.detector import Detector
from steps.scrub.recognizers.presidio import PresidioDetector

ROOT = Path(__file__).resolve().parents[3]
ENGINE = ROOT / "steps" / "engines" / "fast_presidio"
PINNED = {"presidio-analyzer": "2.2.366", "phonenumbers": "9.0.43", "spacy": "3.8.18", "thinc": "8.3.14"}
# Modules that use private names; `plain` and `prefilter` use none.
LEANING = ("analyzer", "context", "phones", "regions", "relax")


class Code(NamedTuple):
    """Code that a module of the engine calls, or repeats in part. `tree`: digest of its syntax tree, no docstrings."""

    module: str
    name: str
    tree: str
    leaning: str
    why: str

    @property
    def package(self) -> str:
        return "phonenumbers" if self.module.startswith("phonenumbers.") else "presidio-analyzer"


CODE = [
    Code("presidio_analyzer.analyzer_engine", "AnalyzerEngine", "4639962e5261", "analyzer",
         "the order of its work, ids of recognizers and duplicates are done again for the recognizers that run"),
    Code("presidio_analyzer.entity_recognizer", "EntityRecognizer", "d00233ec66eb", "analyzer",
         "a recognizer that keeps `enhance_using_context` doesn't raise scores itself"),
    Code("presidio_analyzer.pattern_recognizer", "PatternRecognizer", "128987006e43", "analyzer",
         "looks at nothing but the text, match by match, and logs that a pattern 'timed out'"),
    Code("presidio_analyzer.predefined_recognizers", "IbanRecognizer", "496a4611f8f6", "analyzer",
         "looks at nothing but the text, match by match"),
    Code("presidio_analyzer.predefined_recognizers", "PhoneRecognizer", "97d5d7480e50", "phones",
         "its loop over regions is done again, and `_get_recognizer_result` is called"),
    Code("presidio_analyzer.context_aware_enhancers", "LemmaContextAwareEnhancer", "0d63a39fdc8d",
         "context",
         "which tokens it looks at is foreseen, and `_find_index_of_match_token` is called"),
    Code("presidio_analyzer.nlp_engine", "NlpArtifacts", "1054364d4708", "context",
         "key words are made of tokens, and of their pieces at colons"),
    Code("phonenumbers.phonenumbermatcher", "PhoneNumberMatcher._find", "0deed9c3f8b4", "phones",
         "how it goes from candidate to candidate is done again"),
    Code("phonenumbers.phonenumbermatcher", "PhoneNumberMatcher._trim_after_first_match", "7bdfd543769c", "phones",
         "how it cuts a candidate is done again"),
    Code("phonenumbers.phonenumbermatcher", "PhoneNumberMatcher._extract_match", "9d7e1c9d6cd8", "phones",
         "is called with a candidate and little text around it"),
    Code("phonenumbers.phonenumbermatcher", "PhoneNumberMatcher._parse_and_verify", "dfb2db2e495e", "phones",
         "looks at no more of the text than one character before and three behind"),
]  # fmt: skip
PATTERNS = [
    ("phonenumbers.phonenumbermatcher", "_PATTERN"),
    ("phonenumbers.phonenumberutil", "_SECOND_NUMBER_START_PATTERN"),
]
# The parts that Python 3.11's parser makes of a pattern.
OPCODES = (
    "ANY ASSERT ASSERT_NOT AT ATOMIC_GROUP BRANCH CATEGORY GROUPREF GROUPREF_EXISTS IN LITERAL MAX_REPEAT MIN_REPEAT"
    " NEGATE NOT_LITERAL POSSESSIVE_REPEAT RANGE SUBPATTERN"
)


@pytest.mark.parametrize("package", PINNED)
def test_the_versions_are_those_that_the_engine_was_made_for(package: str) -> None:
    assert version(package) == PINNED[package], (
        f"{package} moved: run tests/engines/fast_presidio, look at what the other tests here name, then pin it here"
    )


@pytest.mark.parametrize("code", CODE, ids=lambda code: code.name)
def test_code_that_is_leaned_on_is_as_it_was(code: Code) -> None:
    found = importlib.import_module(code.module)
    for part in code.name.split("."):
        found = getattr(found, part, None)
        assert found is not None, f"{code.package} {version(code.package)} has no {code.name}: see {code.leaning}.py"
    assert tree(found) == code.tree, (
        f"{code.name} changed in {code.package} {version(code.package)}: {code.leaning}.py counts on it ({code.why})"
    )


def tree(found: object) -> str:
    """Digest of the code without comments and docstrings."""
    parsed = ast.parse(textwrap.dedent(inspect.getsource(found)))  # type: ignore[arg-type]
    for node in ast.walk(parsed):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:]
    return hashlib.sha256(ast.dump(parsed).encode()).hexdigest()[:12]


@pytest.mark.parametrize(("module", "name"), PATTERNS)
def test_patterns_of_phonenumbers_are_there(module: str, name: str) -> None:
    assert hasattr(getattr(importlib.import_module(module), name, None), "search"), f"{name} is gone: see phones.py"


def test_the_parser_of_re_makes_the_parts_that_are_known() -> None:
    gone = [name for name in OPCODES.split() if not hasattr(op, name)]
    assert not gone, f"Python {sys.version.split()[0]} has no {gone} in re._constants: see relax.py"
    pattern = r"a[^b-d\d]?(?i:e)+?(?:ff|gg)*+(?>h)(?=i)(?<!j)\b[^k].(l)\1(?(1)m|n)"
    found = {str(kind) for kind in kinds(parser.parse(pattern))}
    assert found == set(OPCODES.split()), "the parser makes other parts: see relax.py"


def kinds(items: object) -> Iterator[object]:
    """Every kind of part in a parsed pattern."""
    if isinstance(items, parser.SubPattern | list | tuple):
        for item in items:
            yield from kinds(item)
    elif isinstance(items, type(op.LITERAL)) and str(items) in OPCODES.split():
        yield items


def test_no_other_module_of_the_engine_uses_private_names() -> None:
    private = {module.stem for module in ENGINE.glob("*.py") if foreign_private_names(module)}
    assert private == {"context", "phones", "relax"} and private <= set(LEANING)


def foreign_private_names(module: Path) -> list[str]:
    """Underscore names that the module takes from elsewhere."""
    parsed = ast.parse(module.read_text(encoding="utf-8"))
    imported = [a.name for n in ast.walk(parsed) if isinstance(n, ast.ImportFrom) for a in n.names]
    own = {n.name for n in ast.walk(parsed) if isinstance(n, ast.FunctionDef | ast.ClassDef)}
    taken = [n.attr for n in ast.walk(parsed) if isinstance(n, ast.Attribute) and not is_self(n.value)]
    names = [*imported, *taken]
    return [n for n in names if n.startswith("_") and not n.startswith("__") and n not in own]


def is_self(value: ast.expr) -> bool:
    return isinstance(value, ast.Name) and value.id in ("self", "inside", "cls")


WITHOUT = """
import json, sys
for name in {leaning!r}:
    sys.modules["steps.engines.fast_presidio." + name] = None  # an import of it fails
from steps.contracts.errors import MissingDependencyError
from steps.scrub.config import ScrubConfig
from steps.scrub.detector import Detector
from steps.scrub.prescan import Prescan

texts = json.load(sys.stdin)
detector = Detector(ScrubConfig(**{settings!r}, accelerate=False))
assert detector.conditions is None and Prescan(detector.conditions)
try:
    Detector(ScrubConfig())
    said = ""
except MissingDependencyError as e:
    said = str(e)
print(json.dumps([detector.find(texts), said]))
"""


@pytest.mark.slow
def test_without_acceleration_nothing_private_is_used_and_the_findings_are_equal() -> None:
    settings = {
        "entities": [*ScrubConfig().entities, "AGE", "TITLE", "DATE_TIME"], "locales": ["en_US", "de"],
        "profile": ["secrets", "pci"], "patterns": {"STAFF_ID": r"\b[A-Z]{2}-[0-9]{4}\b"}, "deny": {"ORG": ["Acme"]},
    }  # fmt: skip
    texts = [*generated(120, seed=5), "staff AB-1234 of ACME", ""]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT.format(leaning=LEANING, settings=settings)],
        input=json.dumps(texts), capture_output=True, text=True, check=True, env={"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    plain, said = json.loads(done.stdout)
    fast = Detector(ScrubConfig.model_validate(settings))
    assert fast.conditions is not None
    found = [[list(f) for f in findings or ()] for findings in fast.find(texts)]
    assert [sorted(f) for f in plain] == [sorted(f) for f in found]
    assert sum(map(len, found)) > 200 and len({f[2] for findings in found for f in findings}) > 15
    assert "scrub.accelerate: false" in said
    assert PresidioDetector(ScrubConfig(accelerate=False)).conditions is None
