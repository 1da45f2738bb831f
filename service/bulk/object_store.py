"""Files of object stores, by address: ``s3://bucket/faces/1.jpg``, ``gs://bucket/...``, and ``file:///...`` as well.

Arrow's clients read them. Credentials come from the environment (``AWS_PROFILE``, a role of the machine, ...), never
from an address, which reports and logs repeat. An address is taken literally, as the stores' own tools do, up to a
question mark; after it come options of the client, such as ``region=eu-west-1`` or ``endpoint_override=HOST:PORT``.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from mien.model.errors import ConfigError, DatasetError
from mien.model.faces.decoding import DecodingLimits, check_bytes

SCHEMES: Final = ("s3", "gs", "file")

_KNOWN: Final = ", ".join(f"{scheme}://" for scheme in SCHEMES)


@dataclass(frozen=True)
class StoredFile:
    """A file or a folder of a store, with attributes and methods named as those of ``Path``.

    Attributes:
        scheme: one of ``SCHEMES``.
        path: within the store: the bucket and the key, or a path of this machine.
        options: of the client, as in an address.
    """

    scheme: str
    path: str
    options: str = ""

    def __str__(self) -> str:
        """The address, without options."""
        return f"{self.scheme}://{self.path}"

    def __truediv__(self, name: str) -> "StoredFile":
        """A file in a folder; a name that is an address is another file, read with the same options."""
        if is_address(name):
            other = _parsed(name)
            same = other.scheme == self.scheme and not other.options
            return StoredFile(other.scheme, other.path, self.options) if same else other
        return StoredFile(self.scheme, f"{self.path.rstrip('/')}/{name.lstrip('/')}", self.options)

    @property
    def name(self) -> str:
        """The last part."""
        return self.path.rstrip("/").rpartition("/")[2]

    @property
    def suffix(self) -> str:
        """The extension of the name, with its dot."""
        return Path(self.name).suffix

    @property
    def parent(self) -> "StoredFile":
        """The folder that contains it."""
        return StoredFile(self.scheme, self.path.rstrip("/").rpartition("/")[0], self.options)

    def is_dir(self) -> bool:
        """Whether it is a folder.

        Raises:
            DatasetError: the store does not answer.
        """
        return self._type() == "Directory"

    def is_file(self) -> bool:
        """Whether it is a file.

        Raises:
            DatasetError: the store does not answer.
        """
        return self._type() == "File"

    def below(self) -> Iterator["StoredFile"]:
        """Every file below a folder, in sorted order, without hidden files.

        Raises:
            DatasetError: the store does not answer.
        """
        from pyarrow import fs

        root = self.path.rstrip("/")
        try:
            found = self._client().get_file_info(fs.FileSelector(root, recursive=True))
        except OSError as error:
            raise DatasetError(f"{self} cannot be listed: {_reason(error)}") from None
        for path in sorted(each.path for each in found if each.type == fs.FileType.File):
            if not any(part.startswith(".") for part in path[len(root) :].split("/")):
                yield StoredFile(self.scheme, path, self.options)

    def relative_to(self, folder: "StoredFile") -> Path:
        """The path within a folder above it."""
        return Path(self.path[len(folder.path.rstrip("/")) :].lstrip("/"))

    def open(self) -> Any:
        """The file, open to read and seek.

        Raises:
            OSError: it cannot be read.
        """
        return self._client().open_input_file(self.path)

    def read(self, limits: DecodingLimits) -> bytes:
        """The bytes of an image file; the size is checked before they are read.

        Raises:
            ImageError: the file is empty or too large.
            OSError: it cannot be read.
        """
        with self.open() as file:
            check_bytes(file.size(), limits)
            data: bytes = file.read()
        return data

    def _type(self) -> str:
        try:
            name: str = self._client().get_file_info(self.path.rstrip("/")).type.name
        except OSError as error:
            raise DatasetError(f"{self} cannot be read: {_reason(error)}") from None
        return name

    def _client(self) -> Any:
        options = f"?{self.options}" if self.options else ""
        return _client_of(f"{self.scheme}://{'' if self.scheme == 'file' else self.path.partition('/')[0]}", options)


def is_address(place: str) -> bool:
    """Whether a place is an address, not a path of this machine."""
    return "://" in place


def place_of(text: str) -> Path | StoredFile:
    """The file or folder of a path or an address.

    Raises:
        ConfigError: the address has a password or is of an unknown store, or pyarrow is not installed.
    """
    if not is_address(text):
        return Path(text)
    stored = _parsed(text)
    stored._client()
    return stored


def _parsed(address: str) -> StoredFile:
    scheme, _, rest = address.partition("://")
    path, _, options = rest.partition("?")
    return StoredFile(scheme, path, options)


@lru_cache(maxsize=64)
def _client_of(store: str, options: str) -> Any:
    """The client of a bucket; cached, as finding the bucket's region takes a request."""
    if "@" in store:
        raise ConfigError(
            "an address must not have a key, as reports repeat it: set credentials in the environment, such as "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )
    if store.partition("://")[0] not in SCHEMES:
        raise ConfigError(f"{store}: expected an address that begins with {_KNOWN}")
    try:
        import pyarrow
        from pyarrow import fs
    except ImportError:
        raise ConfigError("object stores need pyarrow: pip install 'mien[parquet]'") from None
    try:
        client, _ = fs.FileSystem.from_uri(f"{store}{'/' if store == 'file://' else ''}{options}")
    except (OSError, pyarrow.ArrowException) as error:
        raise ConfigError(f"{store} cannot be used: {_reason(error)}") from None
    return client


def _reason(error: Exception) -> str:
    return str(error).partition("\n")[0][:300]
