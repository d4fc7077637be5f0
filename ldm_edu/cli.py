"""The command line: ldm-edu train, generate, edit and their like; `ldm-edu --help` lists them.

Errors that a user can mend are one line on standard error and exit code 2; --debug shows the traceback.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Annotated, Optional

import typer

from ldm_edu import cli_edit
from ldm_edu.config import TrainConfig
from ldm_edu.latent import SamplerName
from ldm_edu.options import Nothing, numbers, weights, with_options
from ldm_edu.pretrained import DEFAULT_MODEL

INTERRUPTED = 130  # what a shell reports of a program that Ctrl-C stopped
DISTRIBUTIONS = {"PIL": "pillow", "sklearn": "scikit-learn", "yaml": "pyyaml"}
"""Packages whose name to install is not their name to import."""

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # at 80 columns its tables cut the names of long options
    context_settings={"max_content_width": 110},
)


def show_version(asked: bool) -> None:
    """Print the version and stop."""
    if asked:
        from ldm_edu import __version__

        typer.echo(f"ldm_edu {__version__}")
        raise typer.Exit


@app.callback()
def shared(
    debug: Annotated[bool, typer.Option("--debug", help="show the traceback of an error")] = False,
    version: Annotated[
        bool, typer.Option("--version", help="show the version", callback=show_version, is_eager=True)
    ] = False,
) -> None:
    """Latent diffusion: train it, draw with it, measure it."""


@app.command()
@with_options(TrainConfig())
def train(
    out: Annotated[Path, typer.Option(help="the run's folder")],
    given: dict,
    config: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            help="settings: a file like a run's train.json, or a shipped recipe's name; options given beside win"
        ),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="go on with the run in --out, if there is one")] = False,
) -> None:
    """Train a latent diffusion model.

    First an autoencoder, then the diffusion model in its latents; scores and card follow.
    """
    from ldm_edu.recipes import read_recipe
    from ldm_edu.run import run_training

    given = {k: None if v is Nothing else v for k, v in given.items()}
    run_training(given, out, recipe=read_recipe(config) if config else {}, resume=resume)


@app.command()
def generate(
    prompt: Annotated[str, typer.Argument(help="what to draw, for a model that takes text")] = "",
    model: Annotated[str, typer.Option(help="a checkpoint folder, or the name of a shipped model")] = DEFAULT_MODEL,
    out: Annotated[Path, typer.Option(help="a .png file for a grid, or a folder for single files")] = Path(
        "samples.png"
    ),
    count: Annotated[int, typer.Option(help="how many pictures")] = 4,
    label: Annotated[Optional[str], typer.Option(help="a class, by name or number; all in turn unless given")] = None,  # noqa: UP045
    negative: Annotated[str, typer.Option(help="what guidance leads away from")] = "",
    steps: Annotated[int, typer.Option(help="sampler steps, somewhat fewer than the schedule has")] = 25,
    sampler: Annotated[SamplerName, typer.Option(help="which sampler")] = "ddim",
    eta: Annotated[float, typer.Option(help="η of ddim: 0 deterministic, 1 as random as DDPM")] = 0.0,
    guidance: Annotated[float, typer.Option(help="weight of classifier-free guidance; 1 is off")] = 2.0,
    interval: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(parser=numbers, metavar="LOW,HIGH", help="guide only at times t from LOW to HIGH"),
    ] = None,
    seed: Annotated[int, typer.Option(help="seed of the noise")] = 0,
    batch: Annotated[int, typer.Option(help="pictures at once")] = 64,
    scale: Annotated[int, typer.Option(help="enlarge each pixel of a grid so many times")] = 2,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda")] = "auto",
) -> None:
    """Draw pictures with a checkpoint."""
    from ldm_edu.run_generate import run_generate

    run_generate(
        prompt, model, out, count=count, label=label, negative=negative, steps=steps, sampler=sampler, eta=eta,
        guidance=guidance, interval=interval, seed=seed, batch=batch, scale=scale, device=device,
    )  # fmt: skip


for command in cli_edit.COMMANDS:
    app.command()(command)


@app.command()
def play(
    model: Annotated[str, typer.Option(help="a checkpoint folder, or the name of a shipped model")] = DEFAULT_MODEL,
    port: Annotated[int, typer.Option(help="where to serve it; the next free one if it is taken")] = 8866,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="print the address, open nothing")] = False,
) -> None:
    """Open the playground: a page on this machine that draws with a checkpoint and shows how."""
    from ldm_edu.run_play import run_play

    run_play(model, port=port, browser=not no_browser)


@app.command()
def info(
    model: Annotated[str, typer.Argument(help="a checkpoint folder, or the name of a shipped model")],
    json: Annotated[bool, typer.Option("--json", help="as JSON")] = False,
    write: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="put the scores into a Markdown file too, between its markers demo:begin and demo:end"),
    ] = None,
) -> None:
    """Show a checkpoint's card."""
    from ldm_edu.pretrained import find_model
    from ldm_edu.run import show_info

    typer.echo(show_info(find_model(model), as_json=json, write=write), nl=False)


