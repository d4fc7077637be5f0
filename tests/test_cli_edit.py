"""edit, inpaint, upscale and denoise: any picture in, one of the right size out, and the original as it was."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import TINY, blobs

from ldm_edu import run_edit, run_restore
from ldm_edu.cli import main
from ldm_edu.edit_inputs import Condition, denoiser_for
from ldm_edu.editing import edit, image_to_image, inpaint
from ldm_edu.fit import seeded
from ldm_edu.latent import LatentDiffusion
from ldm_edu.measurement import downsample
from ldm_edu.nets.text import TextConfig
from ldm_edu.picture_file import read_picture
from ldm_edu.restoration import posterior_mean, restore
from ldm_edu.schedule import cosine
from ldm_edu.start import model_config_for

WORDS = TextConfig(words=("red", "blue", "circle"), length=4, width=8, depth=1, heads=2)
RANDOM = np.random.default_rng(0)


def model_of(kind):
    """A model of 16×16 pixels with random weights everywhere, the zero-initialised ones too, and mild answers."""
    pictures = blobs(channels=3 if "colour" in kind else 1, classes=2 if "classes" in kind else 0)
    config = dataclasses.replace(TINY, latent="pixels" not in kind)
    config = model_config_for(config, pictures)
    if "text" in kind:
        unet = dataclasses.replace(config.unet, context_dim=WORDS.width)
        config = dataclasses.replace(config, text=WORDS, unet=unet)
    model = LatentDiffusion(config, cosine(50))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.randn(p.shape, generator=generator) * (0.3 if p.ndim == 1 else 1 / math.sqrt(p[0].numel())))
    return model.eval()


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Checkpoint folders by what the model is."""
    folder = tmp_path_factory.mktemp("models")
    for kind in ("colour-text", "grey-classes", "grey-pixels", "colour-pixels"):
        model_of(kind).save(folder / kind)
    return folder


@pytest.fixture
def did(models, capsys):
    """Run a command that must succeed, in few steps on the CPU; what it says on either stream."""

    def call(command, *words, model="colour-text"):
        code = main([str(w) for w in [command, *words, "--model", models / model, "--device", "cpu", "--steps", 3]])
        said = capsys.readouterr()
        assert code == 0, said.err
        return said

    return call


@pytest.fixture
def refused(models, capsys):
    """Run a command that must fail; the one line that it says."""

    def call(command, *words, model="colour-text"):
        words = [command, "--steps", 3, "--model", models / model, "--device", "cpu", *words]
        assert main([str(w) for w in words]) == 2
        out, err = capsys.readouterr()
        assert err.startswith("ldm-edu: "), err
        assert err.count("\n") == 1, err
        assert out == ""
        return err

    return call


def noise(*shape, kind=np.uint8):
    return RANDOM.integers(0, np.iinfo(kind).max + 1, shape, dtype=kind)


def saved(path, array, **options):
    (array if isinstance(array, Image.Image) else Image.fromarray(array)).save(path, **options)
    return path


def pixels(path):
    with Image.open(path) as image:
        return np.array(image)


def floats(path):
    return read_picture(path).floats()


COMMANDS = {
    "edit": ("edited", 1, ()),
    "inpaint": ("inpainted", 1, ("--box", "0,0,1,1", "--jumps", "1")),
    "upscale": ("upscaled", 2, ()),
    "denoise": ("denoised", 1, ("--sigma", "20")),
}
every_command = pytest.mark.parametrize("command", COMMANDS)


@every_command
def test_a_result_stands_beside_its_original_which_is_unchanged(did, tmp_path, command):
    ending, factor, words = COMMANDS[command]
    original = saved(tmp_path / "my photo.png", noise(21, 30, 3))
    before = original.read_bytes()
    said = did(command, original, *words)
    place = tmp_path / f"my photo-{ending}.png"
    assert said.out == f"{30 * factor}×{21 * factor} pixels written to {place}\n"
    assert original.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([original.name, place.name])
    first = place.read_bytes()
    assert pixels(place).shape == (21 * factor, 30 * factor, 3)
    did(command, original, *words, "--force")
    assert place.read_bytes() == first  # the same seed, the same picture
    did(command, original, *words, "--force", "--seed", "1")
    assert place.read_bytes() != first
    assert original.read_bytes() == before


