"""Signatures: what holds, what doesn't, and every way to name a key."""

import stat
import subprocess

import pytest

from steps.contracts.errors import ConfigError, InputNotFoundError, IntegrityError
from steps.engines.signing.keys import OWN_KEY, holds, public_key, read_public_key, sign, signing_key

TEXT = "ab" * 32


@pytest.fixture(autouse=True)
def no_variable(monkeypatch):
    monkeypatch.delenv("ASSAY_SIGNING_KEY", raising=False)


@pytest.fixture
def files(tmp_path):
    """A pair as openssl makes it."""
    private, public = tmp_path / "signing.key", tmp_path / "signing.pub"
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", str(private)], check=True)
    subprocess.run(["openssl", "pkey", "-in", str(private), "-pubout", "-out", str(public)], check=True)
    return private, public


def test_the_machines_key_is_made_once_and_is_its_owners(tmp_path):
    first, again = signing_key(tmp_path), signing_key(tmp_path)
    assert public_key(first) == public_key(again)
    assert stat.S_IMODE((tmp_path / OWN_KEY).stat().st_mode) == 0o600
    assert signing_key(None) is None, "a machine whose state nobody keeps signs with nothing of its own"


def test_a_signature_holds_for_its_text_purpose_and_key_alone(tmp_path):
    signed = sign(signing_key(tmp_path), "chain", TEXT)
    assert holds(signed, "chain", TEXT)
    assert not holds(signed, "chain", TEXT[:-1] + "c") and not holds(signed, "removal", TEXT)
    other = public_key(signing_key(tmp_path / "other"))
    assert not holds(signed.model_copy(update={"key": other}), "chain", TEXT)
    for broken in ("", "no base64!", "AAAA"):
        assert not holds(signed.model_copy(update={"signature": broken}), "chain", TEXT)
        assert not holds(signed.model_copy(update={"key": broken}), "chain", TEXT)


@pytest.mark.parametrize("inline", [False, True])
def test_the_variable_names_a_file_or_holds_the_key(files, monkeypatch, tmp_path, inline):
    private, public = files
    monkeypatch.setenv("ASSAY_SIGNING_KEY", private.read_text() if inline else str(private))
    key = public_key(signing_key(tmp_path / "state"))
    assert not (tmp_path / "state").exists()
    raw = tmp_path / "raw"
    raw.write_text(key + "\n")
    assert {read_public_key(said) for said in (key, str(public), str(private), str(raw))} == {key}


def test_what_is_no_key_is_named_and_never_shown(files, monkeypatch, tmp_path):
    monkeypatch.setenv("ASSAY_SIGNING_KEY", str(tmp_path / "nothing"))
    with pytest.raises(InputNotFoundError, match="no such file"):
        signing_key(None)
    secret = "-----BEGIN PRIVATE KEY-----\nSECRET\n-----END PRIVATE KEY-----"
    monkeypatch.setenv("ASSAY_SIGNING_KEY", secret)
    with pytest.raises(ConfigError) as told:
        signing_key(None)
    assert "SECRET" not in f"{told.value}{told.value.where}{told.value.hint}"
    rsa = tmp_path / "rsa.pem"
    subprocess.run(["openssl", "genpkey", "-algorithm", "rsa", "-out", str(rsa)], check=True, capture_output=True)
    monkeypatch.setenv("ASSAY_SIGNING_KEY", str(rsa))
    with pytest.raises(ConfigError, match="Ed25519"):
        signing_key(None)
    with pytest.raises(ConfigError, match="Ed25519"):
        read_public_key(str(rsa))
    with pytest.raises(InputNotFoundError, match="neither"):
        read_public_key("nothing at all")


def test_a_damaged_key_is_named_and_left_alone(tmp_path):
    file = tmp_path / OWN_KEY
    signing_key(tmp_path)
    file.write_text("no key")
    with pytest.raises(IntegrityError, match="damaged"):
        signing_key(tmp_path)
    assert file.read_text() == "no key"
