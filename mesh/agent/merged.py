"""Join two processes' metrics: Prometheus wants all series of a metric in one group, described once. Pure."""

from __future__ import annotations


def merge_metrics(*pages: str) -> str:
    """Return one page with the series of all; the first description of a metric wins.

    Source: Prometheus text exposition format 0.0.4.
    """
    described: dict[str, list[str]] = {}
    series: dict[str, list[str]] = {}
    for page in pages:
        current = ""
        for line in page.splitlines():
            words = line.split(" ", 3)
            if line.startswith(("# HELP ", "# TYPE ")) and len(words) > 2:
                current = words[2]
                known = described.setdefault(current, [])
                series.setdefault(current, [])
                if not any(each.startswith(f"# {words[1]} {current} ") for each in known):
                    known.append(line)
            elif line and not line.startswith("#"):
                family = current if current and line.startswith(current) else line.split("{")[0].split(" ")[0]
                described.setdefault(family, [])
                series.setdefault(family, []).append(line)
    lines = [line for family in described for line in (*described[family], *series[family])]
    return "\n".join(lines) + "\n" if lines else ""