@every_command
@pytest.mark.parametrize("size", [(16, 16), (5, 7), (1, 2), (3, 50), (40, 23)])
def test_any_size_goes_in_and_comes_out(did, tmp_path, command, size):
    ending, factor, words = COMMANDS[command]
    original = saved(tmp_path / "a.png", noise(*size))
    did(command, original, *words, model="grey-classes")
    assert pixels(tmp_path / f"a-{ending}.png").shape == (factor * size[0], factor * size[1])


def palette():
    image = Image.fromarray(noise(6, 9, 3)).quantize(8)
    image.info["transparency"] = 3
    return image


def turned():
    exif = Image.Exif()
    exif[0x0112] = 6
    return {"exif": exif}


# Picture, how it is saved, its upright size, and the mode of the result.
ODD = {
    "rgba.png": (noise(6, 9, 4), {}, (9, 6), "RGBA"),
    "grey-alpha.png": (noise(6, 9, 2), {}, (9, 6), "LA"),
    "palette.png": (palette(), {}, (9, 6), "RGBA"),
    "deep.png": (noise(6, 9, kind=np.uint16), {}, (9, 6), "I;16"),
    "cmyk.jpg": (Image.fromarray(noise(6, 9, 3)).convert("CMYK"), {}, (9, 6), "RGB"),
    "bits.png": (Image.fromarray(noise(6, 9) > 99), {}, (9, 6), "L"),
    "turned.jpg": (noise(6, 9, 3), turned(), (6, 9), "RGB"),
    "film.gif": (
        Image.fromarray(noise(6, 9)),
        {"save_all": True, "append_images": [Image.fromarray(noise(6, 9))]},
        (9, 6),
        "RGB",
    ),
}


@every_command
@pytest.mark.parametrize("name", ODD)
def test_odd_pictures_come_out_upright_and_in_their_own_mode(did, tmp_path, command, name):
    array, options, size, mode = ODD[name]
    ending, factor, words = COMMANDS[command]
    original = saved(tmp_path / name, array, **options)
    said = did(command, original, *words)
    with Image.open(tmp_path / f"{original.stem}-{ending}.png") as image:
        assert image.size == (factor * size[0], factor * size[1])
        colourful = {"L": "RGB", "LA": "RGBA", "I;16": "RGB"} if command == "edit" else {}
        assert image.mode == colourful.get(mode, mode)
    assert ("holds 2 pictures; only the first is used" in said.err) == (name == "film.gif")
    assert ("The CMYK colours" in said.err) == (name == "cmyk.jpg")
    assert ("The picture is grey: so is " in said.err) == (mode in ("L", "LA", "I;16") and command != "edit")


@pytest.mark.parametrize("name", [n for n, odd in ODD.items() if odd[3] in ("RGBA", "LA")])
def test_transparency_is_put_back(did, tmp_path, name):
    array, options, _, _ = ODD[name]
    alpha = read_picture(saved(tmp_path / name, array, **options)).alpha
    did("edit", tmp_path / name, "--out", tmp_path / "edited.png")
    np.testing.assert_array_equal(read_picture(tmp_path / "edited.png").alpha, alpha)
    did("upscale", tmp_path / name, "--out", tmp_path / "large.png")
    large = read_picture(tmp_path / "large.png").alpha.astype(float)
    assert abs(large.mean() - alpha.mean()) < 12


