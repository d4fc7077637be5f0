"""The graded process: runs the cells of a notebook and answers calls of what they define.

Started by remote.py; speaks wire.py's messages over what were its standard input and output.
"""

from __future__ import annotations

import os
import re
import sys
from typing import Any

from ldm_edu.check.calls import Given, Watched
from ldm_edu.grading.fences import limit_memory, put_up
from ldm_edu.grading.wire import decode, encode, receive, send

MAGIC = re.compile(r"^(\s*)[%!?].*$", re.MULTILINE)


class Student:
    """A namespace with a notebook's names in it, at the end of two pipes."""

    def __init__(self, inward: Any, outward: Any, memory: int):
        self.inward, self.outward = inward, outward
        self.names: dict[str, Any] = {"__name__": "__main__"}
        self.functions: list[Any] = []
        stop = os._exit

        def report(what: str) -> None:
            try:
                send(outward, {"forbidden": what})
            finally:
                stop(3)

        self.report = report
        self.changed = put_up(report)
        send(outward, {"ready": True, "note": limit_memory(memory)})

    def serve(self) -> None:
        """Answer one message after the other, until there are no more."""
        while True:
            try:
                message = receive(self.inward)
            except EOFError:
                return
            try:
                send(self.outward, self.answer(message))
            except ValueError as error:  # too large
                send(self.outward, {"error": "ValueError", "text": str(error)})

    def answer(self, message: dict) -> dict:
        """Run a cell, look up a name, or call a function."""
        try:
            if "cell" in message:
                self.run(message["cell"], message["number"])
                return {"value": None}
            if "name" in message:
                if message["name"] not in self.names:
                    return {"error": "NameError", "text": f"{message['name']} is not defined"}
                return {"value": encode(self.names[message["name"]], self.functions)}
            return self.call(message)
        except BaseException as error:  # SystemExit and KeyboardInterrupt are the learner's too
            return {"error": type(error).__name__, "text": _words(error)}

    def run(self, source: str, number: int) -> None:
        """Run a cell as Jupyter would, without its magics."""
        try:
            try:
                code = compile(source, f"<cell {number}>", "exec")
            except SyntaxError:  # perhaps of magics; in valid code a line may begin with % too
                code = compile(MAGIC.sub(r"\1pass", source), f"<cell {number}>", "exec")
            exec(code, self.names)
        finally:
            if what := self.changed(self.names):
                self.report(what)

    def call(self, message: dict) -> dict:
        """Call a function; what its arguments hold afterwards goes back too, since it may have changed them."""
        function = self.functions[message["call"]]
        case = {name: decode(value, self.theirs) for name, value in message["case"].items()}
        if message["may_use"] is not None:
            function = Watched(function, tuple(message["may_use"]))
        result = function(**case)
        after = {name: encode(value, []) for name, value in case.items() if not callable(value)}
        return {"value": encode(result, self.functions), "after": after}

    def theirs(self, number: int) -> Given:
        """A function of the other side's."""

        def there(*args: Any, **kwargs: Any) -> Any:
            values = {"args": encode(args, self.functions), "kwargs": encode(kwargs, self.functions)}
            send(self.outward, {"back": number, **values})
            reply = receive(self.inward)
            if "error" in reply:
                raise ValueError(reply["error"])
            return decode(reply["value"], self.theirs)

        return Given(there)


def _words(error: BaseException) -> str:
    if isinstance(error, SyntaxError) and error.lineno:
        return f"{error.msg} (line {error.lineno})"
    return " ".join(str(error).split())[:500]


def main() -> None:
    """Move the pipes out of the way of print and input, and serve."""
    inward, outward = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)
    sys.setrecursionlimit(3000)
    Student(inward, outward, int(sys.argv[1])).serve()


if __name__ == "__main__":
    main()
