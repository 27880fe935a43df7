"""How figures look: colours and dashes that can be told apart on white, on black, in grey and by the colour-blind."""

from typing import Any

from ..errors import UserError

COLOURS = ("#0072B2", "#D55E00", "#00916A", "#B85C96", "#80807A", "#9A7400")
"""After Okabe and Ito (2008), darkened where needed: each has a contrast of 3 or more to white and to near black."""

DASHES = ("solid", "dash", "dot", "dashdot")
"""plotly's names; a curve is told by colour and dash together."""

MATPLOTLIB_DASHES: dict[str, Any] = {
    "solid": "solid",
    "dash": (0, (6, 2.5)),
    "dot": (0, (1.2, 1.8)),
    "dashdot": (0, (6, 2, 1.2, 2)),
}

MOST = 12
"""More lines than colours and dashes keep apart."""

INK, FAINT = "#333333", "#D9D9D9"

MATPLOTLIB: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.axisbelow": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.6,
    "text.color": INK,
    "text.parse_math": False,  # a model's name may hold a dollar sign
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "legend.handlelength": 3.6,
    "svg.fonttype": "none",  # text stays text: it can be searched, and read aloud
    "svg.hashsalt": "apx",  # the same figure is the same file
}


def look(number: int) -> tuple[str, str]:
    """Return colour and dash of the line of that number, from 0.

    Raises:
        UserError: there are no more looks.
    """
    if number >= MOST:
        raise UserError(f"a figure can tell {MOST} models apart, not {number + 1}: draw fewer, or several figures")
    return COLOURS[number % len(COLOURS)], DASHES[number % len(DASHES)]


def radius(eps: float) -> str:
    """Write a radius as papers do: in 255ths where it is a whole number of them, with the decimal."""
    steps = eps * 255
    whole = 0 < eps < 1 and abs(steps - round(steps)) < 1e-6
    return f"{round(steps)}/255 ({eps:.4f})" if whole else f"{eps:g}"


def distance_text(value: float | None) -> str:
    """Write a distance with three digits; an infinite one in a word, a missing one as a dash."""
    if value is None:
        return "-"
    return "none found" if value == float("inf") else f"{value:.3g}"
