"""The commands on a given picture: ldm-edu edit, inpaint, upscale, denoise. Registered in ldm_edu.cli."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from ldm_edu.options import numbers
from ldm_edu.pretrained import DEFAULT_MODEL

PictureFile = Annotated[Path, typer.Argument(help="a picture file; it is never overwritten")]
Model = Annotated[str, typer.Option(help="a checkpoint folder, or the name of a shipped model")]
Out = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option(help="a .png file, or a folder; beside the picture unless given, under a name that tells the command"),
]
Force = Annotated[bool, typer.Option("--force", help="replace a result that is there")]
Prompt = Annotated[str, typer.Option(help="what to show, for a model that takes text")]
Label = Annotated[Optional[str], typer.Option(help="what to show, by class, for a model with classes")]  # noqa: UP045
Negative = Annotated[str, typer.Option(help="what guidance leads away from")]
Guidance = Annotated[float, typer.Option(help="weight of classifier-free guidance; 1 is off")]
Steps = Annotated[int, typer.Option(help="sampler steps of a whole walk from noise")]
Size = Annotated[
    Optional[int],  # noqa: UP045
    typer.Option(
        help="pixels along a side at which the model works, if not as trained: more keep detail, its objects stay small"
    ),
]
Seed = Annotated[int, typer.Option(help="seed of the noise")]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda")]


def edit(
    picture: PictureFile,
    prompt: Prompt = "",
    strength: Annotated[
        float, typer.Option(help="from near 0, which keeps the picture, to 1, which keeps nothing of it")
    ] = 0.6,
    label: Label = None,
    negative: Negative = "",
    invert: Annotated[
        bool, typer.Option("--invert", help="start from the noise that leads to the picture (DDIM), not from fresh one")
    ] = False,
    source: Annotated[str, typer.Option(help="with --invert: what the picture shows, a text or a class")] = "",
    model: Model = DEFAULT_MODEL,
    out: Out = None,
    steps: Steps = 50,
    eta: Annotated[float, typer.Option(help="η of ddim: 0 deterministic, 1 as random as DDPM")] = 0.0,
    guidance: Guidance = 2.0,
    size: Size = None,
    seed: Seed = 0,
    device: Device = "auto",
    force: Force = False,
) -> None:
    """Change a picture towards a prompt or a class.

    The result has the picture's size.
    """
    from ldm_edu.run_edit import run_edit

    run_edit(
        picture, model, out, prompt=prompt, label=label, negative=negative, invert=invert, source=source,
        strength=strength, steps=steps, eta=eta, guidance=guidance, size=size, seed=seed, device=device, force=force,
    )  # fmt: skip


def inpaint(
    picture: PictureFile,
    mask: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="a picture of the same size, white where to fill"),
    ] = None,
    box: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(parser=numbers, metavar="X0,Y0,X1,Y1", help="instead of a mask: the pixels from X0 to X1 - 1, …"),
    ] = None,
    prompt: Prompt = "",
    label: Label = None,
    negative: Negative = "",
    jumps: Annotated[int, typer.Option(help="RePaint's jumps back up at each place; 0 is replacement alone")] = 1,
    strength: Annotated[float, typer.Option(help="1 forgets what is in the hole; less changes what is there")] = 1.0,
    again: Annotated[
        float, typer.Option(help="strength of a second walk, from the first one's answer encoded anew; 0 leaves it out")
    ] = 0.5,
    model: Model = DEFAULT_MODEL,
    out: Out = None,
    steps: Steps = 50,
    eta: Annotated[float, typer.Option(help="η of ddim; RePaint's steps are DDPM's, 1")] = 1.0,
    guidance: Guidance = 2.0,
    size: Size = None,
    seed: Seed = 0,
    device: Device = "auto",
    force: Force = False,
) -> None:
    """Fill a hole in a picture.

    All pixels outside the hole stay exactly as they are.
    """
    from ldm_edu.run_edit import run_inpaint

    run_inpaint(
        picture, model, out, mask=mask, box=box, prompt=prompt, label=label, negative=negative, strength=strength,
        again=again, steps=steps, jumps=jumps, eta=eta, guidance=guidance, size=size, seed=seed, device=device,
        force=force,
    )  # fmt: skip


def upscale(
    picture: PictureFile,
    factor: Annotated[int, typer.Option(help="2 or 4")] = 2,
    prompt: Prompt = "",
    label: Label = None,
    draws: Annotated[int, typer.Option(help="average so many answers: more are smoother and err less")] = 1,
    model: Model = DEFAULT_MODEL,
    out: Out = None,
    steps: Steps = 50,
    guidance: Guidance = 1.0,
    seed: Seed = 0,
    device: Device = "auto",
    force: Force = False,
) -> None:
    """Enlarge a picture.

    A picture larger than the model's goes through it in tiles.
    """
    from ldm_edu.run_restore import run_upscale

    run_upscale(
        picture, model, out, factor=factor, prompt=prompt, label=label, draws=draws,
        steps=steps, guidance=guidance, seed=seed, device=device, force=force,
    )  # fmt: skip


def denoise(
    picture: PictureFile,
    sigma: Annotated[float, typer.Option(help="the noise's standard deviation, in values of 0 to 255")],
    prompt: Prompt = "",
    label: Label = None,
    draws: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(help="average so many answers; a model of pixels gives their mean in one call unless given"),
    ] = None,
    model: Model = DEFAULT_MODEL,
    out: Out = None,
    steps: Steps = 50,
    guidance: Guidance = 1.0,
    seed: Seed = 0,
    device: Device = "auto",
    force: Force = False,
) -> None:
    """Take Gaussian noise off a picture.

    A picture larger than the model's goes through it in tiles.
    """
    from ldm_edu.run_restore import run_denoise

    run_denoise(
        picture, model, out, sigma=sigma, prompt=prompt, label=label, draws=draws,
        steps=steps, guidance=guidance, seed=seed, device=device, force=force,
    )  # fmt: skip


COMMANDS = (edit, inpaint, upscale, denoise)
