"""An external program as a metric: one line of TOML.

.. code-block:: toml

    program = { command = "butteraugli {reference} {distorted}", pattern = '^([\\d.]+)' }

The program is run without a shell, once a pair, several at a time, on PNG files in a temporary
folder. They have 8 bits a channel: contrasts below 1/255 are lost to it. ``higher_is_better`` and
``identical`` beside that line say which way its number points.
"""

import atexit
import os
import re
import selectors
import shlex
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from contextlib import suppress
from multiprocessing.pool import ThreadPool
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from perceptbench.errors import Unavailable, first_line
from perceptbench.metrics.protocol import MetricInfo

#: Side in pixels of the images of the trial run, where the program needs no larger ones.
TRIAL = 64
#: Bytes a program may say on one stream, and seconds between looks at whether it has ended.
MOST, PATIENCE = 1 << 20, 0.2


class ProgramMetric:
    """Distances (N,) of two batches (N, 3, H, W) in [0, 1], by running a program on each pair.

    Raises
    ------
    Unavailable : the program is not there, or gives no number for two small images.
    """

    def __init__(self, info: MetricInfo) -> None:
        assert info.program is not None
        self.info, self.program = info, info.program
        self.workers = os.cpu_count() or 1
        self.command = shlex.split(self.program.command)
        if shutil.which(self.command[0]) is None:
            raise Unavailable(f"the program `{self.command[0]}` is not installed")
        side = max(TRIAL, info.min_size)
        ramp = torch.linspace(0, 1, side).expand(1, 3, side, side)
        try:
            self(ramp, ramp.flip(3))
        except RuntimeError as error:
            raise Unavailable(first_line(error)) from None

    def __call__(self, reference: Tensor, distorted: Tensor) -> Tensor:
        """Distances (N,); raises RuntimeError where the program fails, is late or says nothing."""
        with (
            tempfile.TemporaryDirectory(
                prefix="perceptbench-", ignore_cleanup_errors=True
            ) as folder,
            ThreadPool(self.workers) as pool,  # whose threads no Ctrl-C has to wait for
        ):
            x, y = _write(reference, Path(folder), "r"), _write(distorted, Path(folder), "d")
            values = torch.tensor(
                pool.starmap(self._run, zip(x, y, strict=True)), dtype=torch.float64
            )
        identical = self.info.identical or 0.0
        distance = identical - values if self.info.higher_is_better else values - identical
        return distance.to(reference.device, torch.float32)

    def _run(self, reference: Path, distorted: Path) -> float:
        command = [
            part.replace("{reference}", str(reference)).replace("{distorted}", str(distorted))
            for part in self.command
        ]
        # A session of its own, so that what it started dies with it.
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            start_new_session=True,
        )  # fmt: skip
        _running.add(process)
        if _over.is_set():
            _kill(process)
        try:
            output, errors = _listened(process, self.program.timeout)
        except subprocess.TimeoutExpired:
            raise RuntimeError(
                f"`{command[0]}` gave no answer within {self.program.timeout:g} s"
            ) from None
        except _TooMuch:
            raise RuntimeError(f"`{command[0]}` says more than {MOST >> 20} MiB") from None
        finally:
            _kill(process)  # and what it leaves behind
            with process:  # closes the pipes and waits
                _running.discard(process)
        if process.returncode:
            said = (errors.strip() or output.strip()).splitlines() or ["it said nothing"]
            raise RuntimeError(
                f"`{command[0]}` ended with code {process.returncode}: {said[-1][:300]}"
            )
        return self._number(output, errors)

    def _number(self, output: str, errors: str) -> float:
        for text in (output, errors):
            if found := re.search(self.program.pattern, text, re.MULTILINE):
                with suppress(ValueError, TypeError):
                    return float(found[1] if found.re.groups else found[0])
        said = first_line(Exception(output.strip() or errors.strip() or "nothing"))
        raise RuntimeError(
            f"no number by the pattern {self.program.pattern!r} in what `{self.command[0]}` "
            f"said: {said}"
        )


class _TooMuch(Exception):
    """A program says more than anybody reads."""


def _listened(process: subprocess.Popen[bytes], seconds: float) -> list[str]:
    """What a program says on its two streams until it ends; raises TimeoutExpired or _TooMuch."""
    end = time.monotonic() + seconds
    assert process.stdout is not None and process.stderr is not None
    said = {process.stdout.fileno(): bytearray(), process.stderr.fileno(): bytearray()}
    with selectors.DefaultSelector() as streams:
        for stream in said:
            streams.register(stream, selectors.EVENT_READ)
        while streams.get_map():
            if time.monotonic() > end:
                raise subprocess.TimeoutExpired(process.args, seconds)
            ready = streams.select(PATIENCE)
            if not ready and process.poll() is not None:
                break  # it has ended, though a child of its holds the stream open
            for key, _ in ready:
                chunk = os.read(key.fd, 1 << 16)
                said[key.fd] += chunk
                if not chunk:
                    streams.unregister(key.fd)
                if len(said[key.fd]) > MOST:
                    raise _TooMuch
    process.wait(max(0, end - time.monotonic()))
    return [text.decode(errors="replace") for text in said.values()]


#: Programs at work; killed with this process, where it is not killed itself.
_running: set[subprocess.Popen[bytes]] = set()
#: Set when this process ends.
_over = threading.Event()


def _kill(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


@atexit.register
def _kill_all() -> None:
    _over.set()
    for process in tuple(_running):
        _kill(process)


def _write(batch: Tensor, folder: Path, side: str) -> list[Path]:
    """Writes a batch as 8-bit PNG files."""
    pixels = (batch.detach().clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
    paths = [folder / f"{i}-{side}.png" for i in range(len(pixels))]
    for path, image in zip(paths, pixels, strict=True):
        Image.fromarray(image).save(path, compress_level=1)
    return paths
