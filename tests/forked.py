"""Command lines of perceptbench in children of one process, which has imported torch once.

A start takes milliseconds instead of seconds, so that fifty processes can be killed in a test.
`Forked` starts this file as a program, which takes requests, one JSON object a line:
``{"start": arguments, "setup": code, "cwd": folder, "env": variables}`` runs `code`, then the
command line, in a child, and answers with its process id; ``{"wait": pid}`` answers with its exit
code (-9 where it was killed), output and errors.
"""

import json
import os
import subprocess
import sys
import threading
import traceback
from dataclasses import dataclass

PRELOADED = (
    "perceptbench.cli", "perceptbench.run", "perceptbench.scoring.engine",
    "perceptbench.fitting", "perceptbench.scoring.outlook", "perceptbench.scoring.cost",
    "perceptbench.study", "perceptbench.reporting.curves", "perceptbench.reporting.formats",
    "perceptbench.reporting.html", "perceptbench.reporting.markdown",
    "perceptbench.reporting.pictures", "perceptbench.reporting.plots",
    "perceptbench.reporting.latex", "perceptbench.reporting.merge",
    "perceptbench.agreement.compare", "perceptbench.datasets.load",
    "perceptbench.datasets.readers.listing", "perceptbench.metrics.registry",
    "perceptbench.agreement.own_tables", "perceptbench.datasets.export", "torchvision.models",
    "perceptbench.datasets.prepare", "piq", "requests", "pyarrow.parquet", "openpyxl",
)  # fmt: skip


@dataclass
class Ended:
    """How a child ended."""

    code: int
    out: str
    err: str


class Forked:
    """The parent of the children, as seen from a test."""

    def __init__(self):
        self.process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip

    def _ask(self, **request):
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def start(self, *arguments, setup=""):
        """The process id of a child that runs `perceptbench ARGUMENTS`."""
        own = {
            name: value for name, value in os.environ.items() if name.startswith("PERCEPTBENCH_")
        }
        words = [str(argument) for argument in arguments]
        return self._ask(start=words, setup=setup, cwd=os.getcwd(), env=own)["pid"]

    def wait(self, pid):
        return Ended(**self._ask(wait=pid))

    def run(self, *arguments, setup=""):
        return self.wait(self.start(*arguments, setup=setup))

    def close(self):
        self.process.stdin.close()
        self.process.wait(60)


def _child(request):
    """What a child does; its exit code."""
    from perceptbench.cli import main

    sys.argv = ["perceptbench", *request["start"]]
    os.environ.update(request["env"])
    try:
        os.chdir(request["cwd"])
        exec(request["setup"], {})
        main()
    except SystemExit as stop:
        return stop.code or 0
    except BaseException:
        traceback.print_exc()
        return 99
    return 0


def _serve():
    for name in PRELOADED:
        __import__(name)
    answers = os.fdopen(os.dup(1), "w")
    pipes = {}
    for line in sys.stdin:
        request = json.loads(line)
        if "start" in request:
            (out, out_end), (err, err_end) = os.pipe(), os.pipe()
            pid = os.fork()
            if not pid:
                ends = (os.open(os.devnull, os.O_RDONLY), out_end, err_end)
                for number, end in enumerate(ends):
                    os.dup2(end, number)
                code = _child(request)
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
            os.close(out_end)
            os.close(err_end)
            pipes[pid] = [out, err]
            answer = {"pid": pid}
        else:
            said = _read(pipes.pop(request["wait"]))
            _, status = os.waitpid(request["wait"], 0)
            code = os.waitstatus_to_exitcode(status)
            answer = {"code": code, "out": said[0], "err": said[1]}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _read(ends):
    """Everything that comes out of pipes, which are read at the same time."""
    said = ["", ""]

    def read(number, end):
        with os.fdopen(end, errors="replace") as stream:
            said[number] = stream.read()

    threads = [threading.Thread(target=read, args=item) for item in enumerate(ends)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return said


if __name__ == "__main__":
    _serve()
