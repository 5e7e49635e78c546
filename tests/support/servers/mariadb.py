"""MariaDB on a loopback port, with one user who may do everything."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support.servers.process import free_port, needs, serving

_HOW = "apt-get install mariadb-server"


@contextmanager
def mariadb(folder: Path) -> Iterator[str]:
    """`mysql://USER:PASSWORD@HOST:PORT`; a database's name is to follow."""
    server, install = needs("mariadbd", _HOW), needs("mariadb-install-db", _HOW)
    client = needs("mariadb", _HOW)
    data, socket, port = folder / "data", folder / "socket", free_port()
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(
        [install, "--no-defaults", "--user=root", f"--datadir={data}", "--auth-root-authentication-method=normal"],
        check=True, capture_output=True, timeout=180,
    )  # fmt: skip
    ask = [client, "--no-defaults", f"--socket={socket}", "--user=root", "--execute"]
    command = [
        server, "--no-defaults", "--user=root", f"--datadir={data}", f"--socket={socket}", f"--port={port}",
        "--bind-address=127.0.0.1", "--innodb-buffer-pool-size=64M",
    ]  # fmt: skip

    def is_up() -> bool:
        return subprocess.run([*ask, "select 1"], capture_output=True, check=False).returncode == 0

    with serving(command, folder, is_up):
        made = "create user team@'127.0.0.1' identified by 'secret'; grant all on *.* to team@'127.0.0.1'"
        subprocess.run([*ask, made], check=True, capture_output=True)
        yield f"mysql://team:secret@127.0.0.1:{port}"
