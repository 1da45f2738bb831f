"""The address of a distributed gallery, in one line of text.

milvus://host:19530/faces                       the collection ``faces`` of the server
milvus://user:password@host/faces?index=ivf     with a name and a password, and an index other than the default
https://host:443/faces?database=people          over TLS, in another database
"""

import re
from dataclasses import dataclass, replace
from typing import Final, Literal, cast, get_args
from urllib.parse import parse_qsl, unquote, urlsplit

from mien.model.errors import ConfigError

IndexType = Literal["flat", "ivf", "hnsw"]
"""``flat`` compares with every face and is exact; the others are approximate, and faster on many faces."""

SCHEMES: Final = ("milvus", "http", "https")

DEFAULT_PORT: Final = 19530

STALENESS_MS: Final = 500
"""The server sends the time to its parts every 200 ms: a read that may lag so much is answered at once, one that must
see every write waits for the next time."""

_COLLECTION: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,199}")


@dataclass(frozen=True)
class MilvusAddress:
    """A collection of a Milvus server.

    Attributes:
        host: name or address.
        port: of the server.
        collection: name of the gallery there.
        tls: whether the connection is encrypted.
        token: ``user:password``, or empty.
        database: of the collection; empty for the default one.
        index: how a new gallery is searched; None takes ``flat``, or the index of an existing gallery.
        shards: write channels of a new gallery.
        patience_s: how long a call is tried again while the server does not answer.
        staleness_ms: by how much a read may lag behind what other processes wrote.
    """

    host: str
    port: int
    collection: str
    tls: bool = False
    token: str = ""
    database: str = ""
    index: IndexType | None = None
    shards: int = 1
    patience_s: float = 90.0
    staleness_ms: int = STALENESS_MS

    @property
    def server(self) -> str:
        """The server's address, as the client takes it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}"

    def __str__(self) -> str:
        """For messages: without the password."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"milvus://{host}:{self.port}/{self.collection}"


def is_address(text: str) -> bool:
    """Whether a text is the address of a server, and not a folder."""
    return text.split("://", maxsplit=1)[0].lower() in SCHEMES and "://" in text


def parse_address(text: str) -> MilvusAddress:
    """Read an address.

    Raises:
        ConfigError: it is invalid; the message leaves the password out.
    """
    wanted = "expected an address such as milvus://host:19530/collection"
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ConfigError(f"{wanted}, got one that cannot be read: {error}") from None
    if parts.scheme not in SCHEMES or not host:
        raise ConfigError(f"{wanted}, got {_without_password(text)}")
    collection = parts.path.strip("/")
    if not _COLLECTION.fullmatch(collection):
        raise ConfigError(
            f"{wanted}, whose collection has letters, digits and underscores and begins with no digit, "
            f"got the collection {collection!r}"
        )
    token = ":".join(unquote(part) for part in (parts.username, parts.password) if part)
    address = MilvusAddress(host, port or DEFAULT_PORT, collection, tls=parts.scheme == "https", token=token)
    return _with_options(address, dict(parse_qsl(parts.query, keep_blank_values=True)))


def _with_options(address: MilvusAddress, options: dict[str, str]) -> MilvusAddress:
    known = ("index", "shards", "patience_s", "staleness_ms", "database")
    for name in options:
        if name not in known:
            raise ConfigError(f"{address}: unknown option {name!r}; expected one of {', '.join(known)}")
    index = options.get("index")
    if index is not None and index not in get_args(IndexType):
        raise ConfigError(f"{address}: index must be one of {', '.join(get_args(IndexType))}, got {index!r}")
    try:
        shards = int(options.get("shards", address.shards))
        patience_s = float(options.get("patience_s", address.patience_s))
        staleness_ms = int(options.get("staleness_ms", address.staleness_ms))
    except ValueError as error:
        raise ConfigError(f"{address}: {error}") from None
    if not 1 <= shards <= 64 or not 0 <= patience_s <= 3600:
        raise ConfigError(
            f"{address}: expected shards of 1 to 64 and a patience_s of 0 to 3600, got {shards} and {patience_s}"
        )
    if not 0 <= staleness_ms <= 60_000:
        raise ConfigError(f"{address}: expected a staleness_ms of 0 to 60000, got {staleness_ms}")
    return replace(
        address,
        index=cast("IndexType | None", index),
        shards=shards,
        patience_s=patience_s,
        staleness_ms=staleness_ms,
        database=options.get("database", ""),
    )


def _without_password(text: str) -> str:
    """The text of a message, without what may be a password."""
    return repr(re.sub(r"//[^/@]*@", "//...@", text)[:120])
