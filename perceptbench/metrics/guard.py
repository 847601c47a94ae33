"""Calls code of other people: under a time limit, on copies, with global state put back.

A metric that hangs is given up and never called again; one that changes its inputs or global
state is named in a warning, once, and harms nobody: it works on copies, and what it changed is
restored. Python cannot stop a thread, so what hangs goes on in the background until the process
ends, and code that hangs inside C without ever releasing Python's lock cannot be timed.

One that comes to hold more and more memory is given up, too, before the machine falls over: where
its calls on images no larger than before have taken SHARE of what was free at first. What it holds
is not had back.

Not watched: environment variables, sys.path and filters of warnings, which libraries set when they
are imported; signal handlers, which Python lets no thread but the main one set; torch's default
device and autocast, which are each thread's own.

The call runs in a thread of its own, with the caller's gradient mode, CUDA device and stream, and
without its autocast.
"""

import locale
import os
import queue
import random
import sys
import threading
import warnings
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import ExitStack
from typing import Any

import numpy as np
import torch
from torch import Tensor

from perceptbench.metrics import memory

#: Share of the free memory that a metric may come to hold from call to call.
SHARE = 0.5


def _set_cudnn(values: tuple[bool, ...]) -> None:
    for name, value in zip(CUDNN, values, strict=True):
        setattr(torch.backends.cudnn, name, value)


def _set_streams(streams: tuple[Any, Any]) -> None:
    sys.stdout, sys.stderr = streams


def _folder() -> str:
    try:
        return os.getcwd()
    except OSError:  # it has been removed
        return ""


def _go_to(folder: str) -> None:
    if folder:
        os.chdir(folder)


CUDNN = ("enabled", "benchmark", "deterministic", "allow_tf32")
#: Global setting -> (how it is read, how it is put back).
SETTINGS: dict[str, tuple[Callable[[], Any], Callable[[Any], Any]]] = {
    "torch's default dtype": (torch.get_default_dtype, torch.set_default_dtype),
    "torch's number of threads": (torch.get_num_threads, torch.set_num_threads),
    "torch's gradient mode": (torch.is_grad_enabled, torch.set_grad_enabled),
    "torch's deterministic mode": (
        lambda: (
            torch.are_deterministic_algorithms_enabled(),
            torch.is_deterministic_algorithms_warn_only_enabled(),
        ),
        lambda mode: torch.use_deterministic_algorithms(mode[0], warn_only=mode[1]),
    ),
    "torch's anomaly mode": (
        lambda: (torch.is_anomaly_enabled(), torch.is_anomaly_check_nan_enabled()),
        lambda mode: torch.autograd.set_detect_anomaly(*mode),
    ),
    "torch's cuDNN flags": (
        lambda: tuple(getattr(torch.backends.cudnn, name) for name in CUDNN), _set_cudnn,
    ),
    "torch's matmul precision": (
        torch.get_float32_matmul_precision,
        torch.set_float32_matmul_precision,
    ),
    "torch's random state": (torch.get_rng_state, torch.set_rng_state),
    "numpy's random state": (np.random.get_state, np.random.set_state),
    "Python's random state": (random.getstate, random.setstate),
    "numpy's error handling": (np.geterr, lambda how: np.seterr(**how)),
    "the working folder": (_folder, _go_to),
    "the locale": (
        lambda: locale.setlocale(locale.LC_ALL), lambda name: locale.setlocale(locale.LC_ALL, name)
    ),
    "standard output": (lambda: (sys.stdout, sys.stderr), _set_streams),
}  # fmt: skip
#: What a thread of its own changes for itself alone.
OF_A_THREAD = ("torch's gradient mode", "numpy's error handling")


class Hung(Exception):
    """Something took longer than it may."""


class Leaked(Exception):
    """Something has come to hold more memory than it may."""


