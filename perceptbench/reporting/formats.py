"""The report formats: a run in, files out; a format is one function, found by its entry point.

The group ``perceptbench.reports`` may name, in any installed package, a function
``(run) -> {file name: content}`` (`perceptbench.reporting.result.Run` in; text or bytes
out, names relative to the report's folder, ``/`` between folders). It reads tables only: no
image, no torch, no clock, so that the same run gives the same bytes. Our own formats come
through the same group, one file each beside this one.
"""

from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from tqdm import tqdm

from perceptbench.errors import DataError, UsageError, first_line, nearest
from perceptbench.reporting.result import Run
from perceptbench.reporting.run_folder import save
from perceptbench.writing import together

GROUP = "perceptbench.reports"
Format = Callable[[Run], Mapping[str, str | bytes]]


def formats() -> dict[str, EntryPoint]:
    """Every format by name; our own come first and cannot be taken by a plugin."""
    points = sorted(
        entry_points(group=GROUP), key=lambda p: (not p.value.startswith("perceptbench."), p.name)
    )
    found: dict[str, EntryPoint] = {}
    for point in points:
        found.setdefault(point.name, point)
    return found


def write(run: Run, folder: Path, names: Iterable[str] = ()) -> list[Path]:
    """Writes a run's report files, all together, in the formats named or every one there is.

    Raises
    ------
    UsageError : there is no such format.
    DataError : a format of another package cannot be imported or raises; the others are written.
        Or the folder cannot be written to.
    """
    files, broken = render(run, names)
    with together(folder) as draft:
        for name, content in files.items():
            save(draft / name, content)
    if broken:
        raise DataError("; ".join(broken))
    return [folder / name for name in files]


def render(run: Run, names: Iterable[str] = ()) -> tuple[dict[str, bytes], list[str]]:
    """The files of `write` and their content, and what is wrong with formats of other packages."""
    known = formats()
    chosen = list(dict.fromkeys(names)) or list(known)
    for name in chosen:
        if name not in known:
            hint = nearest(name, known)
            raise UsageError(f"there is no report format {name!r}{hint}; known: {', '.join(known)}")
    files: dict[str, bytes] = {}
    broken = []
    for name in tqdm(chosen, desc="report", unit=" formats", leave=False, disable=None, delay=2):
        point = known[name]
        try:
            made = point.load()(run)
        except Exception as error:
            if point.value.startswith("perceptbench."):
                raise
            broken.append(f"report format {name} ({point.value}) failed: {first_line(error)}")
            continue
        files |= {k: v.encode() if isinstance(v, str) else v for k, v in made.items()}
    return files, broken
