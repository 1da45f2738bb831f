"""Table and plot of the figures of ``load.py``, and their place in a document.

    python benchmarks/load_report.py FIGURES docs/load.md

writes them again, puts the table between the two marks in the document, and the plot beside the document.
"""

import json
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

KINDS: Final = {
    "crops": "face crop of 48 to 224 pixels",
    "8 crops": "8 crops in a request",
    "32 crops": "32 crops in a request",
    "photographs": "photograph of 640x480, `/retrieve`",
    "1 MP": "photograph of 1 megapixel",
    "12 MP": "photograph of 12 megapixels",
    "group": "group photograph of 12 megapixels, 40 faces",
    "video": "video of 640x480, one face, a frame",
}

SERVERS: Final = {
    "bare": "bare loop",
    "mien": "mien",
    "plain": "plain FastAPI handler",
    "fer": "`fer` behind FastAPI",
    "deepface": "DeepFace's API",
}

BEGIN: Final = "<!-- figures of benchmarks/load.py -->\n"
END: Final = "<!-- end of these figures -->\n"
"""Marks in a document, between which the table is."""

FIRST_S: Final = 60
"""Seconds of a soak that do not count: buffers grow to the size that the load needs."""


class Cost(NamedTuple):
    """What an image costs a server: CPU milliseconds, and how many it answers in a second at most."""

    cpu_ms: float
    per_s: float


