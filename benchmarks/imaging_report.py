"""Tables of images in Markdown, and their pictures."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from image_errors import error, fitted, similarity
from imaging_programs import OURS, Row
from imaging_scans import Lines
from PIL import Image, ImageDraw

PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"
STRETCH = 5  # of differences in pictures
Cells = Sequence[str]


class Report:
    """Prints tables and keeps their text; draws pictures where a folder is given."""

    def __init__(self, pictures: Path | None) -> None:
        self.text = ""
        self.pictures = pictures

    def table(self, title: str, heads: Cells, rows: Sequence[Cells]) -> None:
        lines = [f"{title}:", ""] + ["| " + " | ".join(row) + " |" for row in (heads, *rows)]
        lines.insert(3, "|---" * len(heads) + "|")
        part = "\n".join(lines) + "\n"
        print(part, flush=True)
        self.text += f"\n{part}"

    def write(self, section: str) -> None:
        """Put the tables in the place of those between the marks of a section of the page."""
        begin, end = (f"<!-- {section}: {mark} -->\n" for mark in ("begin", "end"))
        text = PAGE.read_text()
        PAGE.write_text(f"{text.split(begin)[0]}{begin}{self.text}\n{end}{text.split(end)[1]}")

    def images(self, title: str, lines: Lines, rows: Sequence[Row]) -> None:
        """Errors, and how many times as long as ours each took."""
        own = {row.method: row.seconds for row in rows if row.program == OURS}
        cells = []
        for row in rows:
            if row.method != "ESPIRiT maps":
                ratio = f"{row.seconds / own[row.method]:.1f}" if row.program != OURS and own.get(row.method) else ""
                figures = (f"{measured(row.image, lines):.4f}" for measured in (error, similarity))
                cells.append((row.method, row.program, *figures, ratio))
        self.table(title, ("method", "program", "NRMSE", "SSIM", "time / ours"), cells)
        self.picture(title, lines, rows)

    def picture(self, title: str, lines: Lines, rows: Sequence[Row]) -> None:
        """Images side by side; below `STRETCH` times their differences from the truth or, without one, themselves."""
        if self.pictures is None:
            return
        self.pictures.mkdir(parents=True, exist_ok=True)
        known = bool(lines.truth.any())
        panels = []
        for row in rows:
            image = fitted(row.image, lines) if known else np.abs(row.image)
            brightest = np.percentile(lines.truth if known else image, 99.5)
            below = STRETCH * np.abs(image - lines.truth)
            drawn = Image.fromarray((np.vstack([image, below]) / brightest * 255).clip(0, 255).astype(np.uint8))
            ImageDraw.Draw(drawn).text((2, 2), f"{row.method}\n{row.program}", fill=255)
            panels.append(np.pad(np.asarray(drawn), 1, constant_values=90))
        name = re.sub(r"\W+", "_", title.lower()).strip("_")
        Image.fromarray(np.hstack(panels)).save(self.pictures / f"{name}.png")
