"""Signatures by Ed25519 (RFC 8032): a private key of this machine or of its owner, and what it vouches for.

ASSAY_SIGNING_KEY names a file with the private key in PEM (PKCS 8, without a password), or holds the PEM itself.
Without it a key is made in the state folder: it tells one machine's records from another's, and whoever can read that
folder can sign with it.
"""

import base64
import binascii
import os
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from steps.contracts.errors import ConfigError, InputNotFoundError, IntegrityError
from steps.contracts.locks import make_once
from steps.contracts.reports import Frozen

VARIABLE = "ASSAY_SIGNING_KEY"
# Below the state folder.
OWN_KEY = "signing.key"
_PEM = b"-----BEGIN "
_RAW = serialization.Encoding.Raw, serialization.PublicFormat.Raw
_PEM_FORM = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
_MAKE = "openssl genpkey -algorithm ed25519 -out signing.key; openssl pkey -in signing.key -pubout -out signing.pub"


class Signature(Frozen):
    """Of one text: the signature and the public key that it can be checked by, both raw in base64."""

    signature: str
    key: str


def signing_key(state: Path | None) -> Ed25519PrivateKey | None:
    """The key to sign with: ASSAY_SIGNING_KEY's, else that of the state folder, made when there is none yet.

    `state`: None on a machine whose state folder nobody keeps; then None is returned without the variable.

    Raises:
        ConfigError, InputNotFoundError: the variable names no key. IntegrityError: the state folder's key is damaged.
    """
    if said := os.environ.get(VARIABLE):
        return _named(said)
    return None if state is None else _own(state / OWN_KEY)


def sign(key: Ed25519PrivateKey, purpose: str, text: str) -> Signature:
    """Vouch for a text. `purpose`: what it is, so that it can't be passed off as something else."""
    return Signature(signature=_encoded(key.sign(_message(purpose, text))), key=public_key(key))


def holds(signed: Signature, purpose: str, text: str) -> bool:
    """Whether the key of the signature signed just this."""
    try:
        key = Ed25519PublicKey.from_public_bytes(_decoded(signed.key))
        key.verify(_decoded(signed.signature), _message(purpose, text))
    except (InvalidSignature, ValueError):
        return False
    return True


def public_key(key: Ed25519PrivateKey) -> str:
    """The public half, raw in base64, as it stands beside signatures."""
    return _encoded(key.public_key().public_bytes(*_RAW))


def read_public_key(said: str) -> str:
    """A public key as it stands beside signatures: itself, or a file with it, in PEM or base64; of a file with a
    private key its public half.

    Raises:
        InputNotFoundError: neither a key nor a file. ConfigError: a file without an Ed25519 key.
    """
    try:
        Ed25519PublicKey.from_public_bytes(_decoded(said))
        return said
    except ValueError:
        pass
    file = Path(said).expanduser()
    if not file.is_file():
        raise InputNotFoundError("neither a public key nor a file with one", where=said[:200], hint=_MAKE)
    data = file.read_bytes().strip()
    try:
        if b"PRIVATE KEY" in data:
            return public_key(_private(data))
        if data.startswith(_PEM):
            loaded = serialization.load_pem_public_key(data)
            if isinstance(loaded, Ed25519PublicKey):
                return _encoded(loaded.public_bytes(*_RAW))
        else:
            Ed25519PublicKey.from_public_bytes(_decoded(data.decode("ascii")))
            return data.decode("ascii")
    except (ValueError, TypeError, UnsupportedAlgorithm):
        pass
    raise ConfigError("no Ed25519 key in this file", where=str(file), hint=_MAKE)


def _named(said: str) -> Ed25519PrivateKey:
    inline = said.lstrip().startswith(_PEM.decode())
    file = Path(said).expanduser()
    if not inline and not file.is_file():
        raise InputNotFoundError("no such file", where=f"{VARIABLE}: {said[:200]}", hint=_MAKE)
    try:
        return _private(said.encode() if inline else file.read_bytes())
    except (ValueError, TypeError, UnsupportedAlgorithm) as e:
        # The text may be a private key: it is never shown.
        where = VARIABLE if inline else f"{VARIABLE}: {file}"
        raise ConfigError("no private Ed25519 key in PEM without a password", where=where, hint=_MAKE) from e


def _own(file: Path) -> Ed25519PrivateKey:
    make_once(file, _make)
    try:
        return _private(file.read_bytes())
    except (ValueError, TypeError, UnsupportedAlgorithm) as e:
        hint = "put back a copy of it, or remove it: another is made, and what was signed by it can still be checked"
        raise IntegrityError("the key that this machine signs with is damaged", where=str(file), hint=hint) from e


def _make(file: Path) -> None:
    """Readable by its owner only, from its first byte on."""
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as f:
        f.write(Ed25519PrivateKey.generate().private_bytes(*_PEM_FORM))


def _private(pem: bytes) -> Ed25519PrivateKey:
    loaded = serialization.load_pem_private_key(pem.strip(), password=None)
    if not isinstance(loaded, Ed25519PrivateKey):
        raise TypeError("not an Ed25519 key")
    return loaded


def _message(purpose: str, text: str) -> bytes:
    return f"assay {purpose}\n{text}".encode()


def _encoded(raw: bytes) -> str:
    return base64.b64encode(raw).decode("ascii")


def _decoded(text: str) -> bytes:
    """Raises ValueError: no base64."""
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as e:
        raise ValueError(str(e)) from e
