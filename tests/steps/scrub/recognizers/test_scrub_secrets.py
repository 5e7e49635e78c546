"""Credentials made up here (random by a seed, so that none is anybody's), and what only looks like them."""

import base64
import importlib
import json
import pkgutil
import random
import string

import detect_secrets.plugins
import pytest
from detect_secrets.plugins.base import RegexBasedDetector

from steps.scrub.config import ScrubConfig
from steps.scrub.profiles import SECRET_ENTITIES
from steps.scrub.recognizers.all_forms import all_forms
from steps.scrub.recognizers.forms import FormDetector

RNG = random.Random(5)
ALNUM = string.ascii_letters + string.digits


def made(length: int, alphabet: str = ALNUM) -> str:
    return "".join(RNG.choices(alphabet, k=length))


def pem(kind: str, newline: str = "\n") -> str:
    body = newline.join(made(64) for _ in range(4))
    return f"-----BEGIN {kind}-----{newline}{body}{newline}-----END {kind}-----"


def jwt(header: dict[str, str], parts: int = 2) -> str:
    def encoded(value: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    return ".".join([encoded(header), encoded({"sub": "1"}), *(made(43) for _ in range(parts - 1))])


HEX = "0123456789abcdef"
UPPER = string.ascii_uppercase + string.digits
# (entity, text before, secret, text after)
SECRETS = [
    ("API_KEY", "", f"dapi{made(32, HEX)}", " x"),
    ("API_KEY", "vault ", f"hvs.{made(28)}", ""),
    ("API_KEY", "", f"dop_v1_{made(64, HEX)}", ""),
    ("API_KEY", "shop ", f"shpat_{made(32, HEX)}", "."),
    ("API_KEY", "", f"gsk_{made(52)}", ""),
    ("API_KEY", "", f"glsa_{made(32)}_{made(8, HEX)}", ""),
    ("PRIVATE_KEY", "key:\n", pem("RSA PRIVATE KEY"), "\nend"),
    ("PRIVATE_KEY", "", pem("OPENSSH PRIVATE KEY"), ""),
    ("PRIVATE_KEY", "", pem("PRIVATE KEY"), "."),
    ("PRIVATE_KEY", "", pem("PGP PRIVATE KEY BLOCK"), ""),
    ("PRIVATE_KEY", '{"key": "', pem("EC PRIVATE KEY", "\\n"), '"}'),
    ("PRIVATE_KEY", "cut: ", pem("DSA PRIVATE KEY").rsplit("\n", 1)[0], "\n(and so on)"),
    ("AWS_KEY", "id ", f"AKIA{made(16, UPPER)}", " here"),
    ("AWS_KEY", "aws_secret_access_key = ", made(40), "\n"),
    ("AWS_KEY", "AWS_SECRET_KEY='", made(40), "'"),
    ("GITHUB_TOKEN", "git clone https://", f"ghp_{made(36)}", "@github.com/a/b"),
    ("GITHUB_TOKEN", "token: ", f"github_pat_{made(82)}", ""),
    ("GITLAB_TOKEN", "PRIVATE-TOKEN: ", f"glpat-{made(20)}", ""),
    ("SLACK_TOKEN", "", f"xoxb-{made(12, string.digits)}-{made(12, string.digits)}-{made(24)}", ""),
    (
        "SLACK_TOKEN",
        "post to ",
        f"https://hooks.slack.com/services/T{made(8, UPPER)}/B{made(8, UPPER)}/{made(24)}",
        " .",
    ),
    ("JWT", "Authorization: Bearer ", jwt({"alg": "HS256", "typ": "JWT"}), "."),
    ("JWT", "", jwt({"alg": "RSA-OAEP", "enc": "A256GCM"}, 4), ""),
    ("API_KEY", "", f"sk-{made(20)}T3BlbkFJ{made(20)}", " is mine"),
    ("API_KEY", "", f"sk-ant-api03-{made(93)}", ""),
    ("API_KEY", "key=", f"AIza{made(35)}", "&x"),
    ("API_KEY", "", f"hf_{made(34, string.ascii_letters)}", ""),
    ("API_KEY", "", f"sk_live_{made(24)}", ""),
    ("API_KEY", "", f"SG.{made(22)}.{made(43)}", ""),
    ("API_KEY", "", f"npm_{made(36)}", ""),
    ("API_KEY", "", f"pypi-AgEIcHlwaS5vcmc{made(80)}", ""),
    ("API_KEY", "", f"{made(32, HEX)}-us7", ""),
    ("API_KEY", "", f"SK{made(32, HEX)}", ""),
    ("API_KEY", "bot ", f"{made(9, string.digits)}:{made(35)}", ""),
    ("API_KEY", "", f"M{made(24)}.{made(6)}.{made(27)}", ""),
    ("API_KEY", "api_key = '", made(32, HEX), "'"),
    ("API_KEY", '"client_secret": "', made(40), '"'),
    ("API_KEY", "Authorization: Bearer ", made(48), "\n"),
    ("PASSWORD", "password: ", "tR7!kk_Mz02", " ok"),
    ("PASSWORD", "my password is '", "Blu3-Whale_9", "'"),
    ("URL_CREDENTIALS", "postgres://admin:", "n0tIn4ny", "@db.internal/x"),
]
BENIGN = [
    "-----BEGIN RSA PRIVATE KEY----- is the first line, -----END RSA PRIVATE KEY----- the last",
    "-----BEGIN PRIVATE KEY-----\nyour key here\n-----END PRIVATE KEY-----",
    "-----BEGIN PUBLIC KEY-----\nMIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAuXH3\n-----END PUBLIC KEY-----",
    "set API_KEY=your-api-key-goes-here-1234",
    "api_key = os.environ['SERVICE_API_KEY']; token = request.headers.authorization2",
    "auth_token: 'xxxxxxxxxxxxxxxxxxxxxxxx1'",
    "access key: ${ACCESS_KEY_NUMBER_1}",
    "secret = settings.SECRET_KEY_2_FALLBACK",
    "The secret: never_give_up_on_your_dreams_2day",
    "commit 3f786850e387550fdab836ed7e6dc881de23001b, sha256 of the file",
    "id 123e4567-e89b-12d3-a456-426614174000",
    "eyJub3QiOiJhIGp3dCJ9 is base64; eyJhIjoxfQ.eyJiIjoyfQ.c has no algorithm",
    "password: your_password1!  password = getpass.getpass() Password: ********",
    "passwords should be long, password is required",
    "http://user:pass@host and https://user:password@example.com",
    "ghp_short xoxb-your-token AKIA1234 sk-learn-and-other-libraries",
    "key = 0123456789012345678901234567890123456789",
    "session token: abcdefghijklmnopqrstuvwxyz",
]


@pytest.fixture(scope="module")
def detector() -> FormDetector:
    config = ScrubConfig(entities=SECRET_ENTITIES)
    return FormDetector(all_forms(config), config)


@pytest.mark.parametrize(("entity", "before", "secret", "after"), SECRETS)
def test_the_whole_secret_is_found(detector: FormDetector, entity: str, before: str, secret: str, after: str) -> None:
    text = f"é {before}{secret}{after}"
    spans = {(f.start, f.end) for f in detector.find(text) if f.entity == entity}
    assert (len(before) + 2, len(before) + 2 + len(secret)) in spans
    assert {i for a, b in spans for i in range(a, b)} <= set(range(len(before) + 2, len(before) + 2 + len(secret)))


@pytest.mark.parametrize("text", BENIGN)
def test_what_only_looks_like_a_secret_stays(detector: FormDetector, text: str) -> None:
    assert detector.find(text) == []


def plugins() -> list[RegexBasedDetector]:
    found = []
    for module in pkgutil.iter_modules(detect_secrets.plugins.__path__):
        for thing in vars(importlib.import_module(f"detect_secrets.plugins.{module.name}")).values():
            if isinstance(thing, type) and issubclass(thing, RegexBasedDetector) and thing is not RegexBasedDetector:
                found.append(thing())
    return [p for p in found if p.secret_type != "Public IP (ipv4)"]


def test_nothing_that_detect_secrets_sees_here_is_missed(detector: FormDetector) -> None:
    """Its plugins as a second opinion, on texts that hold all secrets at once and one by one."""
    compared = set()
    for text in [*(f"{b}{s}{a}" for _, b, s, a in SECRETS), "\n".join(f"{b}{s}{a}" for _, b, s, a in SECRETS)]:
        covered = {i for f in detector.find(text) for i in range(f.start, f.end)}
        for plugin in plugins():
            for value in plugin.analyze_string(text):
                start = text.index(value)
                assert covered & set(range(start, start + len(value))), (plugin.secret_type, value)
                compared.add(plugin.secret_type)
    assert len(compared) >= 12, compared


@pytest.mark.slow
def test_hostile_texts_take_linear_time(detector: FormDetector) -> None:
    """RE2 and bounded checks: 2 MB of half-secrets. A backtracking search would not end within the test run."""
    for piece in ("sk-", "-----BEGIN PRIVATE KEY-----", "eyJ", "://a:", "xoxb-1-", "password:", "aws key "):
        text = piece * (2_000_000 // len(piece))
        assert all(f.end <= len(text) for f in detector.find(text))
