"""The command line: parse, call, print; one file a verb.

Whatever is slow to import (torch above all) is imported inside a command.
"""

import atexit
import gc
import os
import signal
import sys
import threading
from contextlib import suppress
from types import FrameType

import click

from perceptbench.cli.agree import agree
from perceptbench.cli.check import check
from perceptbench.cli.compare import compare
from perceptbench.cli.datasets import datasets
from perceptbench.cli.descend import descend
from perceptbench.cli.duel import duel
from perceptbench.cli.fit import fit
from perceptbench.cli.metrics import metrics
from perceptbench.cli.prepare import prepare
from perceptbench.cli.report import report
from perceptbench.cli.run import run
from perceptbench.cli.store import store
from perceptbench.cli.study import study
from perceptbench.cli.sweep import sweep
from perceptbench.cli.votes import votes
from perceptbench.errors import PerceptbenchError, first_line, printable

#: As the shell has them: stopped by Ctrl-C, ended by another program.
INTERRUPTED, TERMINATED = 130, 143


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="perceptbench")
def cli() -> None:
    """Which image loss agrees with people? Evidence, with error bars.

    \b
    perceptbench run                          what comes with it: nothing to fetch
    perceptbench run -m mse -m lpips-alex     two metrics only
    perceptbench run --judgements mine.csv    your own judgements
    """


for command in (
    run, report, agree, check, compare, datasets, descend, duel, fit, metrics, prepare, store,
    sweep, study, votes,
):  # fmt: skip
    cli.add_command(command)


def main() -> None:
    """Entry point: errors of ours, and what the system refuses, become a sentence and a code."""
    # Looking for garbage takes a fifth of the imports, and a second as the process ends.
    gc.set_threshold(20_000, 10, 10)
    atexit.register(gc.freeze)
    signal.signal(signal.SIGTERM, _terminate)
    before, sys.unraisablehook = sys.unraisablehook, _signal_again
    try:
        cli.main(standalone_mode=False)
    except PerceptbenchError as error:
        click.echo(f"perceptbench: {error}", err=True)
        raise SystemExit(error.exit_code) from None
    except click.ClickException as error:
        error.show()
        raise SystemExit(error.exit_code) from None
    except (KeyboardInterrupt, click.Abort):
        click.echo("perceptbench: interrupted", err=True)
        raise SystemExit(INTERRUPTED) from None
    except _Terminated:
        click.echo("perceptbench: terminated", err=True)
        raise SystemExit(TERMINATED) from None
    except OSError as error:
        if error.errno is None:
            raise
        _discard_output()
        where = f"{error.filename}: " if error.filename is not None else ""
        said = printable(f"{where}{error.strerror or first_line(error)}")
        click.echo(f"perceptbench: {said}", err=True)
        raise SystemExit(1) from None
    finally:
        sys.unraisablehook = before


class _Terminated(BaseException):
    """SIGTERM came: what cleans up after itself does so, as at Ctrl-C."""


def _terminate(number: int, frame: FrameType | None) -> None:
    raise _Terminated


def _signal_again(dropped: "sys.UnraisableHookArgs") -> None:
    """Sends a signal again that came within a destructor, where Python drops what is raised."""
    for kind, number in ((KeyboardInterrupt, signal.SIGINT), (_Terminated, signal.SIGTERM)):
        if issubclass(dropped.exc_type, kind):
            threading.Timer(0.01, os.kill, (os.getpid(), number)).start()
            return
    sys.__unraisablehook__(dropped)


def _discard_output() -> None:
    """Gives up output that cannot be written; else Python tries once more when it ends."""
    try:
        sys.stdout.flush()
    except OSError:
        with suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
