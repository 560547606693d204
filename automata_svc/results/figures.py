"""Numbers as people read them, the same everywhere."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

# What a terminal without UTF-8 gets instead.
ASCII: Mapping[int, str] = MappingProxyType(
    str.maketrans(
        {
            "█": "#", "░": ".", "→": "->", "×": "x", "τ": "tau", "…": "...", "·": "-", "–": "-",
            "≥": ">=", "≤": "<=", "✓": "ok", "✗": "no", "≈": "~",
        }
    )
)  # fmt: skip

NARROW = 20  # columns in which a sentence is no pleasure to read


def share(value: float) -> str:
    """0.0025 → 0.0025, 0.161904 → 0.162, 1.0 → 1."""
    return f"{value:.3g}"


def price(value: float) -> str:
    """In full trainings: 0.0431 → 0.043, 2.314 → 2.31, 27.31 → 27.3, 10012.3 → 10,012."""
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.2g}" if value < 0.1 else f"{value:.3g}"


def metric(value: float | None) -> str:
    """A metric or a loss."""
    if value is None:
        return "–"
    return f"{value:.4f}" if abs(value) < 1000 else f"{value:.4g}"


def count(value: float) -> str:
    """1234567 → 1,234,567."""
    return f"{value:,.0f}"


def counted(number: int, thing: str) -> str:
    """1 → 1 trial, 1234 → 1,234 trials."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def percent(part: float) -> str:
    """0.071 → 7 %, 0.003 → <1 %."""
    return f"{part * 100:.0f} %" if not 0 < part < 0.005 else "<1 %"


def seconds(value: float | None) -> str:
    """0.31 → 0.3 s, 74 → 1 min 14 s, 8100 → 2 h 15 min."""
    if value is None:
        return "not measured"
    if value < 10:
        return f"{value:.1f} s"
    whole = round(value)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def parameter(value: Any) -> str:
    """A parameter's value, floats to 4 digits."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def parameters(params: Mapping[str, Any]) -> str:
    """lr=0.01 hidden=64, in sorted order of names."""
    return " ".join(f"{name}={parameter(value)}" for name, value in sorted(params.items()))


def table(
    rows: Iterable[Sequence[str]], right: Sequence[int] = (), indent: str = "  ", gap: str = "  "
) -> list[str]:
    """Lines with their cells under each other; columns in `right` flush right."""
    cells = [list(row) for row in rows]
    if not cells:
        return []
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    return [
        indent
        + gap.join(
            cell.rjust(width) if i in right else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]


def wrapped(text: str, width: int, indent: str = "  ", hanging: str = "") -> list[str]:
    """A sentence over as many lines as it needs; further lines stand under its words."""
    return textwrap.wrap(
        text,
        max(20, width),
        initial_indent=indent,
        subsequent_indent=" " * len(indent) + hanging,
        break_long_words=False,
        break_on_hyphens=False,
    )


def fitted(
    rows: Sequence[Sequence[str]], width: int, right: Sequence[int] = (), indent: str = "  "
) -> list[str]:
    """A table whose last column wraps: under itself, or alone where that is narrow."""
    if not rows:
        return []
    heads = table([row[:-1] for row in rows], right, indent)
    left = max(len(head) for head in heads) + 2
    lines: list[str] = []
    for head, row in zip(heads, rows, strict=True):
        if width - left < NARROW:
            lines += [head, *wrapped(row[-1], width, indent=indent + "    ")]
            continue
        parts = wrapped(row[-1], width - left, indent="") or [""]
        lines.append(f"{head.ljust(left)}{parts[0]}".rstrip())
        lines += [" " * left + part for part in parts[1:]]
    return lines
