"""No trick gets points; each is told, and costs no other exercise its points."""

import re
import sys
from pathlib import Path

import pytest
from sheets import JUMP, QUICK, SHORT, WRONG, marks

from ldm_edu.check import nb01

SOLUTION = next((Path(__file__).parents[1] / "solutions").glob("01_*.ipynb"))
TRICKS = {
    "prints a score": (WRONG + "print('jump: right, 3 points')", r"x_t is off by"),
    "changes the checker": (
        WRONG + "check.jump = lambda *answers: 'right'",
        r"changes the checker \(jump\); no points",
    ),
    "changes an exercise": (WRONG + "check.jump.trial = print", r"changes the checker \(trial\); no points"),
    "sets an attribute": (WRONG + "setattr(check, 'compare', None)", r"changes the checker \(compare\); no points"),
    "takes the checker's name": (WRONG + "check = print", r"gives the checker's name check to something else"),
    "puts in a checker": (
        "import sys, types\nsys.modules['ldm_edu.check.nb01'] = types.ModuleType('x')\n" + JUMP,
        r"puts another module in the checker's place",
    ),
    "changes the comparison": (
        "torch.testing.assert_close = lambda *a, **k: None\n" + JUMP,
        r"changes torch\.testing\.assert_close",
    ),
    "changes allclose": ("torch.allclose = lambda *a, **k: True\n" + JUMP, r"changes torch\.allclose"),
    "leaves": (WRONG + "import sys\nsys.exit(0)", r"x_t is off by|SystemExit"),
    "leaves early": ("import sys\nsys.exit(0)\n" + JUMP, r"cell 2 stopped with SystemExit: 0"),
    "leaves at once": ("import os\nos._exit(0)\n" + JUMP, r"cell 2: it ended its process \(exit code 0\)"),
    "leaves when called": (
        "def jump(**case):\n    import os\n    os._exit(0)",
        r"it ended its process \(exit code 0\)",
    ),
    "exits when called": ("def jump(**case):\n    raise SystemExit", r"stopped with SystemExit"),
    "crashes": ("import os\nos.abort()", r"it ended its process \(signal 6\)"),
    "loops": ("while True:\n    pass", r"cell 2: a cell took longer than 2 s"),
    "loops when called": ("def jump(**case):\n    while True:\n        pass", r"jump took longer than 2 s"),
    "catches all and loops": (
        "while True:\n    try:\n        while True: pass\n    except BaseException: pass",
        r"cell 2: a cell took longer",
    ),
    "fills the memory": ("hoard = [bytearray(2**28) for _ in range(40)]", r"stopped with MemoryError"),
    "asks for a large tensor": (
        "def jump(**case):\n    return torch.zeros(2**33)",
        r"stopped with RuntimeError: .*memory",
    ),
    "answers too much": ("def jump(**case):\n    return torch.zeros(2**24)", r"is too large: at most 64 MiB"),
    "goes too deep": ("def jump(**case):\n    return jump(**case)", r"RecursionError"),
    "reads the solution": (
        f"text = open({str(SOLUTION)!r}).read()\n" + JUMP,
        r"opens 01_\w+\.ipynb, where answers are",
    ),
    "reads it by a link": (
        f"import os\nos.symlink({str(SOLUTION)!r}, 'mine')\n" + JUMP,
        r"opens 01_\w+\.ipynb, where answers are",
    ),
    "reads the check": (
        "import importlib.util as u, pathlib\nhere = pathlib.Path(u.find_spec('ldm_edu').origin).parent\n"
        "(here / 'check' / 'nb01' / 'ex1_jump.py').read_text()",
        r"opens ex1_jump\.py, where answers are",
    ),
    "looks for it in memory": (
        "import gc, types\nfunctions = [f for f in gc.get_objects() if isinstance(f, types.FunctionType)]\n"
        "jump = [f for f in functions if f.__name__ == '_jump'][0]",
        r"IndexError",
    ),
    "imports the reference": (
        "from ldm_edu.check.nb01.ex1_jump import _jump as jump",
        r"returns None|not defined|stopped",
    ),
    "imports it anew": (
        "import sys\nfor name in [name for name in sys.modules if name.startswith('ldm_edu.check')]:\n"
        "    del sys.modules[name]\n"
        "from ldm_edu.check.nb01.ex1_jump import _jump as jump",
        r"where answers are",
    ),
    "uses the package": (
        "from ldm_edu import forward, schedule\n"
        "def jump(x_0, t, eps, beta):\n    return forward.q_sample(x_0, t, eps, schedule.from_betas(beta[1:]))",
        r"calls the package \(forward\.py: q_sample\)",
    ),
    "stops the watch": (
        "import sys\nfrom ldm_edu import forward, schedule\ndef jump(x_0, t, eps, beta):\n    sys.setprofile(None)\n"
        "    return forward.q_sample(x_0, t, eps, schedule.from_betas(beta[1:]))",
        r"turns off the watch",
    ),
    "calls the package from a thread": (
        "from concurrent.futures import ThreadPoolExecutor\nfrom ldm_edu import forward, schedule\n"
        "def jump(x_0, t, eps, beta):\n    with ThreadPoolExecutor(1) as pool:\n"
        "        return pool.submit(forward.q_sample, x_0, t, eps, schedule.from_betas(beta[1:])).result()",
        r"calls the package \(forward\.py: q_sample\)",
    ),
    "stops the watch over threads": (
        "import threading\nfrom ldm_edu import forward, schedule\ndef jump(x_0, t, eps, beta):\n"
        "    threading.setprofile(None)\n    return x_0",
        r"turns off the watch",
    ),
    "starts a program": ("import subprocess\nsubprocess.run(['cat', '/etc/hostname'])", r"must not start programs"),
    "forks": ("import os\nos.fork()", r"must not start programs"),
    "goes to the network": (
        "import socket\nsocket.create_connection(('127.0.0.1', 9))",
        r"must not use socket\.connect",
    ),
    "loads a C library": ("import ctypes\nctypes.CDLL(None)", r"must not use ctypes\.dlopen"),
    "writes to our pipe": (
        "import os\nfor fd in range(3, 12):\n    try:\n        os.write(fd, b'x' * 99)\n    except OSError: pass",
        r"sent something that is no message",
    ),
    "answers for the grader": (
        "import gc\nworker = next(o for o in gc.get_objects() if type(o).__name__ == 'Student')\n"
        "worker.answer = lambda message: {'value': 'right', 'after': {}}",
        r"jump is no function",
    ),
    "returns what equals all": (
        "class Same(float):\n    __eq__ = lambda a, b: True\ndef jump(**case):\n    return Same(0)",
        r"x_t has shape \(\)",
    ),
    "returns an object": ("def jump(**case):\n    return object()", r"a value of type object does not travel"),
    "is no function": ("jump = 3", r"jump is no function"),
    "does not compile": ("def jump(:\n    pass", r"cell 2 stopped with SyntaxError: .* \(line 1\)"),
    "is not there": ("pass", r"jump is not defined"),
}


BREAKS_ITS_OWN_PROCESS = "answers for the grader"
"""From there on nothing true comes out of it, so what follows gets no points either."""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="some limits are Linux's")
@pytest.mark.parametrize("trick", TRICKS)
def test_a_trick_gets_no_points_is_told_and_costs_no_other_exercise(trick):
    source, message = TRICKS[trick]
    found = marks(source, limits=SHORT if "loops" in trick else QUICK)
    assert found["jump"].points == 0
    assert re.search(message, found["jump"].said), found["jump"].said
    assert found["jump"].hint == nb01.jump.hints[0]
    if trick != BREAKS_ITS_OWN_PROCESS:
        assert found["to_exploding"].points == 2, found["to_exploding"].said
