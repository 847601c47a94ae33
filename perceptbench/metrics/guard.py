"""Calls code of other people: under a time limit, on copies, with global state put back.

A metric that hangs is given up and never called again; one that changes its inputs, or a setting
on which the numbers of others depend, is named in a warning, once, and harms nobody: it works on
copies, and what it changed is restored. Python cannot stop a thread, so what hangs goes on in the
background until the process ends, and code that hangs inside C without ever releasing Python's
lock cannot be timed.

The call runs in a thread of its own, with the caller's gradient mode, CUDA device and stream, and
without its autocast.
"""

import queue
import random
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

#: What the numbers of other metrics depend on -> (how it is read, how it is put back).
SETTINGS: dict[str, tuple[Callable[[], Any], Callable[[Any], Any]]] = {
    "torch's default dtype": (torch.get_default_dtype, torch.set_default_dtype),
    "torch's number of threads": (torch.get_num_threads, torch.set_num_threads),
    "torch's matmul precision": (
        torch.get_float32_matmul_precision,
        torch.set_float32_matmul_precision,
    ),
    "torch's random state": (torch.get_rng_state, torch.set_rng_state),
    "numpy's random state": (np.random.get_state, np.random.set_state),
    "Python's random state": (random.getstate, random.setstate),
}


class Hung(Exception):
    """Something took longer than it may."""


class Guard:
    """A callable behind a time limit, copies of its inputs and a watch on global state.

    Parameters
    ----------
    call : takes tensors.
    name : whom to name in warnings.
    timeout : seconds a call may take.

    Attributes
    ----------
    offences : what it was found to do that it should not, in words.
    """

    def __init__(self, call: Callable[..., Any], name: str, timeout: float) -> None:
        self.call, self.name, self.timeout = call, name, timeout
        self.offences: list[str] = []
        self._hung = ""
        self._worker: _Worker | None = None

    def __call__(self, *inputs: Tensor) -> Any:
        """What the callable returns for copies of the inputs; raises as `ask`."""
        return self.ask(self.call, *inputs)

    def ask(self, call: Callable[..., Any], *inputs: Tensor) -> Any:
        """What one of its functions returns for copies of the inputs.

        Raises
        ------
        Hung : it took too long, now or in an earlier call.
        Exception : whatever it raises; ``sys.exit`` becomes a RuntimeError.
        """
        if self._hung:
            raise Hung(self._hung)
        if self._worker is None or not self._worker.is_alive():  # also after a fork
            self._worker = _Worker()
        context = _Context(inputs)
        before = _read_settings()
        job = self._worker.submit(lambda: self._watched(context, call, inputs))
        try:
            return _result(job, self.timeout)
        except TimeoutError:
            self._hung = f"gave no answer within {self.timeout:g} s; it is not asked again"
            self._worker = None
            self._report(_restore(before))
            raise Hung(self._hung) from None

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


def _restore(before: dict[str, Any]) -> list[str]:
    """Puts back every setting that differs, and names it."""
    changed = []
    for name, (read, write) in SETTINGS.items():
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
