"""The errors a user can cause; the command line turns each into one sentence and an exit code."""

import re
from collections.abc import Iterable
from difflib import get_close_matches

#: A word that is longer than any path.
ENDLESS = re.compile(r"(\S{100})\S{300,}(\S{100})")


class PerceptbenchError(Exception):
    """Base of every error whose message is meant for the user: what, where, what to do.

    Names in it come from anybody: it is one line of a length that can be read, and none of it does
    anything to a terminal.
    """

    exit_code = 1

    def __str__(self) -> str:
        return printable(super().__str__())


class DataError(PerceptbenchError):
    """Something in the data is wrong (a table, an image, a weights file): exit code 1."""


class UsageError(PerceptbenchError):
    """What was asked for does not exist or does not fit together: exit code 2."""

    exit_code = 2


class Unavailable(PerceptbenchError):
    """A metric cannot be had on this machine (weights, package); a run lists it as skipped."""


def visible(text: str) -> str:
    r"""Text in one line, what cannot be printed (or is no UTF-8) as its code.

    >>> visible("a\n\x1b[31mb")
    'a\\n\\x1b[31mb'
    """
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def printable(text: str) -> str:
    r"""The same, endless words cut in the middle.

    >>> printable(1000 * "x")[98:104]
    'xx...x'
    """
    return ENDLESS.sub(r"\1...\2", visible(text))


def unknown(kind: str, name: str, known: Iterable[str], command: str = "") -> UsageError:
    """The error for a name that is not there, with the nearest names that are.

    >>> str(unknown("metric", "lpip-alex", ["lpips-alex", "mse"]))
    "there is no metric 'lpip-alex'; did you mean lpips-alex? `perceptbench metrics list` shows all"
    """
    hint = nearest(name, known) or "."
    command = command or f"{kind}s list"
    return UsageError(f"there is no {kind} {name!r}{hint} `perceptbench {command}` shows all")


def absent(where: object, kind: str, name: str, known: Iterable[str]) -> UsageError:
    """The error for a name that a file or folder lacks, with all that it has.

    >>> str(absent("scores.csv", "metric", "sim", ["ssim", "mse"]))
    "scores.csv has no metric 'sim'; did you mean ssim? It has mse, ssim"
    """
    names = sorted(set(known))
    hint = nearest(name, names) or "."
    return UsageError(f"{where} has no {kind} {name!r}{hint} It has {', '.join(names) or 'none'}")


def nearest(name: str, known: Iterable[str]) -> str:
    """``; did you mean A or B?``, empty where nothing is near."""
    near = get_close_matches(name, sorted(set(known)), n=3, cutoff=0.5)
    return f"; did you mean {' or '.join(near)}?" if near else ""


def first_line(error: BaseException) -> str:
    """What a foreign error says, in one line; its kind where it says nothing.

    >>> first_line(ValueError("no such key\\nat line 3")), first_line(KeyError())
    ('no such key', 'KeyError')
    """
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
