"""Azurite, Microsoft's emulator of Blob Storage, on a loopback port."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from azure.storage.blob import BlobServiceClient
from support.servers.process import ROOT, answers, free_port, needs, serving

CONTAINER = "assay-test"
# The account that every Azurite has, with its published key.
_ACCOUNT = "devstoreaccount1"
_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


@contextmanager
def azurite(folder: Path) -> Iterator[str]:
    """A connection string; there is one container."""
    program = needs(ROOT / ".venv-emulators" / "node_modules" / ".bin" / "azurite-blob", "make emulators")
    folder.mkdir(parents=True, exist_ok=True)
    url = f"http://127.0.0.1:{free_port()}"
    command = [
        program, "--blobHost", "127.0.0.1", "--blobPort", url.rsplit(":", 1)[1], "--location", folder, "--silent",
        "--skipApiVersionCheck", "--disableTelemetry",
    ]  # fmt: skip
    with serving(command, folder, lambda: answers(url)):
        made = f"AccountName={_ACCOUNT};AccountKey={_KEY};BlobEndpoint={url}/{_ACCOUNT};"
        BlobServiceClient.from_connection_string(made).create_container(CONTAINER)
        yield made


def environment(connection: str) -> dict[str, str]:
    """What leads fsspec and ZenML's artifact store there."""
    return {"AZURE_STORAGE_CONNECTION_STRING": connection}
