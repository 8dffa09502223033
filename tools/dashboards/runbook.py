"""docs/runbook.md as a dashboard, a panel for each of its sections, so that panels can lead there without a network."""

import re

from tools.dashboards.boards import Board
from tools.dashboards.panels import Panel

_HEADING = re.compile(r"^#{2,3} (.+)$", re.MULTILINE)
_LINK = re.compile(r"\[([^\]]+)\]\((?!https?:)[^)]*\)")


def runbook_board(text: str) -> tuple[Board, dict[str, int]]:
    """The dashboard, and the number of the panel of each heading; `Runbook` is the page's beginning."""
    before, *parts = _HEADING.split(text)
    titles, bodies = parts[::2], parts[1::2]
    introduction = re.sub(r"^# .*\n", "", before).strip()
    panels = [Panel("text", "Runbook", introduction, width=24, height=_height(introduction))] if introduction else []
    first = len(panels) + 1
    panels += [
        Panel("text", title, _without_links(body.strip()), width=12, height=_height(body))
        for title, body in zip(titles, bodies, strict=True)
    ]
    board = Board(
        "Runbook", "What to do about each alert: docs/runbook.md.", tuple(panels), has_variables=False, refresh=""
    )
    return board, {"Runbook": 1} | {title: first + index for index, title in enumerate(titles)}


def _without_links(text: str) -> str:
    """Links to other files of the repository lead nowhere in Grafana: their words stay."""
    return _LINK.sub(r"\1", text)


def _height(text: str) -> int:
    """Enough for most; a longer text scrolls."""
    return max(5, min(14, 3 + len(text) // 160 + text.count("\n") // 3))
