"""What became of the faces of an import."""

from dataclasses import dataclass, field


@dataclass
class ImportReport:
    """What became of the faces of an import.

    Attributes:
        added: faces that are new.
        replaced: faces that had other content.
        unchanged: faces that the gallery had already.
        skipped: (source, id, reason) of the others.
        nodes: faces that each machine of a cluster prepared, by its name.
    """

    added: int = 0
    replaced: int = 0
    unchanged: int = 0
    skipped: list[tuple[str, str, str]] = field(default_factory=list)
    nodes: dict[str, int] = field(default_factory=dict)

    @property
    def faces(self) -> int:
        """The number of all faces."""
        return self.added + self.replaced + self.unchanged + len(self.skipped)

    def include(self, other: "ImportReport") -> None:
        """Add the faces of another report."""
        self.added += other.added
        self.replaced += other.replaced
        self.unchanged += other.unchanged
        self.skipped += other.skipped
        for node, faces in other.nodes.items():
            self.nodes[node] = self.nodes.get(node, 0) + faces
