"""A page of tables and pictures in two forms: HTML that opens without a network, and Markdown."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from markupsafe import Markup
from PIL import Image, ImageDraw, ImageFont

from perceptbench.reporting.html import PAGE, environment
from perceptbench.reporting.leaderboard import format_table
from perceptbench.reporting.markdown import code, escape
from perceptbench.reporting.strips import data_uri

#: Pictures are drawn this side at least, each pixel as a square; quality of their JPEG.
SIDE, QUALITY = 96, 80
INK, PAPER, GAP, LINE = (27, 33, 40), (255, 255, 255), 4, 18


@dataclass(frozen=True)
class Section:
    """One part of a page."""

    title: str
    text: str = ""  # what is to be known to read it
    header: Sequence[str] = ()  # of its table; none where it is empty
    rows: Sequence[Sequence[str]] = ()
    pictures: Mapping[str, bytes] = field(default_factory=dict)  # caption -> JPEG file


def render(
    name: str, title: str, lead: str, sections: Sequence[Section], command: str = ""
) -> dict[str, bytes]:
    """``NAME.html``, ``NAME.md`` and the pictures of the latter, ``NAME-1.jpg`` and so on."""
    page = environment().get_template("gallery.html").render(
        title=title,
        lead=lead,
        sections=sections,
        command=command,
        style=Markup((PAGE / "page.css").read_text(encoding="utf-8")),
        data_uri=data_uri,
    )  # fmt: skip
    files = {f"{name}.html": page.encode()}
    parts = [f"# {escape(title)}\n", f"{escape(lead)}\n"]
    for section in sections:
        parts.append(f"## {escape(section.title)}\n")
        parts += [f"{escape(section.text)}\n"] if section.text else []
        if section.header:
            rows = [[escape(cell) for cell in row] for row in section.rows]
            parts.append(format_table([escape(cell) for cell in section.header], rows))
        for caption, picture in section.pictures.items():
            file = f"{name}-{len(files)}.jpg"
            files[file] = picture
            parts.append(f"![{escape(caption)}]({file})\n\n{escape(caption)}\n")
    parts += [f"Made by {code(command)}.\n"] if command else []
    return files | {f"{name}.md": "\n".join(parts).encode()}


def sheet(columns: Sequence[str], rows: Mapping[str, Sequence[np.ndarray | None]]) -> bytes:
    """Pictures in a grid, their names beside and above them, as a JPEG file.

    Each row has one image uint8 (H, W, 3) a column, all of one size; None leaves a place empty.
    """
    height, width = next(i.shape[:2] for row in rows.values() for i in row if i is not None)
    scale = max(1, -(-SIDE // min(height, width)))
    font = ImageFont.load_default(13)
    margin = max(int(font.getlength(_plain(name))) for name in rows) + 3 * GAP
    step_x, step_y = scale * width + GAP, scale * height + GAP
    size = (margin + len(columns) * step_x, LINE + len(rows) * step_y)
    canvas = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(canvas)
    for column, name in enumerate(columns):
        draw.text((margin + column * step_x, 1), _plain(name), INK, font)
    for row, (name, images) in enumerate(rows.items()):
        draw.text((GAP, LINE + row * step_y), _plain(name), INK, font)
        for column, image in enumerate(images):
            if image is not None:
                large = image.repeat(scale, 0).repeat(scale, 1)
                canvas.paste(
                    Image.fromarray(large), (margin + column * step_x, LINE + row * step_y)
                )
    file = io.BytesIO()
    canvas.save(file, "JPEG", quality=QUALITY, subsampling=0, optimize=True)
    return file.getvalue()


def _plain(name: str) -> str:
    """A name in the letters that Pillow's own font has, cut to a length that fits."""
    return name.encode("latin-1", "replace").decode("latin-1").replace("\n", " ")[:32]