def expected_bytes(new):
    """What a file holds of a model's answer (1, C, H, W)."""
    return ((new[0].clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).permute(1, 2, 0).squeeze(2).numpy()


def close(path, new):
    """The file holds the answer, up to a rounding that fell the other way."""
    return np.abs(pixels(path).astype(int) - expected_bytes(new).astype(int)).max() <= 1


def test_at_the_models_size_edit_is_image_to_image(did, tmp_path):
    original = saved(tmp_path / "a.png", noise(16, 16, 3))
    said = did("edit", original, "--prompt", "red circle", "--strength", 0.7, "--eta", 0.5, "--seed", 4)
    assert said.err == ""
    condition = Condition(prompts=["red circle"], guidance=2.0)
    new = image_to_image(
        model_of("colour-text"), floats(original), condition,
        strength=0.7, steps=3, eta=0.5, generator=seeded(4, "edit"),
    )  # fmt: skip
    assert close(tmp_path / "a-edited.png", new)


@pytest.mark.parametrize("source", ["", "blue"])
def test_with_invert_edit_goes_up_under_the_source_and_down_under_the_prompt(did, tmp_path, source):
    original = saved(tmp_path / "a.png", noise(16, 16, 3))
    words = ("--source", source) if source else ()
    did("edit", original, "--prompt", "red circle", "--negative", "blue", "--invert", *words, "--guidance", 3)
    shown = Condition(prompts=[source]) if source else Condition()
    target = Condition(prompts=["red circle"], negative="blue", guidance=3.0)
    new = edit(model_of("colour-text"), floats(original), shown, target, strength=0.6, steps=3)
    assert close(tmp_path / "a-edited.png", new)


def test_classes_are_asked_for_by_name_or_number(did, tmp_path):
    original = saved(tmp_path / "a.png", noise(16, 16))
    for label, name in (("b", "name"), ("1", "number"), ("a", "other")):
        words = ("--label", label, "--invert", "--source", "a", "--strength", 1, "--guidance", 3)
        did("edit", original, *words, "--out", tmp_path / f"{name}.png", model="grey-classes")
    name, number, other = (pixels(tmp_path / f"{n}.png") for n in ("name", "number", "other"))
    np.testing.assert_array_equal(name, number)
    assert (name != other).any()


def test_at_the_models_size_inpaint_is_the_library_s(did, tmp_path):
    original, mask = saved(tmp_path / "a.png", noise(16, 16, 3)), np.zeros((16, 16), np.uint8)
    mask[4:9, 5:12] = 255
    words = ("--mask", saved(tmp_path / "m.png", mask), "--prompt", "blue circle", "--jumps", 2, "--again", 0.6)
    said = did("inpaint", original, *words, "--strength", 0.8)
    assert said.err == ""
    new = inpaint(
        model_of("colour-text"), floats(original), torch.from_numpy(mask > 0)[None, None],
        Condition(prompts=["blue circle"], guidance=2.0),
        strength=0.8, steps=3, jumps=2, again=0.6, generator=seeded(0, "inpaint"),
    )  # fmt: skip
    assert close(tmp_path / "a-inpainted.png", new)


@pytest.mark.parametrize("model", ["colour-text", "grey-classes", "grey-pixels"])
@pytest.mark.parametrize("box", [(0, 0, 3, 2), (20, 30, 29, 39), (10, 5, 11, 30), (29, 0, 30, 40)])
@pytest.mark.parametrize("kind", ["RGB", "RGBA", "I;16"])
def test_outside_the_hole_every_value_is_the_originals(did, tmp_path, model, box, kind):
    shapes = {"RGB": (40, 30, 3), "RGBA": (40, 30, 4), "I;16": (40, 30)}
    original = saved(tmp_path / "a.png", noise(*shapes[kind], kind=np.uint16 if kind == "I;16" else np.uint8))
    said = did("inpaint", original, "--box", ",".join(map(str, box)), model=model)
    x0, y0, x1, y1 = box
    hole = np.zeros((40, 30), bool)
    hole[y0:y1, x0:x1] = True
    before, after = pixels(original), pixels(tmp_path / "a-inpainted.png")
    assert after.dtype == before.dtype
    np.testing.assert_array_equal(after[~hole], before[~hole])
    assert (after[hole] != before[hole]).mean() > 0.5
    if kind == "RGBA":
        assert (after[hole][:, 3] == 255).all()
    if kind != "I;16" and model != "colour-text":
        assert "The model is grey: so is what fills the hole." in said.err
        assert (after[hole][:, 0] == after[hole][:, 2]).all()


def test_what_is_in_the_hole_has_no_say(did, tmp_path):
    array = noise(40, 30, 3)
    first, second = saved(tmp_path / "a.png", array), array.copy()
    second[10:25, 5:20] = 255 - second[10:25, 5:20]
    second = saved(tmp_path / "b.png", second)
    for path in (first, second):
        did("inpaint", path, "--box", "5,10,20,25")
    np.testing.assert_array_equal(pixels(tmp_path / "a-inpainted.png"), pixels(tmp_path / "b-inpainted.png"))
    for path in (first, second):
        did("inpaint", path, "--box", "5,10,20,25", "--strength", 0.5, "--force")
    assert (pixels(tmp_path / "a-inpainted.png") != pixels(tmp_path / "b-inpainted.png")).any()


@pytest.mark.parametrize("factor", [2, 4])
def test_at_the_models_size_upscale_is_restore(did, tmp_path, factor):
    original = saved(tmp_path / "a.png", noise(16 // factor, 16 // factor, 3))
    did("upscale", original, "--factor", factor, "--prompt", "red", "--draws", 2)
    generator, model = seeded(0, "upscale"), model_of("colour-text")
    draws = [
        restore(
            model, floats(original), lambda x: downsample(x, factor), Condition(prompts=["red"]),
            noise_level=0.02, steps=3, generator=generator,
        )
        for _ in range(2)
    ]  # fmt: skip
    assert close(tmp_path / "a-upscaled.png", torch.stack(draws).mean(0))


def test_denoise_is_restore_for_latents_and_the_posterior_mean_for_pixels(did, tmp_path):
    original = saved(tmp_path / "a.png", noise(16, 16, 3))
    did("denoise", original, "--sigma", 51)
    model = model_of("colour-text")
    new = restore(model, floats(original), lambda x: x, noise_level=0.4, steps=3, generator=seeded(0, "denoise"))
    assert close(tmp_path / "a-denoised.png", new)
    model = model_of("colour-pixels")
    did("denoise", original, "--sigma", 51, "--force", model="colour-pixels")
    with torch.no_grad():
        new = posterior_mean(denoiser_for(model, Condition(), 1), floats(original), 0.4, model.schedule)
    assert close(tmp_path / "a-denoised.png", new)
    did("denoise", original, "--sigma", 51, "--force", "--draws", 1, model="colour-pixels")
    assert not close(tmp_path / "a-denoised.png", new)


def test_a_grey_model_is_told_how_little_noise_a_grey_picture_keeps(did, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(run_restore, "posterior_mean", lambda d, y, level, s: seen.append((y.std(), level)) or y)
    clear, dirty = np.full((64, 64, 3), 128.0), np.random.default_rng(1).normal(0, 20, (64, 64, 3))
    original = saved(tmp_path / "a.png", (clear + dirty).round().astype(np.uint8))
    did("denoise", original, "--sigma", 20, model="grey-pixels")
    (measured, told) = seen[0]
    assert abs(measured / told - 1) < 0.03
    assert abs(told / (20 / 127.5) - 0.669) < 0.001


@pytest.mark.parametrize("size", [(16, 16), (16, 10), (7, 16), (32, 20), (8, 8)])
def test_what_edit_shows_the_model_comes_back_to_its_place(did, tmp_path, monkeypatch, size):
    monkeypatch.setattr(run_edit, "image_to_image", lambda model, square, *_, **options: square)
    y, x = np.mgrid[: size[0], : size[1]]
    original = saved(tmp_path / "a.png", np.uint8(40 + 5 * y + 3 * x))
    did("edit", original, model="grey-classes")
    away = np.abs(pixels(original).astype(int) - pixels(tmp_path / "a-edited.png"))
    assert away.max() <= (0 if max(size) == 16 else 4)


@pytest.mark.parametrize("size", [(16, 16), (16, 10), (7, 16), (50, 20), (40, 61)])
def test_what_inpaint_shows_the_model_comes_back_to_its_place(did, tmp_path, monkeypatch, size):
    monkeypatch.setattr(run_edit, "inpaint", lambda model, square, *_, **options: square)
    original = saved(tmp_path / "a.png", noise(*size))
    for box in ("0,0,5,4", "1,2,7,7", f"{size[1] - 5},{size[0] - 3},{size[1]},{size[0]}"):
        did("inpaint", original, "--box", box, "--strength", 0.5, "--force", model="grey-classes")
        np.testing.assert_array_equal(pixels(tmp_path / "a-inpainted.png"), pixels(original))


@pytest.mark.parametrize("size", [(16, 16), (50, 20), (5, 40)])
def test_what_denoise_shows_the_model_comes_back_to_its_place(did, tmp_path, monkeypatch, size):
    monkeypatch.setattr(run_restore, "restore", lambda model, y, *_, **options: y)
    original = saved(tmp_path / "a.png", noise(*size))
    did("denoise", original, "--sigma", 9, model="grey-classes")
    np.testing.assert_array_equal(pixels(tmp_path / "a-denoised.png"), pixels(original))


@pytest.mark.parametrize("size", [(40, 61), (16, 16), (3, 90), (90, 3), (10, 10)])
def test_the_window_holds_the_hole_and_what_is_around_it(size):
    random = np.random.default_rng(2)
    for _ in range(50):
        y0, x0 = random.integers(size[0]), random.integers(size[1])
        y1, x1 = random.integers(y0 + 1, size[0] + 1), random.integers(x0 + 1, size[1] + 1)
        hole = np.zeros(size, bool)
        hole[y0:y1, x0:x1] = True
        top, left, length = run_edit.window_around(hole, 16)
        assert top <= y0
        assert left <= x0
        assert y1 <= top + length
        assert x1 <= left + length
        assert length == max(size) or length == max(16, 2 * max(y1 - y0, x1 - x0))
        for first, whole in zip((top, left), size, strict=True):
            assert (0 <= first <= whole - length) if whole >= length else (whole - length <= first <= 0)


def test_sizes_are_said_and_can_be_chosen(did, tmp_path):
    original = saved(tmp_path / "a.png", noise(20, 32, 3))
    err = did("edit", original).err
    assert err == (
        "The model is shown a square of 32×32 pixels at 16×16, the size it was trained at. "
        "What it draws is enlarged again and lacks fine detail; see --size.\n"
    )
    err = did("edit", original, "--size", 32, "--force").err
    assert err == "The model is shown a square of 32×32 pixels; it was trained at 16×16.\n"
    assert did("inpaint", original, "--box", "0,0,8,8").err == ""
    err = did("inpaint", original, "--box", "0,0,8,8", "--size", 32, "--force").err
    assert err == "The model is shown a square of 32×32 pixels; it was trained at 16×16.\n"
    small = saved(tmp_path / "b.png", noise(4, 8, 3))
    assert did("edit", small).err == "The model is shown a square of 8×8 pixels at 16×16, the size it was trained at.\n"


def test_a_grey_models_result_on_a_colour_picture_is_grey_and_said(did, tmp_path):
    original = saved(tmp_path / "a.png", noise(16, 16, 3))
    for command, (ending, _, words) in COMMANDS.items():
        said = did(command, original, *words, model="grey-classes")
        assert said.err.startswith("The model is grey: so is "), command
        assert pixels(tmp_path / f"a-{ending}.png").ndim == (3 if command == "inpaint" else 2)


@pytest.mark.parametrize(
    ("command", "words", "message"),
    [
        ("edit", ["--strength", "0"], "strength must lie in (0, 1]"),
        ("edit", ["--strength", "nan"], "strength must lie in (0, 1]"),
        ("edit", ["--strength", "1.5"], "strength must lie in (0, 1]"),
        ("edit", ["--steps", "0"], "steps must lie between 1 and"),
        ("edit", ["--eta", "2"], "eta must lie in [0, 1]"),
        ("edit", ["--guidance", "inf"], "--guidance must be a number"),
        ("edit", ["--label", "a"], "this checkpoint has no classes"),
        ("edit", ["--negative", "red"], "give a prompt too"),
        ("edit", ["--source", "red"], "which only --invert uses; add --invert"),
        ("edit", ["--invert", "--eta", "1"], "leave one of them out"),
        ("edit", ["--size", "18"], "--size must be a multiple of 4 up to 128 for this model, got 18"),
        ("edit", ["--size", "0"], "--size must be a multiple of 4"),
        ("edit", ["--size", "132"], "--size must be a multiple of 4"),
        ("edit", ["--device", "tpu"], "--device must be auto, cpu or cuda, got 'tpu'"),
        ("edit", ["--out", "x.jpg"], "results are written as .png"),
        ("edit", ["--out", "a.png", "--force"], "which is read and never overwritten"),
        ("edit", ["--out", "taken.png"], "taken.png: exists already"),
        ("inpaint", [], "say what to fill by either --mask FILE"),
        ("inpaint", ["--box", "0,0,1,1", "--mask", "m.png"], "say what to fill by either --mask FILE"),
        ("inpaint", ["--box", "0,0,1"], "--box takes X0,Y0,X1,Y1 with X0 < X1 ≤ 20 and Y0 < Y1 ≤ 18"),
        ("inpaint", ["--box", "3,3,3,5"], "got 3,3,3,5"),
        ("inpaint", ["--box", "0,0,21,5"], "got 0,0,21,5"),
        ("inpaint", ["--box", "-1,0,2,5"], "got -1,0,2,5"),
        ("inpaint", ["--box", "a,b"], "'a,b' is not a list of whole numbers"),
        ("inpaint", ["--box", "0,0,20,18"], "--box marks all of the picture; use edit for that"),
        ("inpaint", ["--mask", "black.png"], "black.png marks nothing"),
        ("inpaint", ["--mask", "m.png"], "the mask is 5×5, the picture 20×18"),
        ("inpaint", ["--mask", "absent.png"], "absent.png: no such file"),
        ("inpaint", ["--mask", "black.png", "--out", "black.png", "--force"], "never overwritten"),
        ("inpaint", ["--box", "0,0,1,1", "--jumps", "-1"], "jumps must be a whole number, 0 or more, got -1"),
        ("inpaint", ["--box", "0,0,19,18"], "next to nothing is known around the hole at 16×16"),
        ("inpaint", ["--box", "1,1,19,17"], "next to nothing is known around the hole at 16×16"),
        ("upscale", ["--factor", "3"], "--factor must be 2 or 4, got 3"),
        ("upscale", ["--draws", "0"], "--draws must be 1 or more, got 0"),
        ("upscale", ["--steps", "0"], "steps must lie between 1 and"),
        ("denoise", [], "--sigma"),
        ("denoise", ["--sigma", "0"], "--sigma must be a positive number"),
        ("denoise", ["--sigma", "nan"], "--sigma must be a positive number"),
        ("denoise", ["--sigma", "9", "--draws", "0"], "--draws must be 1 or more, got 0"),
    ],
)
def test_what_cannot_be_is_refused_and_leaves_nothing(refused, tmp_path, monkeypatch, command, words, message):
    monkeypatch.chdir(tmp_path)
    for name, array in {
        "a.png": noise(18, 20, 3), "taken.png": noise(2, 2), "m.png": noise(5, 5), "black.png": noise(18, 20) // 4,
    }.items():  # fmt: skip
        saved(tmp_path / name, array)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    assert message in refused(command, "a.png", *words)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_what_a_model_does_not_take_is_said(refused, tmp_path):
    original = saved(tmp_path / "a.png", noise(16, 16))
    assert "this checkpoint takes no text" in refused("edit", original, "--prompt", "red", model="grey-classes")
    assert "not a class" in refused("edit", original, "--label", "zebra", model="grey-classes")
    assert "not a class" in refused("edit", original, "--invert", "--source", "zebra", model="grey-classes")
    assert "takes no text" in refused("edit", original, "--invert", "--source", "red", model="grey-pixels")
    assert "noise_level must lie between" in refused("denoise", original, "--sigma", 1e9, model="grey-pixels")
    assert refused("edit", tmp_path) == f"ldm-edu: {tmp_path}: a folder; give one picture file\n"
    (tmp_path / "b.png").write_text("text")
    assert "b.png: not a picture of a known kind" in refused("upscale", tmp_path / "b.png")


def test_a_result_too_large_to_hold_is_refused(refused, tmp_path, monkeypatch):
    monkeypatch.setattr(run_restore, "MOST_PIXELS", 1000)
    original = saved(tmp_path / "a.png", noise(16, 16))
    assert "--factor 2: 32×32 is too large" in refused("upscale", original)
