"""What the code of a notebook may not do while it is graded. Runs in the graded process only.

Judging does not depend on these fences: no check runs in that process. They keep the code from reading the answers,
and from using up the machine. Code that is out to break out of Python altogether needs a container around the grader.
"""

from __future__ import annotations

import builtins
import os
import re
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

ANSWERS = re.compile(r"\.ipynb$|[/\\]solutions[/\\]|gradebook\.db|^/proc/.*/(mem|environ|fd)\b")
STARTS = (
    "subprocess.Popen",
    "os.system",
    "os.exec",
    "os.fork",
    "os.forkpty",
    "os.posix_spawn",
    "os.spawn",
    "pty.spawn",
)
OUTSIDE = ("socket.connect", "socket.bind", "socket.sendto", "ctypes.dlopen", "ctypes.dlsym", "os.kill", "os.killpg")
TOUCHES = ("open", "os.link", "os.symlink", "os.rename", "sqlite3.connect", "shutil.copyfile", "shutil.move")
COMPARERS = ((torch.testing, "assert_close"), (torch, "allclose"), (torch, "equal"))


class Checker(ModuleType):
    """What a notebook gets for ldm_edu.check while it is graded: everything is there and does nothing."""

    def __init__(self, name: str, report: Callable[[str], None]):
        super().__init__(name)
        self.__dict__["_report"] = report

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return Silent(self.__dict__["_report"])

    def __setattr__(self, name: str, value: Any) -> None:
        if not name.startswith("__"):  # the import system sets those
            self.__dict__["_report"](f"changes the checker ({name})")


class Silent:
    """An exercise while a notebook is graded: calling it, or asking it for a hint, gives nothing."""

    def __init__(self, report: Callable[[str], None]):
        self.__dict__["_report"] = report

    def __setattr__(self, name: str, value: Any) -> None:
        self.__dict__["_report"](f"changes the checker ({name})")

    def __call__(self, *args: Any, **kwargs: Any) -> None:
        return None

    def __getattr__(self, name: str) -> Silent:
        if name.startswith("__"):
            raise AttributeError(name)
        return Silent(self.__dict__["_report"])


def put_up(report: Callable[[str], None]) -> Callable[[dict], str | None]:
    """Put up the fences, once. They cannot be taken down again.

    Args:
        report: is told what the code was about to do, and must not return.
    Returns:
        a function that looks at a namespace and says how the checker was changed, or None.
    """
    checker = _hide_the_checker(report)
    where = str(Path(__file__).resolve().parents[1] / "check") + os.sep
    originals = [(module, name, getattr(module, name)) for module, name in COMPARERS]
    ours = (
        str(Path(__file__).resolve().parents[1] / "check" / "calls.py"),
        str(Path(__file__).resolve().parent),
        threading.__file__,  # sets in a new thread what calls.py asked for
    )

    def guard(event: str, args: tuple) -> None:
        if event in TOUCHES:
            for name in args[:2]:
                if isinstance(name, str | bytes | os.PathLike):
                    path = os.path.realpath(os.fsdecode(name))
                    if path.startswith(where) or ANSWERS.search(path):
                        report(f"opens {Path(path).name}, where answers are")
        elif event in ("sys.setprofile", "sys.settrace"):
            if not sys._getframe(1).f_code.co_filename.startswith(ours):
                report("turns off the watch over its calls")
        elif event in STARTS:
            raise PermissionError(f"a graded notebook must not start programs ({event})")
        elif event in OUTSIDE:
            raise PermissionError(f"a graded notebook must not use {event}")

    sys.addaudithook(guard)

    def changed(namespace: dict) -> str | None:
        for module, name, original in originals:
            if getattr(module, name, None) is not original:
                return f"changes {module.__name__}.{name}"
        if any(sys.modules.get(name) is not module for name, module in checker.items()):
            return "puts another module in the checker's place"
        held = {name for name, value in namespace.items() if isinstance(value, Checker)}
        gone = changed.__dict__.setdefault("held", set()) - held
        changed.__dict__["held"] |= held
        return f"gives the checker's name {sorted(gone)[0]} to something else" if gone else None

    return changed


def limit_memory(bytes_more: int) -> str | None:
    """Let the process take so many bytes more than it has now; what to tell where the platform cannot.

    The limit is on addresses, which exist in plenty beside those in use, so it is set on top of those.
    """
    try:
        import resource

        pages = int(Path("/proc/self/statm").read_text().split()[0])
        most = pages * resource.getpagesize() + bytes_more
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (2**28, 2**28))
    except (ImportError, OSError, ValueError):
        return f"no memory limit on this platform ({sys.platform}); there is a time limit"
    return None


def _hide_the_checker(report: Callable[[str], None]) -> dict[str, Checker]:
    """Empty modules in place of ldm_edu.check and all below it."""
    package = Path(__file__).resolve().parents[2]
    files = sorted(
        (package / "ldm_edu" / "check").rglob("*.py")
    )  # by name: importing them would bring the answers here
    names = [".".join(f.relative_to(package).with_suffix("").parts).removesuffix(".__init__") for f in files]
    for name in list(sys.modules):
        if name == "ldm_edu.check" or name.startswith("ldm_edu.check."):
            del sys.modules[name]
    checker = {name: Checker(name, report) for name in names}
    sys.modules.update(checker)
    for name, module in checker.items():  # as importing a module sets it in the one above
        above, _, last = name.rpartition(".")
        vars(sys.modules[above])[last] = module
    builtins.display = lambda *args, **kwargs: None  # Jupyter's, which a notebook may call
    return checker