@app.command()
def export(
    run: Annotated[Path, typer.Argument(help="the folder of a finished training")],
    out: Annotated[Path, typer.Argument(help="a new folder")],
    root: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="where the training's data lie, if not where they did"),
    ] = None,
    download: Annotated[bool, typer.Option("--download", help="download the data if they are not there")] = False,
) -> None:
    """Write a model to share, in half precision.

    Its scores are measured anew, as it is stored.
    """
    from ldm_edu.run import export as run_export

    run_export(run, out, root=root, download=download)


@app.command()
def sweep(
    model: Annotated[str, typer.Argument(help="a checkpoint folder, or the name of a shipped model")] = DEFAULT_MODEL,
    guidance: Annotated[
        str, typer.Option(parser=weights, metavar="W,W,…", help="guidance weights; 1 is off")
    ] = "1,2,3,5,8",
    steps: Annotated[str, typer.Option(parser=numbers, metavar="N,N,…", help="sampler steps")] = "5,10,25,50",
    count: Annotated[int, typer.Option(help="captions of each kind")] = 100,
    sampler: Annotated[SamplerName, typer.Option(help="which sampler")] = "ddim",
    seed: Annotated[int, typer.Option(help="seed of the captions and of the noise")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda")] = "auto",
    write: Annotated[Optional[Path], typer.Option(help="write the table as JSON too")] = None,  # noqa: UP045
) -> None:
    """Measure how often captions are obeyed.

    For each guidance weight and number of steps: captions as in training, and captions of combinations never seen.
    """
    from ldm_edu.run_sweep import run_sweep

    run_sweep(model, guidance, steps, count=count, sampler=sampler, seed=seed, device=device, write=write)


@app.command()
def bench(
    what: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Argument(
            help="structure, small, sampling, latent, options, import, generate, throughput, quality; all but the last "
            "two unless given; on Windows neither import nor generate, which need Linux or macOS"
        ),
    ] = None,
    seconds: Annotated[float, typer.Option(help="about how long to measure each comparison")] = 10.0,
    threads: Annotated[int, typer.Option(help="CPU threads")] = 1,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda")] = "auto",
    json: Annotated[bool, typer.Option("--json", help="as JSON")] = False,
    write: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="put the table into a Markdown file too, between its markers bench:begin and bench:end"),
    ] = None,
) -> None:
    """Measure speed against diffusers.

    Each row is a ratio of runs in turn, with its spread.
    """
    from ldm_edu.bench import run_bench

    run_bench(what or [], seconds=seconds, threads=threads, device=device, as_json=json, write=write)


@app.command()
def check(
    notebooks: Annotated[list[Path], typer.Argument(help="notebooks of exercises, as exercises/03_*.ipynb")],
    json: Annotated[bool, typer.Option("--json", help="as JSON")] = False,
) -> None:
    """Grade notebooks of exercises: points, what is wrong, and a hint. Their code runs in a process of its own."""
    from ldm_edu.grading.table import check_text

    text, failed = check_text(notebooks, as_json=json)
    typer.echo(text, nl=False)
    if failed:
        raise ValueError(f"not graded: {failed}")


@app.command()
def progress(
    folder: Annotated[Path, typer.Argument(help="the folder of your exercises")] = Path("exercises"),
) -> None:
    """Show where you stand in the exercises, and which comes next."""
    from ldm_edu.grading.table import progress_text

    typer.echo(progress_text(folder), nl=False)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; the exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    debugging = "--debug" in arguments
    for stream in (sys.stdout, sys.stderr):  # a pipe on Windows may lack a letter; better "?" than no word at all
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        # Out of the list: it may stand anywhere.
        said = [a for a in arguments if a != "--debug"] or ["--help"]
        code = app(said, prog_name="ldm-edu", standalone_mode=False) or 0
    except KeyboardInterrupt:
        code = INTERRUPTED
    except Exception as error:
        if debugging:
            raise
        print("ldm-edu: " + " ".join(explain(error).split()), file=sys.stderr)
        return 2
    if code == INTERRUPTED:  # Typer turns Ctrl-C into this code
        hint = "; it goes on from its last save with --resume" if "train" in arguments[:2] else ""
        print(f"\nldm-edu: stopped{hint}", file=sys.stderr)
    return code


def explain(error: Exception) -> str:
    """A sentence for what a user can mend; anything else is a bug, and says how to show more."""
    from ldm_edu.fit import TrainingError, out_of_memory

    if hasattr(error, "format_message"):  # Typer's own: unknown option, wrong type, …
        return error.format_message() or "say what to do; see ldm-edu --help"
    if isinstance(error, ValueError | TrainingError | OSError):
        return str(error)
    if out_of_memory(error):
        return "out of memory; use smaller pictures, a smaller model, or fewer at once by --batch, where there is one"
    package = (error.name or "").partition(".")[0] if isinstance(error, ModuleNotFoundError) else ""
    if package in sys.stdlib_module_names:
        return f"this needs {package}, a part of Python missing here, as some are on Windows; try Linux or macOS"
    if package not in ("", "ldm_edu"):
        return f"this needs the package {package}: pip install {DISTRIBUTIONS.get(package, package)}"
    return f"unexpected {type(error).__name__}: {error}; run again with --debug to see where"
