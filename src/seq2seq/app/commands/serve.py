"""`seq2seq serve MODEL...`: models behind a JSON interface and a page."""

from __future__ import annotations

import errno
import importlib.util
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated

import tyro

from seq2seq.app.arguments import ModelOptions, gathered, parse
from seq2seq.app.arithmetic import Arithmetic
from seq2seq.app.decoding import Decoding
from seq2seq.app.options import Types
from seq2seq.app.serving.running import run
from seq2seq.app.serving.service import Limits, Service
from seq2seq.app.serving.work import Served
from seq2seq.app.text_model import model_file
from seq2seq.errors import ConfigError

_LOCAL = frozenset({"localhost", "127.0.0.1", "[::1]"})


@dataclass(frozen=True)
class ServeOptions(Arithmetic, Limits):
    """Serve models: a page to look at what they say and why, and a JSON interface, described at /openapi.json.

    Several models are several, by the names of their folders or files; the first answers where none is named.
    """

    models: Annotated[tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="MODEL...")] = ()
    """A model.npz, or the folder of a run."""
    types: Types = ()
    """A class of yours that a model holds."""
    trust_code: bool = False
    """Import such classes from RUN/code, where train copied them. They are code, and they run."""
    port: int = 8000
    """The port; 0 is any free one."""
    host: str = "127.0.0.1"
    """The address to listen at. The default is for this machine alone; 0.0.0.0 is for every network it is in."""
    token_file: Annotated[str | None, tyro.conf.arg(metavar="FILE")] = None
    """A file with one word that every request for an answer must bring: Authorization: Bearer WORD."""
    shortlist: int | None = None
    """As in generate: choose among so many pieces of the vocabulary only."""

    def served(self) -> list[Served]:
        """The models.

        Raises:
            ConfigError: none is named.
            ArchiveError: one cannot be read.
        """
        if not self.models:
            raise ConfigError("serve: no MODEL; give a model.npz, or the folder of a run.")
        base = Decoding(batch=self.batch, precision=self.precision, int8=self.int8, shortlist=self.shortlist)
        base.check()
        loaded = [(path, ModelOptions(path, self.types, self.trust_code).load()) for path in self.models]
        return [Served(name_of(path), text, base) for path, text in loaded]

    def token(self) -> str | None:
        """What requests must bring.

        Raises:
            ConfigError: the file cannot be read, or holds no token.
        """
        if self.token_file is None:
            return None
        try:
            token = Path(self.token_file).read_text("utf-8-sig").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{self.token_file}: {error}.") from None
        if not token.isascii() or len(token.split()) != 1:
            raise ConfigError(f"{self.token_file}: wanted one ASCII word without spaces.")
        return token


def main(arguments: Sequence[str]) -> int:
    """Serve until told to stop."""
    options = parse(ServeOptions, "serve", gathered(ServeOptions, arguments))
    for name in ("starlette", "uvicorn"):
        if importlib.util.find_spec(name) is None:
            raise ConfigError(f'serve needs {name}, which is not installed: pip install "seq2seq-jax[serve]".')
    options.check()
    token = options.token()
    with listen(options.host, options.port) as bound:
        models = options.served()
        for model in models:
            model.ready()
        service = Service(models, options)
        run(service, bound, token, hosts_of(options.host) if token is None else None)
    return 0


def hosts_of(host: str) -> frozenset[str] | None:
    """What requests to an address of this machine alone may call it; None where others reach it too.

    Example:
        >>> sorted(hosts_of("127.0.0.2") or []), hosts_of("0.0.0.0")
        (['127.0.0.1', '127.0.0.2', '[::1]', 'localhost'], None)
    """
    try:
        address = ip_address("127.0.0.1" if host == "localhost" else host)
    except ValueError:
        return None
    name = f"[{address.compressed}]" if ":" in host else str(address)
    return _LOCAL | {name} if address.is_loopback else None


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens at an address.

    Raises:
        ConfigError: it cannot be.
    """
    if not 0 <= port < 65536:
        raise ConfigError(f"--port is {port}; wanted 0 to 65535.")
    # By its number of the protocol asyncio knows that small answers are not to wait for company (TCP_NODELAY).
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
        bound.listen(2048)  # from now on clients wait instead of being refused
    except (OSError, UnicodeError) as error:  # a part of a name may be too long for one
        bound.close()
        taken = isinstance(error, OSError) and error.errno in (errno.EADDRINUSE, errno.EACCES)
        why = getattr(error, "strerror", None) or error
        raise ConfigError(
            f"cannot listen at {host}:{port}: {why}; try another --{'port' if taken else 'host'}."
        ) from None
    return bound


def name_of(path: str) -> str:
    """What a model is called: the folder of a run, or the file without its ending.

    Example:
        >>> name_of("words.npz")
        'words'
    """
    file = model_file(path).resolve() if Path(path).exists() else Path(path)
    return file.parent.name if file.name == "model.npz" else file.stem
