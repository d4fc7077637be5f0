"""Build the course's notebooks: run them top to bottom and store them with outputs and measured cost.

The .ipynb is the only stored form. To write one, work on a percent script outside the repository:

    python notebooks/build.py --script 03_predicting_noise draft.py   # a stored notebook -> a script to edit
    python notebooks/build.py draft/03_predicting_noise.py            # a script -> notebooks/03_predicting_noise.ipynb
    python notebooks/build.py 03_predicting_noise                     # run a stored notebook again
    python notebooks/build.py                                         # run all of them again
    python notebooks/build.py --costs README.md                       # the table of measured costs, into its place

What a script must hold, and what is filled in:

    # %% [markdown]                        the head, first cell: "# 03 · Title", one sentence, and
    # <!-- badge --><!-- /badge -->        where the Colab badge goes, and
    # <!-- cost --><!-- /cost -->          where the table of time and memory goes (one row a device)
    # %% tags=["setup"]                    the set-up cell, made from the repository's address in pyproject.toml

Tag a cell "nbval-ignore-output" where its output cannot be equal (sliders, times, progress): those cells are run but
not compared. Tag it "trained" where its numbers come out of a training: they are compared within the bounds that
conftest.py says. A widget cell stores no output, so put a still figure in the cell before it. Print direct results
with 4 decimals, statistics with 3, what is trained with 2.
The build fails on an error, on anything written to stderr (warnings), and on a path of this machine in an output.
Outputs are made with one thread (OMP_NUM_THREADS=1), as the tests compare them, and do not depend on the clock.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import time
from pathlib import Path
from queue import Empty

import jupytext
import nbformat
from nbclient import NotebookClient

from ldm_edu.readme import write_block

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
BRANCH = "main"
EXEMPT = "nbval-ignore-output"
PATHS = re.compile(r"/home/\w|/root/|/tmp/|/Users/\w|[A-Z]:\\\\|/ipykernel_\d|" + re.escape(str(ROOT)))
COST_HEAD = "| device | time | peak memory | peak GPU memory |\n|---|---|---|---|"

MEASURE = """\
import json, resource, sys
torch = sys.modules.get("torch")
gpu = torch is not None and torch.cuda.is_available()
print(json.dumps({
    "device": torch.cuda.get_device_name() if gpu else f"CPU, {torch.get_num_threads() if torch else 1} thread",
    "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024),
    "gpu_memory": torch.cuda.max_memory_allocated() if gpu else None,
}))"""

SETUP = """\
# Set-up: does nothing where ldm_edu is installed; finds it beside the notebook; else installs it (Colab, Kaggle).
import importlib.util
import sys
from pathlib import Path

if importlib.util.find_spec("ldm_edu") is None:
    if Path("../ldm_edu/__init__.py").exists():
        sys.path.insert(0, "..")
    else:
        %pip install --quiet "ldm-edu @ git+{repository}"
"""


def repository() -> str:
    """The repository's address, from the one place that holds it: [project.urls] in pyproject.toml."""
    project = (ROOT / "pyproject.toml").read_text("utf-8")
    found = re.search(r'^Repository = "(https://[^"]+?)/?"$', project, re.MULTILINE)
    if found is None:
        raise ValueError('pyproject.toml has no line Repository = "https://…" under [project.urls]; add it')
    return found[1]


def setup_source() -> str:
    """The set-up cell of every notebook."""
    return SETUP.format(repository=repository()).rstrip()


def badge(name: str) -> str:
    """The line of Markdown that opens a notebook in Colab."""
    path = repository().removeprefix("https://github.com/")
    link = f"https://colab.research.google.com/github/{path}/blob/{BRANCH}/notebooks/{name}.ipynb"
    return f"[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]({link})"


def between(text: str, mark: str) -> str:
    """What stands between <!-- mark --> and <!-- /mark -->."""
    found = re.search(rf"<!-- {mark} -->(.*?)<!-- /{mark} -->", text, re.DOTALL)
    if found is None:
        raise ValueError(f"no <!-- {mark} --><!-- /{mark} --> found; see python notebooks/build.py --help")
    return found[1].strip()


def put_between(text: str, mark: str, new: str) -> str:
    """Replace what stands between <!-- mark --> and <!-- /mark -->."""
    old = between(text, mark)
    start = text.index(f"<!-- {mark} -->") + len(f"<!-- {mark} -->")
    end = text.index(f"<!-- /{mark} -->")
    return text if old == new else f"{text[:start]}\n\n{new}\n\n{text[end:]}"


def with_cost(table: str, row: str) -> str:
    """Add a row to a table of costs; a row of the same device is replaced."""
    rows = [line for line in table.splitlines()[2:] if line.split("|")[1] != row.split("|")[1]]
    return "\n".join([COST_HEAD, *sorted([*rows, row])])


class PatientClient(NotebookClient):
    """A client that looks for a cell's reply twice a second.

    While a widget's output is being filled, nbclient can miss the wake-up for the reply and then sleeps for the
    cell's whole timeout (nbclient issue 312).
    """

    async def async_start_new_kernel_client(self):
        client = await super().async_start_new_kernel_client()
        wait_once = client.shell_channel.get_msg

        async def wait(timeout=None):
            left = float("inf") if timeout is None else timeout
            while left > 0.5:
                try:
                    return await wait_once(timeout=0.5)
                except Empty:
                    left -= 0.5
            return await wait_once(timeout=left)

        client.shell_channel.get_msg = wait
        return client