class Guard:
    """A callable behind a time limit, copies of its inputs, a watch on global state and memory.

    Parameters
    ----------
    call : takes tensors.
    name : whom to name in warnings.
    timeout : seconds a call may take.
    most : bytes its calls may come to hold; None: SHARE of what is free at the first.

    Attributes
    ----------
    offences : what it was found to do that it should not, in words.
    """

    def __init__(
        self, call: Callable[..., Any], name: str, timeout: float, most: int | None = None
    ) -> None:
        self.call, self.name, self.timeout, self.most = call, name, timeout, most
        self.offences: list[str] = []
        self._hung = self._leaked = ""
        self._grown, self._largest, self._start = 0, 0, 0
        self._worker: _Worker | None = None

    def __call__(self, *inputs: Tensor) -> Any:
        """What the callable returns for copies of the inputs; raises as `ask`."""
        return self.ask(self.call, *inputs)

    def ask(self, call: Callable[..., Any], *inputs: Tensor) -> Any:
        """What one of its functions returns for copies of the inputs.

        Raises
        ------
        Hung : it took too long, now or in an earlier call.
        Leaked : it has come to hold too much memory.
        Exception : whatever it raises; ``sys.exit`` becomes a RuntimeError.
        """
        if self._hung:
            raise Hung(self._hung)
        if self._leaked:
            raise Leaked(self._leaked)
        if self._worker is None or not self._worker.is_alive():  # also after a fork
            self._worker = _Worker()
        context = _Context(inputs)
        device = str(inputs[0].device)
        if self.most is None:
            self.most = int(SHARE * memory.free(device))
        held = memory.held(device)
        before = _read_settings()
        job = self._worker.submit(lambda: self._watched(context, call, inputs))
        try:
            value = _result(job, self.timeout)
            self._watch_memory(held, memory.held(device), sum(t.nbytes for t in inputs))
            return value
        except TimeoutError:
            self._hung = f"gave no answer within {self.timeout:g} s; it is not asked again"
            self._worker = None
            self._report(_restore(before, thread_local=False))
            raise Hung(self._hung) from None

    def _watch_memory(self, before: int, now: int, size: int) -> None:
        """Counts what a call has come to hold; raises Leaked where it is too much."""
        if size > self._largest:  # larger images may take more, once
            self._largest, self._grown, self._start = size, 0, now
            return
        self._grown += now - before
        # What others hold, and what a caller keeps of the results for a while, is not counted.
        grown = min(self._grown, now - self._start)
        assert self.most is not None
        if grown > self.most:
            size_of = f"{grown / 2**20:,.0f} MiB"
            self._leaked = f"holds {size_of} more than at first, a leak; it is not asked again"
            raise Leaked(self._leaked)

    def _watched(
        self, context: "_Context", call: Callable[..., Any], inputs: tuple[Tensor, ...]
    ) -> Any:
        """Runs in the worker."""
        with context:
            copies = [t.clone() for t in inputs]
            before = _read_settings()
            try:
                return call(*copies)
            finally:
                if not self._hung:  # else it comes late, and others have gone on since
                    changed = _restore(before)
                    with torch.no_grad():
                        if not all(torch.equal(c, t) for c, t in zip(copies, inputs, strict=True)):
                            changed.append("its input images")
                    self._report(changed)

    def _report(self, changed: list[str]) -> None:
        for what in changed:
            if what not in self.offences:
                self.offences.append(what)
                warnings.warn(f"metric {self.name} changes {what}; this was undone", stacklevel=3)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_worker": None}


def within(seconds: float, call: Callable[[], Any]) -> Any:
    """What `call` returns, or Hung where it takes longer than `seconds`."""
    try:
        return _result(_Worker().submit(call), seconds)
    except TimeoutError:
        raise Hung(f"gave no answer within {seconds:g} s") from None


class _Worker:
    """A daemon thread that does one job after the other, until its owner is gone."""

    def __init__(self) -> None:
        jobs: queue.SimpleQueue[tuple[Future, Callable[[], Any]] | None] = queue.SimpleQueue()
        self._jobs = jobs
        self._thread = threading.Thread(target=_work, args=(jobs,), daemon=True)
        self._thread.start()
        weakref.finalize(self, jobs.put, None)

    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def submit(self, call: Callable[[], Any]) -> Future:
        job: Future = Future()
        self._jobs.put((job, call))
        return job


def _work(jobs: "queue.SimpleQueue[tuple[Future, Callable[[], Any]] | None]") -> None:
    while (item := jobs.get()) is not None:
        job, call = item
        try:
            job.set_result((call(), None))
        except BaseException as error:  # a sys.exit() of theirs is not ours
            job.set_result((None, error))
        del item, job, call  # else the last job's tensors live until the next


def _result(job: Future, seconds: float) -> Any:
    # The error travels as a value: a TimeoutError the call itself raised is no time-out.
    value, error = job.result(seconds)
    if isinstance(error, Exception):
        if isinstance(error, TimeoutError):
            raise RuntimeError(f"TimeoutError: {error}") from error
        raise error
    if error is not None:
        raise RuntimeError(f"{type(error).__name__}: {error}")
    return value


class _Context:
    """The caller's thread-local state of torch, for the worker to take on."""

    def __init__(self, inputs: tuple[Tensor, ...]) -> None:
        self.inference, self.grad = torch.is_inference_mode_enabled(), torch.is_grad_enabled()
        device = inputs[0].device
        self.stream = torch.cuda.current_stream(device) if device.type == "cuda" else None
        self.stack = ExitStack()

    def __enter__(self) -> None:
        self.stack.enter_context(torch.inference_mode(self.inference))
        self.stack.enter_context(torch.set_grad_enabled(self.grad))
        if self.stream is not None:
            self.stack.enter_context(torch.cuda.stream(self.stream))

    def __exit__(self, *error: Any) -> None:
        self.stack.close()


def _read_settings() -> dict[str, Any]:
    return {name: read() for name, (read, _) in SETTINGS.items()}


def _restore(before: dict[str, Any], thread_local: bool = True) -> list[str]:
    """Puts back every setting that differs, and names it.

    `thread_local` False leaves out what a thread of its own cannot have changed for others.
    """
    changed = []
    for name, (read, write) in SETTINGS.items():
        if not thread_local and name in OF_A_THREAD:
            continue
        if not _same(read(), before[name]):
            write(before[name])
            changed.append(name)
    return changed


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor):
        return torch.equal(a, b)
    if isinstance(a, tuple):
        return all(_same(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, np.ndarray):
        return bool(np.array_equal(a, b))
    return bool(a == b)
