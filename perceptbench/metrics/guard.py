"""Calls code of other people: under a time limit, on copies, with global state put back.

A metric that hangs is given up and never called again; one that changes its inputs, or a setting
on which the numbers of others depend, is named in a warning, once, and harms nobody. The call runs
in a thread of its own, with the caller's gradient mode, CUDA device and stream, and without its
autocast. Python cannot stop a thread, so what hangs goes on in the background until the process
ends, and code that hangs inside C without ever releasing Python's lock cannot be timed.
"""

import queue
import random
import threading
import warnings
import weakref
from collections.abc import Callable
from concurrent.futures import Future
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


_Jobs = queue.SimpleQueue[tuple[Future, Callable[[], Any]] | None]


class Hung(Exception):
    """Something took longer than it may."""


class Guard:
    """A callable of tensors behind a limit of `timeout` seconds, copies of its inputs and a watch
    on global state; `offences` are what it was found to do that it should not, in words."""

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
        if self._worker is None or not self._worker.thread.is_alive():  # also after a fork
            self._worker = _Worker()
        inference, grad = torch.is_inference_mode_enabled(), torch.is_grad_enabled()
        device = inputs[0].device
        stream = torch.cuda.current_stream(device) if device.type == "cuda" else None
        before = _read_settings()

        def watched() -> Any:
            with (
                torch.inference_mode(inference),
                torch.set_grad_enabled(grad),
                torch.cuda.stream(stream),
            ):
                return self._watched(call, inputs)

        try:
            return _result(self._worker.submit(watched), self.timeout)
        except TimeoutError:
            self._hung = f"gave no answer within {self.timeout:g} s; it is not asked again"
            self._worker = None
            self._report(_restore(before))
            raise Hung(self._hung) from None

    def _watched(self, call: Callable[..., Any], inputs: tuple[Tensor, ...]) -> Any:
        """Runs in the worker."""
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
        self._jobs: _Jobs = queue.SimpleQueue()
        self.thread = threading.Thread(target=_work, args=(self._jobs,), daemon=True)
        self.thread.start()
        weakref.finalize(self, self._jobs.put, None)

    def submit(self, call: Callable[[], Any]) -> Future:
        job: Future = Future()
        self._jobs.put((job, call))
        return job


def _work(jobs: _Jobs) -> None:
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
    if isinstance(error, Exception) and not isinstance(error, TimeoutError):
        raise error
    if error is not None:
        raise RuntimeError(f"{type(error).__name__}: {error}") from error
    return value


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
