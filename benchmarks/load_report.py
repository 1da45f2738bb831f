"""Table and plot of the figures of ``load.py``."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

KINDS: Final = {"crops": "already-cropped faces of 48 to 224 pixels", "photographs": "photographs of 640x480, one face"}

OTHERS: Final = {"plain": "plain FastAPI handler", "fer": "`fer` behind FastAPI", "deepface": "DeepFace's API"}

FIRST_S: Final = 60
"""Seconds of a soak that do not count: buffers grow to the size that the load needs."""


def write_report(figures: Mapping[str, Any], folder: Path) -> None:
    """Write ``load.md`` and, where matplotlib is installed, ``load.png`` into ``folder``."""
    lines = [line for kind in KINDS if kind in figures for line in _table(figures, kind)]
    if "shapes" in figures:
        lines += ["", "| several images, several processes | CPU ms per image | images per s |", "|---|---|---|"]
        lines += [
            f"| {name} | {each['cpu_ms']:.2f} | {each['answers_per_s']:.0f} |"
            for name, each in figures["shapes"].items()
            if isinstance(each, dict)
        ]
    lines += [
        f"\n{OTHERS[other]}: {figures[other]['skipped']}." for other in OTHERS if "skipped" in figures.get(other, {})
    ]
    if "soak" in figures:
        resident = figures["soak"]["resident_mb"]
        first, last = resident[min(FIRST_S, len(resident) // 2)], resident[-1]
        lines.append(
            f"\nMemory over {len(resident)} s at {figures['soak']['rate']:.0f} requests a second "
            f"({figures['soak']['statuses']}): {first:.1f} MB after the first minute, {last:.1f} MB at the end "
            f"({100 * (last / first - 1):+.1f} %), at most {max(resident):.1f} MB."
        )
    (folder / "load.md").write_text("\n".join(lines).strip() + "\n", encoding="utf-8")
    _plot(figures, folder / "load.png")


def _rows(figures: Mapping[str, Any], kind: str) -> list[tuple[str, float, float, dict[str, Any]]]:
    """Name, CPU ms, answers per second, and the other measurements of each."""
    own = figures[kind]
    bare = max(own["bare"], key=lambda each: each["per_s"])
    rows: list[tuple[str, float, float, dict[str, Any]]] = [("bare loop", bare["cpu_ms"], bare["per_s"], {})]
    highest = own["mien"]["highest"]
    rows.append(("mien", highest["cpu_ms"], highest["answers_per_s"], own["mien"]))
    for other, name in OTHERS.items():
        if kind in figures.get(other, {}):
            found = figures[other][kind]
            rows.append((name, found["highest"]["cpu_ms"], found["highest"]["answers_per_s"], found))
    return rows


def _table(figures: Mapping[str, Any], kind: str) -> list[str]:
    rows = _rows(figures, kind)
    lines = [
        "",
        f"| {KINDS[kind]} | CPU ms per answer | answers per s | p50, p99 at 70 %, ms |",
        "|---|---|---|---|",
    ]
    for name, cpu_ms, per_s, found in rows:
        waits = found.get("at_70_percent", {}).get("ms", {})
        shown = f"{waits['p50']:.1f}, {waits['p99']:.1f}" if waits else ""
        lines.append(f"| {name} | {cpu_ms:.2f} | {per_s:.0f} | {shown} |")
    return [*lines, "", *_sentences(rows)]


def _sentences(rows: list[tuple[str, float, float, dict[str, Any]]]) -> list[str]:
    """Ratios of mien's figures to those of the others."""
    (_, bare_cpu, bare_rate, _), (_, cpu, rate, own) = rows[0], rows[1]
    waits, over = own["at_70_percent"]["ms"], own["at_200_percent"]
    refused = {status: count for status, count in over["statuses"].items() if status != "200"}
    refused_ms = over["refused_ms"] or {"p50": 0.0, "p99": 0.0}
    return [
        f"- mien to the bare loop: {bare_cpu / cpu:.2f} by CPU time, {rate / bare_rate:.2f} by answers per second (of "
        f"the same cores the generator takes {own['highest']['generator_cpu_ms']:.2f} ms for each)",
        *(
            f"- mien to {name}: {cpu_ms / cpu:.2f} by CPU time, {rate / per_s:.2f} by answers per second"
            for name, cpu_ms, per_s, _ in rows[2:]
        ),
        f"- p99 to p50 at 70 %: {waits['p99'] / waits['p50']:.1f}",
        f"- at 200 %: goodput {over['answers_per_s'] / rate:.2f} of the highest rate; of "
        f"{sum(over['statuses'].values())} requests refused {refused}, p50 {refused_ms['p50']:.1f} ms, p99 "
        f"{refused_ms['p99']:.1f} ms",
        f"- ready in {own['ready_s']:.2f} s",
    ]


def _plot(figures: Mapping[str, Any], path: Path) -> None:
    try:
        import matplotlib as mpl
    except ImportError:
        return
    mpl.use("Agg")
    from matplotlib import pyplot

    panels = [kind for kind in KINDS if kind in figures] + ["soak"] * ("soak" in figures)
    if not panels:
        return
    figure, axes = pyplot.subplots(
        1, len(panels), figsize=(4.2 * len(panels), 2.6), squeeze=False, layout="constrained"
    )
    for axis, panel in zip(axes[0], panels, strict=True):
        if panel == "soak":
            axis.plot(figures["soak"]["resident_mb"], color="tab:blue")
            axis.set_ylim(bottom=0)
            axis.set(title="memory under load", xlabel="seconds", ylabel="resident MB")
            continue
        rows = _rows(figures, panel)[::-1]
        bars = axis.barh(
            [name.replace("`", "") for name, *_ in rows],
            [per_s for _, _, per_s, _ in rows],
            color=["tab:blue" if name == "mien" else "lightgrey" for name, *_ in rows],
        )
        axis.bar_label(bars, [f"{per_s:.0f}  ({cpu_ms:.1f} ms)" for _, cpu_ms, per_s, _ in rows], padding=3, fontsize=8)
        axis.margins(x=0.45)
        axis.set(title=panel, xlabel="answers per second (CPU ms of each)")
    for axis in axes[0]:
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=130)
    pyplot.close(figure)