def write_report(figures: Mapping[str, Any], folder: Path) -> None:
    """Write ``load.md`` and, where matplotlib is installed, ``load.png`` into ``folder``."""
    costs = {kind: found for kind in KINDS if (found := _costs(figures, kind))}
    lines = [*_table(costs), "", _conditions(figures), ""]
    for kind, each in costs.items():
        if "at_200_percent" in figures[kind]["mien"]:
            lines += [f"{KINDS[kind].capitalize()}:", "", *_sentences(figures, kind, each), ""]
    if "processes" in figures:
        lines += ["| processes | CPU ms per image | images per s |", "|---|---|---|"]
        lines += [
            f"| {name} | {each['cpu_ms']:.2f} | {each['images_per_s']:.0f} |"
            for name, each in figures["processes"].items()
            if isinstance(each, dict)
        ]
    skipped = {name: figures[name]["skipped"] for name in [*KINDS, *SERVERS] if "skipped" in figures.get(name, {})}
    lines += [f"\n{SERVERS.get(name, name)}: {reason}." for name, reason in skipped.items()]
    if "soak" in figures:
        resident = figures["soak"]["resident_mb"]
        first, last = resident[min(FIRST_S, len(resident) // 2)], resident[-1]
        lines.append(
            f"\nMemory over {len(resident)} s at {figures['soak']['rate']:.0f} requests a second "
            f"({figures['soak']['statuses']}): {first:.1f} MB after the first minute, {last:.1f} MB at the end "
            f"({100 * (last / first - 1):+.1f} %), at most {max(resident):.1f} MB."
        )
    (folder / "load.md").write_text("\n".join(lines).strip() + "\n", encoding="utf-8")
    _plot(figures, costs, folder / "load.png")


def put_into(document: Path, folder: Path) -> None:
    """Put the table of ``folder`` between the marks of a document, and the plot beside it.

    Raises:
        ValueError: the document has no marks.
    """
    text = document.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise ValueError(f"{document} must have the lines {BEGIN.strip()} and {END.strip()}")
    table = (folder / "load.md").read_text(encoding="utf-8")
    document.write_text(f"{before}{begin}\n{table}\n{end}{after}", encoding="utf-8")
    if (plot := folder / "load.png").is_file():
        shutil.copyfile(plot, document.with_name("load.png"))


def _costs(figures: Mapping[str, Any], kind: str) -> dict[str, Cost]:
    """The cost of each server that was measured; empty where mien was not."""
    own = figures.get(kind, {})
    if "mien" not in own:
        return {}
    costs = {}
    if own["bare"]:
        # Several threads of one loop may give the highest rate, but they wait for each other by spinning.
        cpu_ms = min(each.get("least_cpu_ms", each["cpu_ms"]) for each in own["bare"])
        costs["bare"] = Cost(cpu_ms, max(each["per_s"] for each in own["bare"]))
    measured = {"mien": own["mien"], **{name: figures.get(name, {}).get(kind) for name in SERVERS if name != "mien"}}
    for name, found in measured.items():
        if found:
            costs[name] = Cost(found["highest"]["cpu_ms"], found["highest"]["images_per_s"])
    return costs


def _table(costs: Mapping[str, Mapping[str, Cost]]) -> Iterator[str]:
    """A row for each kind: CPU ms per image and, in brackets, images per second."""
    servers = [name for name in SERVERS if any(name in each for each in costs.values())]
    yield f"| CPU ms per image (images per s) | {' | '.join(SERVERS[name] for name in servers)} | bare loop to mien |"
    yield "|---" * (len(servers) + 2) + "|"
    for kind, each in costs.items():
        cells = [f"{each[name].cpu_ms:.2f} ({each[name].per_s:.0f})" if name in each else "" for name in servers]
        ratio = f"{each['bare'].cpu_ms / each['mien'].cpu_ms:.2f}" if "bare" in each else ""
        yield f"| {KINDS[kind]} | {' | '.join(cells)} | {ratio} |"


def _conditions(figures: Mapping[str, Any]) -> str:
    """On what machine the parts were measured, and for how long."""
    parts = [part for part in figures.values() if "cores" in part]
    cores = sorted({part["cores"] for part in parts})
    seconds = sorted({part["measurement_s"] for part in parts if "measurement_s" in part})
    loads = sorted(part["load_average"][0] for part in parts)
    return (
        f"Cores: {_range(cores)}; seconds of each measurement: {_range(seconds)}; load average of the machine when "
        f"the parts began: {_range(loads)}."
    )


def _range(numbers: list[float]) -> str:
    return " to ".join(f"{each:.3g}" for each in dict.fromkeys((*numbers[:1], *numbers[-1:])))


def _sentences(figures: Mapping[str, Any], kind: str, costs: Mapping[str, Cost]) -> list[str]:
    """Ratios of mien's figures to those of the others, and its latencies."""
    found, own = figures[kind]["mien"], costs["mien"]
    waits, over = found["at_70_percent"]["ms"], found["at_200_percent"]
    refused = {status: count for status, count in over["statuses"].items() if status != "200"}
    refused_ms = over["refused_ms"] or {"p50": 0.0, "p99": 0.0}
    latencies = {
        name: figures[name][kind]["at_70_percent"]["ms"]
        for name in costs
        if kind in figures.get(name, {}) and "at_70_percent" in figures[name][kind]
    }
    return [
        *(
            f"- mien to {SERVERS[name]}: {cost.cpu_ms / own.cpu_ms:.2f} by CPU time, "
            f"{own.per_s / cost.per_s:.2f} by answers per second"
            for name, cost in costs.items()
            if name != "mien"
        ),
        f"- of the same cores the generator takes {found['highest']['generator_cpu_ms']:.2f} ms for each answer",
        f"- at 70 %: p50 {waits['p50']:.1f} ms, p99 {waits['p99']:.1f} ms ({waits['p99'] / waits['p50']:.1f} times)",
        *(
            f"- {SERVERS[name]} at 70 %: p50 {ms['p50']:.1f} ms, p99 {ms['p99']:.1f} ms"
            for name, ms in latencies.items()
        ),
        f"- at 200 %: goodput {over['answers_per_s'] / own.per_s:.2f} of the highest rate; of "
        f"{sum(over['statuses'].values())} requests refused {refused}, p50 {refused_ms['p50']:.1f} ms, p99 "
        f"{refused_ms['p99']:.1f} ms",
        f"- ready in {found['ready_s']:.2f} s",
    ]


def _plot(figures: Mapping[str, Any], costs: Mapping[str, Mapping[str, Cost]], path: Path) -> None:
    try:
        import matplotlib as mpl
    except ImportError:
        return
    mpl.use("Agg")
    from matplotlib import pyplot

    panels = bool(costs) + ("soak" in figures)
    if not panels:
        return
    figure, axes = pyplot.subplots(1, panels, figsize=(7 * panels, 4.5), squeeze=False, layout="constrained")
    if costs:
        _plot_rates(axes[0, 0], costs)
    if "soak" in figures:
        axes[0, -1].plot(figures["soak"]["resident_mb"], color="tab:blue")
        axes[0, -1].set_ylim(bottom=0)
        axes[0, -1].set(title="memory under load", xlabel="seconds", ylabel="resident MB")
    for axis in axes[0]:
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=130)
    pyplot.close(figure)


def _plot_rates(axis: Any, costs: Mapping[str, Mapping[str, Cost]]) -> None:
    """Images per second of each kind and server, as bars."""
    colours = {
        "bare": "lightgrey",
        "mien": "tab:blue",
        "plain": "tab:orange",
        "fer": "tab:green",
        "deepface": "tab:red",
    }
    servers = [name for name in SERVERS if any(name in each for each in costs.values())]
    height = 0.8 / len(servers)
    for number, name in enumerate(servers):
        rows = [row for row, each in enumerate(costs.values()) if name in each]
        rates = [each[name].per_s for each in costs.values() if name in each]
        bars = axis.barh(
            [row + number * height for row in rows],
            rates,
            height,
            color=colours[name],
            label=SERVERS[name].replace("`", ""),
        )
        axis.bar_label(bars, [f"{rate:.3g}" for rate in rates], padding=2, fontsize=7)
    axis.set_yticks([row + 0.4 - height / 2 for row in range(len(costs))], list(costs))
    axis.invert_yaxis()
    axis.set_xscale("log")
    axis.set(xlabel="images per second")
    axis.legend(fontsize=7, frameon=False)


if __name__ == "__main__":
    figures_folder = Path(sys.argv[1])
    write_report(json.loads((figures_folder / "load.json").read_text(encoding="utf-8")), figures_folder)
    put_into(Path(sys.argv[2]), figures_folder)
