"""The command line: parse, call, print; one file a verb.

Whatever is slow to import (torch above all) is imported inside a command.
"""

import click

from perceptbench.cli.agree import agree
from perceptbench.cli.compare import compare
from perceptbench.cli.datasets import datasets
from perceptbench.cli.fit import fit
from perceptbench.cli.metrics import metrics
from perceptbench.cli.prepare import prepare
from perceptbench.cli.report import report
from perceptbench.cli.run import run
from perceptbench.cli.store import store
from perceptbench.cli.study import study
from perceptbench.cli.sweep import sweep
from perceptbench.errors import PerceptbenchError

#: 130 as the shell has it: stopped by Ctrl-C.
INTERRUPTED = 130


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="perceptbench")
def cli() -> None:
    """Which image loss agrees with people? Evidence, with error bars.

    \b
    perceptbench run                          the embedded suite: nothing to fetch
    perceptbench run -m mse -m lpips-alex     two metrics only
    perceptbench run --judgements mine.csv    your own judgements
    """


for command in (
    run, report, agree, compare, datasets, fit, metrics, prepare, store, sweep, study,
):  # fmt: skip
    cli.add_command(command)


def main() -> None:
    """Entry point: errors of ours become one sentence and an exit code."""
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
