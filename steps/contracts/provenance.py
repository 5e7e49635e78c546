"""What a run's record says of where the run came from: sources with their labels, machines, earlier runs."""

from steps.contracts.reports import Frozen


class DeclaredSource(Frozen):
    """A source as the config declares it; of what is None nothing was declared.

    Attributes:
        name: the first part of `source` of every row of it.
        location: path, URL, or hub id with its commit.
        access: who may see it, in the words of those who use it: public, internal ...
        consent: on what ground it is used: given, contract, not_personal ...
    """

    name: str
    location: str
    licence: str | None = None
    access: str | None = None
    consent: str | None = None


class Machine(Frozen):
    """Where steps ran.

    Attributes:
        system: kernel and its release, with the C library.
        processor: its name, else the architecture.
        cores: that this process may use.
        memory_mb: of the whole machine.
        accelerators: names of the GPUs that torch found; of a process that didn't load torch none.
        image: of the container, where ASSAY_IMAGE says so; "" elsewhere.
    """

    system: str
    python: str
    processor: str
    cores: int
    memory_mb: int
    accelerators: tuple[str, ...] = ()
    image: str = ""


class EarlierRun(Frozen):
    """A run that another one stands on.

    Attributes:
        made: the steps whose results were taken over from it; () when it made the dataset that was trained on.
        record_uri: the file of its stored record; None: it kept none, since it failed or is of an older version.
        sha256: of that file's bytes, None likewise.
    """

    run_id: str
    name: str
    made: tuple[str, ...] = ()
    record_uri: str | None = None
    sha256: str | None = None
