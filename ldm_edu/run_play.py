"""What the command play does: the playground of notebook 00 as a page on localhost, served by Voilà."""

from __future__ import annotations

import json
import logging
import os
import secrets
import sys
import tempfile
import webbrowser
from html import escape
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from ldm_edu.latent import LatentDiffusion
from ldm_edu.pretrained import find_model
from ldm_edu.profile import pick_device

if TYPE_CHECKING:
    from jupyter_server.base.handlers import JupyterHandler
    from nbformat import NotebookNode
    from voila.app import Voila

PACKAGE = Path(__file__).parents[1]
HOST = "127.0.0.1"
CELL = """\
from ldm_edu.latent import LatentDiffusion
from ldm_edu.widgets import playground

playground(LatentDiffusion.load({folder!r}, {device!r}), {name!r})
"""
EXTENSIONS = ["@jupyter-widgets/jupyterlab-manager", "@voila-dashboards/widgets-manager8"]  # of the page's scripts
CULLING = {"cull_interval": 60, "cull_idle_timeout": 300}  # seconds; ends kernels whose page has gone without a word
# The page is all of one piece: it loads nothing from elsewhere and tells nobody its address.
HEADERS = {
    "Content-Security-Policy": "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
}


def run_play(model: str, *, port: int, browser: bool) -> None:
    """Serve the page until Ctrl-C; the address stands on standard output.

    Raises:
        ValueError: no such model, a port that cannot be, or a package that is not installed.
    """
    if not 1 <= port <= 65535:
        raise ValueError(f"--port must lie between 1 and 65535, got {port}")
    for package in ("voila", "ipywidgets", "ipykernel"):
        if find_spec(package) is None:
            raise ValueError(f'the playground needs {package}: pip install "ldm_edu[play]", or {package}')
    from tornado.ioloop import IOLoop
    from traitlets.config import Config
    from voila.app import Voila

    folder, device = find_model(model).resolve(), pick_device("auto")
    LatentDiffusion.load(folder)  # what is wrong with it is said here, not on the page
    with tempfile.TemporaryDirectory(prefix="ldm_edu-play-") as work:  # readable by its owner only
        notebook = write_page(Path(work), folder, device)
        os.environ["JUPYTER_PATH"] = work  # where the page's kernel is found, before any of that name elsewhere
        token = secrets.token_urlsafe(16)
        app = Voila(
            notebook_path=str(notebook),
            ip=HOST,
            port=port,
            open_browser=False,  # Voilà's own way does not know the token
            token=token,
            config_file_paths=[],  # someone's settings for other pages must not open this one to the network
            connection_dir_root=work,
            tornado_settings={"allow_remote_access": False, "headers": HEADERS, "ws_ping_timeout": 30_000},
            log_level=logging.ERROR,
            config=Config(
                VoilaConfiguration={"extension_allowlist": EXTENSIONS, "prelaunch_hook": give_cookie},
                MappingKernelManager=CULLING,
            ),
        )
        app.initialize([])
        # Done once the loop runs, and so after Voilà has found a free port.
        IOLoop.current().add_callback(announce, app, token, Path(work) if browser else None)
        app.start()  # returns after Ctrl-C, its kernels shut down
    print("\nStopped", file=sys.stderr)


def write_page(work: Path, folder: Path, device: str) -> Path:
    """Write the notebook that is the page, and the kernel that it runs in: this Python, with this package."""
    import nbformat

    kernel = {
        "argv": [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}", "--log-level=ERROR"],
        "display_name": "Python 3",
        "language": "python",
        "env": {"PYTHONPATH": os.pathsep.join(filter(None, (str(PACKAGE), os.environ.get("PYTHONPATH"))))},
    }
    spec = work / "kernels" / "python3" / "kernel.json"
    spec.parent.mkdir(parents=True)
    spec.write_text(json.dumps(kernel), "utf-8")
    cell = nbformat.v4.new_code_cell(CELL.format(folder=str(folder), device=device, name=folder.name))
    kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = nbformat.v4.new_notebook(
        cells=[cell], metadata={"kernelspec": kernelspec, "title": "ldm_edu playground"}
    )
    path = work / "playground.ipynb"
    nbformat.write(notebook, path)
    return path


def give_cookie(handler: JupyterHandler, notebook: NotebookNode, cwd: str) -> None:
    """Give the page the cookie with which it may end its kernel as it closes; else the kernel would stay."""
    handler.xsrf_token  # noqa: B018  reading it sets the cookie


def announce(app: Voila, token: str, work: Path | None) -> None:
    """Say where the page is, and open it."""
    address = f"http://{HOST}:{app.port}/?token={token}"
    print(f"The playground is at {address}\nCtrl-C ends it.", flush=True)
    if work is not None:
        # By a file that only its owner can read: a command line would show the token to everyone on this machine.
        door = work / "open.html"
        door.write_text(f'<meta http-equiv="refresh" content="0; url={escape(address)}">', "utf-8")
        webbrowser.open(door.as_uri())
