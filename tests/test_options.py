"""Options made from the fields of dataclasses."""

import dataclasses
import re

import pytest
from tiny import TINY

from ldm_edu import run
from ldm_edu.cli import main
from ldm_edu.config import DERIVED, TrainConfig
from ldm_edu.options import docstring_args, typed_options
from ldm_edu.run_folder import flatten, replace_flat

DEFAULT = TrainConfig()
UNUSUAL = dataclasses.replace(
    TINY,
    data="some folder",
    download=True,
    latent=False,
    target="x0",
    precision="bf16",
    l1=0.25,
    unet=dataclasses.replace(TINY.unet, attention=(0,), heads=None, head_dim=8, middle_attention=False),
)


@pytest.fixture
def typed(monkeypatch):
    """What the command gets for the arguments that were typed."""
    got = {}
    monkeypatch.setattr(run, "run_training", lambda given, out, recipe, resume: got.update(given))

    def type_in(*words):
        got.clear()
        assert main(["train", "--out", "x", *words]) == 0
        return dict(got)

    return type_in


def test_only_what_was_typed_arrives(typed):
    assert typed() == {}
    assert typed("--size", "16", "--no-latent", "--unet-multipliers", "1,2,3") == {
        "size": 16,
        "latent": False,
        "unet.multipliers": (1, 2, 3),
    }
    assert typed("--unet-heads", "none", "--unet-attention", "none") == {"unet.heads": None, "unet.attention": ()}


@pytest.mark.parametrize("config", [TINY, UNUSUAL], ids=["tiny", "unusual"])
def test_typed_options_give_the_configuration_back(typed, config):
    words = typed_options(config, DEFAULT)
    assert replace_flat(DEFAULT, typed(*words)) == config
    assert typed_options(DEFAULT, DEFAULT) == []


def test_every_option_has_its_help():
    def walk(config):
        texts = docstring_args(type(config))
        for field in dataclasses.fields(config):
            assert texts[field.name], field.name
            if dataclasses.is_dataclass(getattr(config, field.name)):
                walk(getattr(config, field.name))

    walk(DEFAULT)


def test_help_shows_every_option_and_its_default(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["train", "--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    for key in flatten(DEFAULT):
        flag = "--" + key.replace(".", "-").replace("_", "-")
        assert (f"{flag} " in text) == (key not in DERIVED), flag
    assert f"(default: {DEFAULT.fit.steps})" in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--unet-multipliers", "1,a"], "'1,a' is not a list of whole numbers such as 1,2,4, nor none"),
        (["--unet-multipliers", "(1,"], "--unet-multipliers"),
        (["--unet-heads", "many"], "--unet-heads"),
        (["--precision", "int4"], "--precision"),
        (["--size", "big"], "--size"),
        (["--warp", "9"], "--warp"),
    ],
)
def test_a_wrong_value_is_said_in_one_line(capsys, words, message):
    assert main(["train", "--out", "x", *words]) == 2
    err = capsys.readouterr().err
    assert err.startswith("ldm-edu: ")
    assert message in err
    assert err.count("\n") == 1


def test_no_option_reads_as_the_beginning_of_one_of_torchruns():
    # It looks through what follows the program's name too, and an ambiguous beginning is an error.
    from torch.distributed.run import get_args_parser

    theirs = {s for action in get_args_parser()._actions for s in action.option_strings}
    ours = ["--out", "--resume", "--config", *("--" + re.sub("[._]", "-", key) for key in flatten(DEFAULT))]
    assert not [(o, t) for o in ours for t in theirs if t.startswith(o)]
