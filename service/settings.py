"""Settings of the service: read from the environment (prefix ``MIEN_``) once, when it starts."""

import difflib
import re
from collections.abc import Mapping
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BeforeValidator, Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from mien.index.bundle.default import default_bundle
from mien.index.gallery.vectors.policy import Device, IndexKind
from mien.model.embedder.provider import Provider
from mien.model.emotions import EmotionPrior
from mien.model.errors import ConfigError
from mien.model.faces.decoding import MAX_CPU_S, DecodingLimits
from mien.model.video.decoder import DEFAULT_LIMITS, VideoLimits
from mien.model.video.tracker import DETECT_EVERY

PREFIX: Final = "MIEN_"

ORIGIN: Final = re.compile(r"https?://[a-z0-9.\-\[\]:]+", re.ASCII)
"""An origin as browsers send it: scheme, host in lower case, and port unless it is the default of the scheme."""

HOST: Final = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9_.\-]+)(:[0-9]{1,5})?", re.ASCII | re.IGNORECASE)
"""A host as in the header ``Host``: a name or an address, and perhaps a port."""


def _path_to_text(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else value


def _rename_cells(value: Any) -> Any:
    """``cells`` is the former name of ``ivf``."""
    return "ivf" if value == "cells" else value


def _split(text: str | None) -> tuple[str, ...]:
    return tuple(part.strip() for part in (text or "").split(",") if part.strip())


class Settings(BaseSettings):
    """Each field is the environment variable ``MIEN_<NAME>`` and the option ``--<name>`` of ``mien serve``."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, frozen=True, extra="forbid")

    host: str = Field("127.0.0.1", min_length=1, description="Address to listen on.")
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    bundle: Path = Field(default_factory=default_bundle, description="Folder of the bundle to serve.")
    gallery: Annotated[str | None, BeforeValidator(_path_to_text)] = Field(
        None,
        description="Folder of your gallery, or address of a distributed one, such as "
        "milvus://host:19530/collection; without it, the bundle's is served, read-only.",
    )
    gallery_seed: bool = Field(
        default=False, description="Add the faces that ship with the bundle to your gallery when it is created."
    )
    prior: EmotionPrior = Field(
        "uniform",
        description="Weights of the emotions in posteriors: uniform, or data, their shares of the training faces.",
    )
    gallery_index: Annotated[IndexKind, BeforeValidator(_rename_cells)] = Field(
        "auto", description="How your gallery is searched: exact, ivf (approximate), or auto: ivf above 100,000 faces."
    )
    gallery_device: Device = Field(
        "auto",
        description="Where your gallery is searched exactly: auto takes the GPU where there is one, cuda warns "
        "where there is none, require refuses.",
    )
    gallery_thumbnails: bool = Field(
        default=False,
        description="Keep a thumbnail of each added face, in colour, from which it can be embedded again.",
    )
    detector: Path | None = Field(None, description="YuNet's ONNX file; without it, the one that mien carries.")
    provider: Provider = Field(
        "auto",
        description="Where the network runs: auto takes the GPU where there is one, cuda (or tensorrt, in float16) "
        "warns where there is none, require refuses.",
    )
    threads: int = Field(1, ge=0, le=1024, description="Threads of one embedding; 0 leaves it to ONNX Runtime.")
    workers: int = Field(
        0,
        ge=0,
        le=1024,
        description="Threads that embed and search, and most processes that read pictures; 0 takes one per core, "
        "as far as the limits of a container allow.",
    )
    processes: int = Field(1, ge=1, le=256, description="Processes that serve; each loads the bundle.")
    batch_faces: int = Field(8, ge=1, le=1024, description="Most faces that go through the network at once.")
    batch_wait_ms: float = Field(
        2.0, ge=0, le=1000, description="Longest wait of a face for others that are being decoded, milliseconds."
    )
    queue_images: int = Field(64, ge=1, description="Images that are worked on or wait; more are answered with 503.")
    queue_work: int = Field(
        64,
        ge=1,
        description="Work at once on queries of the gallery, on changes of it, and on portraits and explanations, each "
        "in units of about 10 ms; more is answered with 503.",
    )
    caller_share: float = Field(
        0.75,
        gt=0,
        le=1,
        description="Share of what may be worked on at once, of bytes of bodies and of streams, that one key, or one "
        "address without keys, may have.",
    )
    min_upload_bytes_per_s: int = Field(
        4096, ge=0, description="Slowest upload of a body, bytes per second; slower ones are answered with 408."
    )
    queue_body_bytes: int = Field(
        256 * 2**20, ge=1, description="Bytes of request bodies in memory at once; more are answered with 503."
    )
    timeout_s: float = Field(
        30.0, gt=0, description="Longest time for a body to arrive, and for the answer after it, seconds."
    )
    rate_per_s: float = Field(
        100.0, ge=0, description="Requests of one key, or of one address without keys, per second; 0 sets no limit."
    )
    keys: Path | None = Field(None, description="File of API keys (mien keys); without it, no key is needed.")
    allow_public: bool = Field(default=False, description="Serve other machines although no keys are set.")
    published: str | None = Field(
        None,
        description="Where a container's port is published, such as 127.0.0.1:8000: decides in place of the host "
        "whether other machines can call the service.",
    )
    hosts: str | None = Field(
        None,
        description="Hosts that requests may be for, such as faces.example, separated by commas, besides those of the "
        "loopback interface; * for all. Without it and with keys, all.",
    )
    proxies: str | None = Field(
        None,
        description="Addresses or networks of proxies, separated by commas, whose X-Forwarded-For is believed; * for "
        "all.",
    )
    max_connections: int = Field(1024, ge=1, description="Connections of a process at once.")
    max_connections_per_address: int = Field(
        256, ge=1, description="Connections of a process at once from one address, proxies excepted."
    )
    send_timeout_s: float = Field(
        10.0, gt=0, description="Callers that take less than 64 KiB of an answer in so long are cut off, seconds."
    )
    queue_answer_bytes: int = Field(
        256 * 2**20,
        ge=1,
        description="Bytes of answers that callers have not taken; of more at once, the slowest are cut off.",
    )
    drain_s: float = Field(
        1.0, ge=0, le=600, description="Seconds between the signal to stop and the end of listening, answered with 503."
    )
    max_body_bytes: int = Field(21 * 2**20, ge=1, description="Largest request body, bytes.")
    max_image_bytes: int = Field(DecodingLimits().max_bytes, ge=1, description="Largest image file, bytes.")
    max_image_pixels: int = Field(DecodingLimits().max_pixels, ge=1, description="Largest image, pixels.")
    max_image_memory_bytes: int = Field(
        DecodingLimits().max_memory_bytes,
        ge=2**20,
        description="Most memory for decoding an image, by its header, bytes.",
    )
    max_image_cpu_s: float = Field(MAX_CPU_S, gt=0, description="Longest CPU time for reading an image, seconds.")
    max_images: int = Field(16, ge=1, description="Most images of one request.")
    max_faces: int = Field(50, ge=1, description="Faces of an image that are answered, largest first.")
    queue_videos: int = Field(2, ge=1, description="Videos that are worked on at once; more are answered with 503.")
    max_video_bytes: int = Field(64 * 2**20, ge=1, description="Largest body with a video, bytes.")
    max_video_s: float = Field(DEFAULT_LIMITS.max_s, gt=0, description="Longest video, seconds.")
    max_video_frames: int = Field(
        DEFAULT_LIMITS.max_frames, ge=1, description="Most frames of a video that are answered."
    )
    max_video_pixels: int = Field(DEFAULT_LIMITS.max_pixels, ge=1, description="Largest frame of a video, pixels.")
    video_timeout_s: float = Field(
        DEFAULT_LIMITS.max_cpu_s, gt=0, description="Longest time of an answer about a video, seconds."
    )
    detect_every: int = Field(
        DETECT_EVERY,
        ge=1,
        description="Frames of a video or stream from one search of the whole frame for faces to the next; in between, "
        "those found are followed.",
    )
    max_streams: int = Field(8, ge=1, description="WebSockets at once; more are answered with 503.")
    stream_fps: float = Field(
        10.0, gt=0, le=1000, description="Most frames of one stream that are answered in a second; others are dropped."
    )
    stream_idle_s: float = Field(30.0, gt=0, description="A stream without a frame for so long is closed, seconds.")
    max_stream_frame_bytes: int = Field(2 * 2**20, ge=1, description="Largest message of a stream, bytes.")
    cors_origins: str | None = Field(
        None,
        description="Origins whose pages may call the service, such as https://faces.example, separated by commas; "
        "without it, only its own.",
    )
    max_k: int = Field(1000, ge=1, description="Most matches of a query.")
    min_typicality: float | None = Field(
        None, ge=0, le=1, description="Faces that are less typical show no known expression; without it, the bundle's."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Lowest level of what is logged."
    )

    @model_validator(mode="after")
    def _check_limits(self) -> Self:
        if self.max_images > self.queue_images:
            raise ValueError(
                f"--max-images must be at most --queue-images ({self.queue_images}), got {self.max_images}"
            )
        if self.max_body_bytes > self.queue_body_bytes:
            raise ValueError(
                f"--max-body-bytes must be at most --queue-body-bytes ({self.queue_body_bytes}), "
                f"got {self.max_body_bytes}"
            )
        return self

    @model_validator(mode="after")
    def _check_origins(self) -> Self:
        for origin in self.origins:
            if not ORIGIN.fullmatch(origin):
                raise ValueError(
                    f"--cors-origins must be exact origins such as https://faces.example or http://localhost:3000, "
                    f"separated by commas, got {origin!r}"
                )
        return self

    @model_validator(mode="after")
    def _check_hosts(self) -> Self:
        for host in self.named_hosts:
            if host != "*" and not HOST.fullmatch(host):
                raise ValueError(
                    f"--hosts must be hosts such as faces.example or faces.example:8443, separated by commas, "
                    f"got {host!r}"
                )
        for proxy in self.trusted_proxies:
            try:
                ip_network("0.0.0.0/0" if proxy == "*" else proxy)
            except ValueError:
                raise ValueError(
                    f"--proxies must be addresses or networks such as 10.0.0.0/8, separated by commas, got {proxy!r}"
                ) from None
        return self

    @property
    def named_hosts(self) -> tuple[str, ...]:
        """The hosts that requests may be for, besides those of the loopback interface."""
        return _split(self.hosts)

    @property
    def trusted_proxies(self) -> tuple[str, ...]:
        """The addresses and networks of proxies whose word about their caller is believed."""
        return _split(self.proxies)

    @property
    def origins(self) -> tuple[str, ...]:
        """The origins whose pages may call the service, besides its own."""
        return _split(self.cors_origins)

    @property
    def video_body_bytes(self) -> int:
        """The largest body with a video: not larger than all bodies together may be."""
        return min(self.max_video_bytes, self.queue_body_bytes)

    @property
    def video_limits(self) -> VideoLimits:
        """The limits of one video."""
        return VideoLimits(
            max_pixels=self.max_video_pixels,
            max_s=self.max_video_s,
            max_frames=self.max_video_frames,
            max_cpu_s=self.video_timeout_s,
        )

    @property
    def decoding_limits(self) -> DecodingLimits:
        """The limits of one image."""
        return DecodingLimits(
            max_bytes=self.max_image_bytes,
            max_pixels=self.max_image_pixels,
            max_memory_bytes=self.max_image_memory_bytes,
        )


def read_settings(environment: Mapping[str, str], **overrides: object) -> Settings:
    """Read the settings of the environment; ``overrides`` that are not None take precedence.

    Raises:
        ConfigError: a value is not valid, or a variable with the prefix is no setting.
    """
    names = {PREFIX + name.upper() for name in Settings.model_fields}
    for variable in environment:
        if variable.upper().startswith(PREFIX) and variable.upper() not in names:
            near = difflib.get_close_matches(variable.upper(), names, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise ConfigError(f"{variable} is no setting of mien{hint}")
    try:
        return Settings(**{name: value for name, value in overrides.items() if value is not None})  # type: ignore[arg-type]
    except ValidationError as error:
        first = error.errors()[0]
        if first["type"] == "value_error":  # a rule about several settings: its message has their values
            raise ConfigError(first["msg"].removeprefix("Value error, ")) from None
        field = str(first["loc"][0]) if first["loc"] else ""
        given = "--" + field.replace("_", "-") if overrides.get(field) is not None else PREFIX + field.upper()
        raise ConfigError(f"{given}: {first['msg']}, got {first['input']!r}") from None