def execute(notebook: nbformat.NotebookNode, timeout: int = 600) -> str:
    """Run all cells in place, in the notebooks' folder; return the measured cost as a row of the table."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.pop("MPLBACKEND", None)  # agg would make the figures vanish
    notebook.cells.append(nbformat.v4.new_code_cell(MEASURE))
    start = time.monotonic()
    where = {"metadata": {"path": str(HERE)}}
    PatientClient(
        notebook, timeout=timeout, kernel_name="python3", record_timing=False, coalesce_streams=True, resources=where
    ).execute()
    seconds = time.monotonic() - start
    cost = json.loads(notebook.cells.pop().outputs[0].text)
    gpu = "–" if cost["gpu_memory"] is None else f"{cost['gpu_memory'] / 2**30:.1f} GiB"
    return f"| {cost['device']} | {seconds:.0f} s | {cost['memory'] / 2**30:.1f} GiB | {gpu} |"


def tidy(notebook: nbformat.NotebookNode) -> None:
    """Leave only what is the same on every machine and every run; widgets are dropped, they need a kernel."""
    notebook.metadata = {
        "kernelspec": {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"},
        "language_info": {"name": "python"},
    }
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        cell.metadata = {key: value for key, value in cell.metadata.items() if key != "execution"}
        cell.outputs = [o for o in cell.outputs if "application/vnd.jupyter.widget-view+json" not in o.get("data", {})]
        for output in cell.outputs:
            output.get("metadata", {}).pop("needs_background", None)


def words(output: nbformat.NotebookNode) -> str:
    """The text of an output, whichever of its forms hold it."""
    forms = [text for kind, text in output.get("data", {}).items() if kind.startswith("text/")]
    return "\n".join([output.get("text", ""), *forms])


def complaints(notebook: nbformat.NotebookNode) -> list[str]:
    """What must not be in a stored notebook: errors, warnings, paths of the machine that made it, a broken run."""
    bad = []
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    counts = [cell.execution_count for cell in code]
    if counts != list(range(1, len(code) + 1)):
        bad.append(f"not one run from top to bottom: execution counts {counts}")
    for number, cell in enumerate(code, 1):
        expected = "raises-exception" in cell.metadata.get("tags", [])
        for output in cell.outputs:
            if output.output_type == "error" and not expected:
                bad.append(f"code cell {number} failed: {output.ename}: {output.evalue}")
            if output.get("name") == "stderr":
                bad.append(f"code cell {number} wrote to stderr: {output.text.strip()[:300]}")
            if found := PATHS.search(words(output)):
                bad.append(f"code cell {number} shows a path of this machine: {found[0]}")
    return bad


def dress(notebook: nbformat.NotebookNode, name: str) -> None:
    """Fill in what is made and not written: the badge, the set-up cell, the cells' ids."""
    head = notebook.cells[0]
    head.source = put_between(head.source, "badge", badge(name))
    between(head.source, "cost")  # fail before the run, not after it
    setup = [cell for cell in notebook.cells if "setup" in cell.metadata.get("tags", [])]
    if len(setup) != 1:
        raise ValueError(f'{name}: need one cell tagged "setup", found {len(setup)}; see --help')
    setup[0].source = setup_source()
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"{name[:2]}-{number:03d}"


def build(source: Path, into: Path = HERE) -> Path:
    """Run a percent script or a stored notebook and write NN_topic.ipynb with its outputs."""
    notebook = jupytext.read(source)
    notebook.nbformat_minor = 5
    old = into / f"{source.stem}.ipynb"
    if source.suffix == ".py" and old.exists():  # a script need not carry the costs measured on other devices
        costs = between(nbformat.read(old, 4).cells[0].source, "cost")
        notebook.cells[0].source = put_between(notebook.cells[0].source, "cost", costs)
    dress(notebook, source.stem)
    row = execute(notebook)
    head = notebook.cells[0]
    head.source = put_between(head.source, "cost", with_cost(between(head.source, "cost"), row))
    tidy(notebook)
    if bad := complaints(notebook):
        raise SystemExit("\n".join([f"{source}: not written", *bad]))
    nbformat.validate(notebook)
    nbformat.write(notebook, old)
    return old


def stored() -> list[Path]:
    """The course's notebooks, in order."""
    return sorted(HERE.glob("[0-9][0-9]_*.ipynb"))


def costs() -> str:
    """One table of the measured costs of all notebooks."""
    lines = ["| notebook | device | time | peak memory | peak GPU memory |", "|---|---|---|---|---|"]
    for path in stored():
        table = between(nbformat.read(path, 4).cells[0].source, "cost")
        lines += [f"| [{path.stem}](notebooks/{path.name}) {row}" for row in table.splitlines()[2:]]
    return "\n".join(lines)


def find(name: str) -> Path:
    """A path as given, or a stored notebook by its name."""
    path = Path(name)
    return path if path.suffix else HERE / f"{path.name}.ipynb"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sources", nargs="*", help="percent scripts or notebooks to run; all stored ones unless told")
    parser.add_argument("--script", nargs=2, metavar=("NOTEBOOK", "OUT.py"), help="write a notebook as a script")
    parser.add_argument("--costs", metavar="FILE", help="write the table of measured costs into a Markdown file")
    parser.add_argument("--into", type=Path, default=HERE, metavar="FOLDER", help="write the notebooks elsewhere")
    args = parser.parse_args()
    if args.script:
        jupytext.write(nbformat.read(find(args.script[0]), 4), args.script[1], fmt="py:percent")
    elif args.costs:
        write_block(args.costs, "costs", costs())
    else:
        for source in [find(name) for name in args.sources] or stored():
            start = time.monotonic()
            print(build(source, args.into), f"{time.monotonic() - start:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
