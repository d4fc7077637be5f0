"""Our end of the graded process: start it, give it cells, call what it defined, and stop it when its time is up."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from ldm_edu.check.calls import Mistake, Stopped
from ldm_edu.grading.wire import Garbled, decode, encode, receive, send

START_SECONDS = 60.0
PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "SYSTEMROOT", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "VIRTUAL_ENV")


@dataclass(frozen=True)
class Limits:
    """What a notebook may use: seconds of a cell, of a call and of the whole, and GiB of memory beyond the start's."""

    cell_seconds: float = 30.0
    call_seconds: float = 10.0
    notebook_seconds: float = 300.0
    memory_gib: float = 4.0


class Ended(Exception):
    """The graded process is no more: it left, was stopped, or was about to do what it must not (then `forbidden`)."""

    def __init__(self, what: str, forbidden: bool = False):
        super().__init__(what)
        self.forbidden = forbidden


class NotStarted(ValueError):
    """The graded process did not come up: that is the machine's fault and costs nobody points."""


class Failed(Exception):
    """A cell, a name or a call raised an error: its kind, and its text."""

    def __init__(self, kind: str, text: str):
        super().__init__(f"{kind}: {text}" if text else kind)
        self.kind, self.text = kind, text

    @property
    def unwritten(self) -> bool:
        """Whether it is the stub's own error; PyTorch says more when it cannot do something to a type."""
        return self.kind == "NotImplementedError" and not self.text


class Student:
    """A graded process. Use it in a with statement.

    Raises:
        NotStarted: it did not come up.
        Ended: from any other method, once the process is gone.
    """

    def __init__(self, limits: Limits):
        self.limits = limits
        self.folder = tempfile.TemporaryDirectory(prefix="ldm_edu_", ignore_cleanup_errors=True)
        root = str(Path(__file__).resolve().parents[2])
        env = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        env |= {
            "OMP_NUM_THREADS": "1",
            "MKL_NUM_THREADS": "1",
            "MPLBACKEND": "agg",
            "PYTHONHASHSEED": "0",
            "CUDA_VISIBLE_DEVICES": "",
        }
        env |= {"PYTHONPATH": os.pathsep.join([root, *filter(None, sys.path)]), "TMPDIR": self.folder.name}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "ldm_edu.grading.worker", str(int(limits.memory_gib * 2**30))],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            cwd=self.folder.name, env=env, start_new_session=True,
        )  # fmt: skip
        self.inbox: queue.Queue = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()
        try:
            self.note = self._next(time.monotonic() + START_SECONDS).get("note")
        except (Ended, TimeoutError) as error:
            self.close()
            why = str(error) or f"no word of it in {START_SECONDS:g} s"
            raise NotStarted(f"the process that runs a notebook did not start ({why}); nothing was graded") from None

    def __enter__(self) -> Student:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @property
    def alive(self) -> bool:
        """Whether the process is still there."""
        return self.process.poll() is None

    def run(self, source: str, number: int) -> None:
        """Run a cell. Raises Failed where it raised an error."""
        self._ask({"cell": source, "number": number}, self.limits.cell_seconds, "a cell")

    def get(self, name: str, may_use: tuple[str, ...] = ()) -> Any:
        """What a name holds; a function is called there. Raises Failed where there is no such name."""
        return self._ask({"name": name}, self.limits.call_seconds, name, name=name, may_use=may_use)

    def close(self) -> None:
        """End the process, and all that it started."""
        if self.alive and hasattr(os, "killpg"):
            os.killpg(self.process.pid, signal.SIGKILL)
        elif self.alive:
            self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            try:
                pipe.close()
            except OSError:  # what was left to write has no reader
                pass
        self.folder.cleanup()

    def _function(self, number: int, name: str, may_use: tuple[str, ...] | None) -> Callable:
        """What stands here for a function there. Raises Stopped where it raised an error there."""

        def remote(**case: Any) -> Any:
            ours: list[Callable] = []
            message = {"call": number, "may_use": may_use, "case": {k: encode(v, ours) for k, v in case.items()}}
            try:
                result, after = self._ask(message, self.limits.call_seconds, name, ours, name=name, may_use=may_use)
            except Failed as failed:
                if failed.unwritten:
                    raise NotImplementedError from None
                raise (Mistake(failed.text) if failed.kind == "Mistake" else Stopped(str(failed))) from None
            for key, value in after.items():  # as if it had been called here, a tensor or a list may have changed
                if isinstance(value, list) and isinstance(case.get(key), list):
                    case[key][:] = value
                if (
                    isinstance(value, Tensor)
                    and isinstance(case.get(key), Tensor)
                    and value.shape == case[key].shape
                    and value.dtype == case[key].dtype
                ):
                    case[key].copy_(value)
            return result

        return remote

    def _ask(
        self, message: dict, seconds: float, what: str, ours: list[Callable] | None = None, *, name: str = "",
        may_use: tuple[str, ...] | None = None,
    ) -> Any:  # fmt: skip
        """Send a message and wait for its reply; meanwhile calls of our own functions come back."""
        self._send(message)
        deadline = time.monotonic() + seconds
        try:
            while True:
                reply = self._next(deadline)
                if "forbidden" in reply:
                    raise Ended(str(reply["forbidden"]), forbidden=True)
                if "back" in reply and ours is not None:
                    self._call_ours(reply, ours)
                elif "error" in reply:
                    raise Failed(str(reply["error"])[:100], str(reply.get("text", ""))[:600])
                else:
                    there = lambda number: self._function(number, name, may_use)  # noqa: E731
                    value = decode(reply.get("value"), there)
                    if "call" not in message:
                        return value
                    return value, {str(k): decode(v, there) for k, v in dict(reply.get("after", {})).items()}
        except TimeoutError:
            self.close()
            raise Ended(f"{what} took longer than {seconds:g} s: an endless loop?") from None
        except (Garbled, TypeError, AttributeError) as error:
            self.close()
            raise Ended(f"the notebook's process sent something that is no answer ({error})") from None

    def _call_ours(self, reply: dict, ours: list[Callable]) -> None:
        """The learner's function called one of those that it was given."""
        none = lambda number: lambda *a, **k: None  # noqa: E731
        try:
            function = ours[int(reply["back"])]
            args, kwargs = decode(reply["args"], none), decode(reply["kwargs"], none)
            answer = {"value": encode(function(*args, **kwargs), [])}
        except (Mistake, ValueError, TypeError, IndexError, RuntimeError, KeyError) as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        self._send(answer)

    def _send(self, message: dict) -> None:
        if not self.alive:
            raise Ended("the notebook's process has ended")
        try:
            send(self.process.stdin, message)
        except OSError:
            raise Ended("the notebook's process has ended") from None

    def _next(self, deadline: float) -> dict:
        try:
            message = self.inbox.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            raise TimeoutError from None
        if isinstance(message, Exception):
            raise Ended(self._farewell(message))
        return message

    def _farewell(self, error: Exception) -> str:
        """How the process went."""
        if not isinstance(error, EOFError):
            self.close()
            return f"the notebook's process sent something that is no message ({error})"
        try:
            code = self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.close()
            return "it closed the connection to the grader"
        return f"it ended its process ({f'signal {-code}' if code < 0 else f'exit code {code}'})"

    def _listen(self) -> None:
        try:
            while True:
                self.inbox.put(receive(self.process.stdout))
        except Exception as error:
            self.inbox.put(error)
