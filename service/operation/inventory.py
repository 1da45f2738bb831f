"""What an installation consists of: every part with its version and licence, for people or as a CycloneDX document.

Parts are the Python distributions, the packages of the Debian system below them where there is one, and the bundle
with the network that ships.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import Distribution, distributions, version
from pathlib import Path
from typing import Any, Final, Literal

from mien.index.bundle.default import default_bundle
from mien.index.bundle.manifest import read_manifest

DPKG_STATUS: Final = Path("/var/lib/dpkg/status")
COPYRIGHTS: Final = Path("/usr/share/doc")

UNKNOWN: Final = "not stated"

Kind = Literal["python", "debian", "bundle"]


@dataclass(frozen=True, order=True)
class Part:
    """One thing that is installed.

    Attributes:
        kind: where it comes from.
        name: as its registry calls it.
        version: as its registry writes it.
        licence: an SPDX expression where the part states one, else what it says.
        sha256: of its content, where that is known.
    """

    kind: Kind
    name: str
    version: str
    licence: str
    sha256: str | None = None

    @property
    def url(self) -> str | None:
        """Its package URL; None for what no registry holds."""
        registry = {"python": "pypi", "debian": "deb/debian"}.get(self.kind)
        return f"pkg:{registry}/{self.name}@{self.version}" if registry else None


def parts(status: Path = DPKG_STATUS, copyrights: Path = COPYRIGHTS) -> list[Part]:
    """All parts of this installation, sorted."""
    return sorted({*_python(), *_debian(status, copyrights), *_bundle()})


def as_licences() -> str:
    """The full licence texts that the Python distributions bring, each under the name of its distribution."""
    return "\n".join(f"{'=' * 78}\n{name}\n{'=' * 78}\n{text}" for name, text in _licence_texts())


def as_table(installed: list[Part]) -> str:
    """One line for each part."""
    wide = max(len(part.name) for part in installed)
    return "\n".join(f"{part.kind:7}{part.name:{wide}}  {part.version:30.30}  {part.licence}" for part in installed)


def as_cyclonedx(installed: list[Part]) -> str:
    """A software bill of materials: CycloneDX 1.6, JSON."""
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": {"type": "application", "name": "mien", "version": version("mien")}},
        "components": [_component(part) for part in installed],
    }
    return json.dumps(document, indent=1)


def _component(part: Part) -> dict[str, Any]:
    component: dict[str, Any] = {
        "type": "machine-learning-model" if part.kind == "bundle" else "library",
        "name": part.name,
        "version": part.version,
        "licenses": [{"license": {"name": part.licence}}],
    }
    if part.url is not None:
        component["purl"] = part.url
    if part.sha256 is not None:
        component["hashes"] = [{"alg": "SHA-256", "content": part.sha256}]
    return component


def _licence_texts() -> Iterator[tuple[str, str]]:
    for distribution in sorted(distributions(), key=lambda each: each.name.lower()):
        for path in distribution.files or ():
            if re.match(r"(licen[cs]e|copying|notice|thirdpartynotices)", path.name, re.IGNORECASE):
                where = Path(str(distribution.locate_file(path)))
                if where.suffix != ".py" and where.is_file():
                    yield distribution.name, where.read_text(encoding="utf-8", errors="replace")


def _python() -> Iterator[Part]:
    for distribution in distributions():
        name = re.sub(r"[-_.]+", "-", distribution.name).lower()
        yield Part("python", name, distribution.version, _stated_licence(distribution))


def _stated_licence(distribution: Distribution) -> str:
    """The expression, else the classifiers, else the first line of the free text."""
    metadata = distribution.metadata
    if "License-Expression" in metadata:
        return metadata["License-Expression"]
    classifiers = [
        line.rsplit(" :: ", 1)[1]
        for line in metadata.get_all("Classifier") or []
        if line.startswith("License :: ") and line != "License :: OSI Approved"
    ]
    if classifiers:
        return ", ".join(classifiers)
    text = metadata["License"].strip() if "License" in metadata else ""
    return text.splitlines()[0][:80] if text else UNKNOWN


def _debian(status: Path, copyrights: Path) -> Iterator[Part]:
    if not status.is_file():
        return
    for paragraph in status.read_text(encoding="utf-8", errors="replace").split("\n\n"):
        fields = dict(re.findall(r"^(Package|Version|Status): (.*)$", paragraph, re.MULTILINE))
        if fields.get("Status", "").endswith(" installed"):
            name = fields["Package"]
            yield Part("debian", name, fields["Version"], _debian_licence(copyrights / name / "copyright"))


def _debian_licence(copyright_file: Path) -> str:
    if not copyright_file.is_file():
        return UNKNOWN
    text = copyright_file.read_text(encoding="utf-8", errors="replace")
    named = dict.fromkeys(re.findall(r"^License: *(\S.*?) *$", text, re.MULTILINE))
    common = dict.fromkeys(re.findall(r"/usr/share/common-licenses/([A-Za-z0-9.+-]*[A-Za-z0-9+])", text))
    return ", ".join(named or common) or UNKNOWN


def _bundle() -> Iterator[Part]:
    manifest = read_manifest(default_bundle())
    for name, digest in manifest.sha256.items():
        yield Part("bundle", name, manifest.mien_version, "MIT; made from what the README lists under Licences", digest)
