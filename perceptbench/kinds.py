"""What a file is by its first bytes, whatever its name says.

What was fetched in place of a file is the commonest damage: the owner's page that asks to log in,
the pointer that Git LFS leaves, an archive that was not unpacked.
"""

from pathlib import Path

#: First bytes, in lower case -> what the file is.
BEGINNINGS = {
    b"<!doctype html": "a web page: does its owner ask to log in?",
    b"<html": "a web page: does its owner ask to log in?",
    b"<?xml": "XML",
    b"version https://git-lfs": "a pointer of Git LFS: `git lfs pull` fetches the file",
    b"\x1f\x8b": "compressed with gzip: unpack it",
    b"pk\x03\x04": "a zip archive or a spreadsheet: unpack it, or save it as CSV",
    b"par1": "Parquet: its name has to end in .parquet",
    b"\xff\xfe": "UTF-16: save it as UTF-8",
    b"\xfe\xff": "UTF-16: save it as UTF-8",
    b"\xd0\xcf\x11\xe0": "a spreadsheet: save it as CSV",
    b"sqlite format 3": "a database",
    b"%pdf": "a PDF",
    b"\x93numpy": "an array of NumPy",
    b"\x80\x04": "a pickle, which could run code",
    b"\x80\x02": "a pickle, which could run code",
    b"\x89png": "an image",
    b"\xff\xd8\xff": "an image",
}


def really(path: Path, *expected: bytes) -> str:
    """What a file is instead of what it should be, for people; empty where that is not known.

    Parameters
    ----------
    path : the file.
    expected : keys of BEGINNINGS that it may have.
    """
    try:
        with path.open("rb") as file:
            head = file.read(200).removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    except (OSError, ValueError):
        return ""
    marks = (mark for mark in BEGINNINGS if head.startswith(mark) and mark not in expected)
    return "".join(f"it is {BEGINNINGS[mark]}" for mark in list(marks)[:1])


def line_of_bad_text(path: Path) -> int:
    """The first line (from 1) of a file that is not UTF-8; 0 where all of it is."""
    content = path.read_bytes()
    try:
        content.decode()
    except UnicodeDecodeError as error:
        return content[: error.start].count(b"\n") + 1
    return 0
