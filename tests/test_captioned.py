"""Pictures with captions from files of arrays and from folders, and what is wrong with such files."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import TINY

from ldm_edu.data.load import credit_for, load_pictures
from ldm_edu.fit import FitConfig
from ldm_edu.latent import LatentDiffusion
from ldm_edu.nets.text import UNKNOWN, TextConfig, split_words, tokenize
from ldm_edu.start import model_config_for
from ldm_edu.train import train

EMOJI = Path(__file__).parents[2] / "shared" / "data" / "emoji64_permissive.npz"
NAMES = [f"{size} {thing}" for thing in ("cat", "dog", "cup", "key", "sun") for size in ("small", "big", "red", "old")]
RNG = np.random.default_rng(0)
ARRAYS = {
    "images": RNG.integers(0, 256, (40, 8, 8, 3), dtype=np.uint8),
    "captions": np.array(NAMES * 2),
    "styles": np.array(["noto"] * 20 + ["blob"] * 20),
}


@pytest.fixture
def npz(tmp_path):
    def write(**changes):
        path = tmp_path / "set.npz"
        np.savez(path, **{k: v for k, v in (ARRAYS | changes).items() if v is not None})
        return str(path)

    return write


def both(name, size=8, **options):
    return tuple(load_pictures(name, size, train=t, **options) for t in (True, False))


def plain(part):
    return {c.rpartition(",")[0] for c in part.captions}


def test_every_tenth_caption_is_held_out_with_all_its_pictures(npz):
    training, held_out = both(npz())
    assert (len(training), len(held_out)) == (36, 4)
    assert plain(training) | plain(held_out) == set(NAMES)
    assert len(plain(held_out)) == 2
    assert not plain(training) & plain(held_out)
    again = load_pictures(npz(), 8, train=False)
    assert again.captions == held_out.captions
    assert torch.equal(again.pixels, held_out.pixels)


def test_each_picture_keeps_its_caption_and_its_style(npz):
    for part in both(npz()):
        for pixels, caption in zip(part.pixels, part.captions, strict=True):
            name, _, style = caption.rpartition(", ")
            i = NAMES.index(name) + (20 if style == "blob" else 0)
            assert np.array_equal(pixels.permute(1, 2, 0).numpy(), ARRAYS["images"][i])


def test_captions_without_styles_stay_as_they_are(npz):
    training, held_out = both(npz(styles=None))
    assert set(training.captions) | set(held_out.captions) == set(NAMES)


def test_skin_tones_and_flags_are_left_out(npz):
    skin, flag = np.arange(40) % 20 == 3, np.arange(40) == 24
    training, held_out = both(npz(skin=skin, flag=flag))
    assert len(training) + len(held_out) == 37
    assert NAMES[3] not in plain(training) | plain(held_out)
    assert f"{NAMES[4]}, blob" not in training.captions + held_out.captions


def test_groups_become_labels_of_one_numbering_in_both_parts(npz):
    groups = np.array(["animals", "animals", "", "things", "things"])[np.arange(40) % 20 // 4]
    for part in both(npz(groups=groups)):
        assert part.classes == ("other", "animals", "things")
        for label, caption in zip(part.labels.tolist(), part.captions, strict=True):
            thing = caption.split()[1].rstrip(",")
            assert part.classes[label] == {"cat": "animals", "dog": "animals", "cup": "other"}.get(thing, "things")
    assert model_config_for(dataclasses.replace(TINY, size=8), part).classes == ()  # the captions are what it is told


def test_quotes_and_space_are_those_of_a_keyboard(npz):
    names = [f"{n}  o’clock “here” " for n in NAMES]
    training, _ = both(npz(captions=np.array(names * 2)))
    assert training.captions[0].endswith(' o\'clock "here", noto')


@pytest.mark.parametrize(
    ("shape", "channels"), [((8, 8), 1), ((8, 8, 1), 1), ((8, 8, 3), 3), ((8, 8, 4), 3), ((16, 20, 3), 3)]
)
def test_any_size_and_any_channels_come_in(npz, shape, channels):
    images = np.full((40, *shape), 200, np.uint8)
    if shape[-1] == 4:
        images[..., :3], images[..., 3] = 100, 51
    part = load_pictures(npz(images=images), 8)
    assert part.pixels.shape == (36, channels, 8, 8)
    grey = 100 * 0.2 + 255 * 0.8 if shape[-1] == 4 else 200
    assert (part.pixels.float() - grey).abs().max() <= 1


def test_other_arrays_are_not_read(npz):
    assert len(load_pictures(npz(notes=np.array([{"a": 1}], dtype=object)), 8)) == 36


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": None}, "has no array images, the pictures; it has captions, styles"),
        ({"captions": None}, "has no array captions, a caption for each picture; it has images, styles"),
        ({"images": ARRAYS["images"].astype(np.float32)}, r"uint8, got float32 \(40, 8, 8, 3\)"),
        ({"images": ARRAYS["images"][..., :2]}, r"must be \(N, H, W, 1, 3 or 4\) uint8, got uint8 \(40, 8, 8, 2\)"),
        ({"images": ARRAYS["images"][:, :0]}, r"got uint8 \(40, 0, 8, 3\)"),
        ({"images": ARRAYS["images"][0, 0]}, r"got uint8 \(8, 3\)"),
        ({"captions": ARRAYS["captions"][:5]}, r"captions must be \(40,\) text, one for each picture, got <U9 \(5,\)"),
        ({"captions": np.arange(40)}, r"captions must be \(40,\) text"),
        ({"captions": ARRAYS["captions"].astype(object)}, r"cannot be read as arrays \(Object arrays cannot be loaded"),
        ({"styles": ARRAYS["styles"][:5]}, r"styles must be \(40,\) text"),
        ({"skin": np.zeros(40)}, r"skin must be \(40,\) bool"),
        ({"captions": np.array([*NAMES, " ", *NAMES[1:]])}, "picture 20 has an empty caption"),
        ({"captions": np.array(NAMES[:9] * 4 + NAMES[:4])}, "different captions there: 9; 10 or more are needed"),
    ],
)
def test_a_file_with_wrong_arrays_is_one_sentence(npz, changes, message):
    with pytest.raises(ValueError, match=rf"set\.npz: .*{message}") as error:
        load_pictures(npz(**changes), 8)
    assert "\n" not in str(error.value)


def test_a_damaged_file_is_named(npz, tmp_path):
    whole = Path(npz()).read_bytes()
    middle = len(whole) // 2
    damaged = {
        "empty": b"",
        "text": b"hello",
        "cut": whole[:middle],
        "flipped": whole[:2000] + bytes([whole[2000] ^ 255]) + whole[2001:],
        "pickle": b"\x80\x04}\x94.",
    }
    np.save(tmp_path / "one.npy", ARRAYS["images"])
    damaged["one array"] = (tmp_path / "one.npy").read_bytes()
    for name, data in damaged.items():
        (tmp_path / f"{name}.npz").write_bytes(data)
        with pytest.raises(ValueError, match=rf"{name}\.npz: cannot be read as arrays .*numpy\.savez") as error:
            load_pictures(str(tmp_path / f"{name}.npz"), 8)
        assert "\n" not in str(error.value)


def test_a_file_is_found_here_or_under_root(npz, tmp_path, monkeypatch):
    path = Path(npz())
    monkeypatch.chdir(tmp_path.parent)
    assert len(load_pictures(path.name, 8, root=tmp_path)) == 36
    with pytest.raises(ValueError, match=r"absent\.npz: no such file, neither here nor under data; say with --root"):
        load_pictures("absent.npz", 8)
    monkeypatch.chdir(tmp_path)
    assert len(load_pictures(path.name, 8)) == 36


def captioned_folder(path, lines=None, head="file_name,text"):
    for i, name in enumerate(NAMES):
        (path / name.split()[1]).mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (10, 8), (i, 0, 0)).save(path / name.split()[1] / f"{i}.png")
    if lines is None:
        lines = [f'{name.split()[1]}/{i}.png,"{name}, whole"' for i, name in enumerate(NAMES)]
    (path / "metadata.csv").write_text("\n".join([head, *lines]) + "\n", encoding="utf-8-sig")
    return str(path)


def test_a_folder_has_its_captions_in_a_table(tmp_path):
    training, held_out = both(captioned_folder(tmp_path))
    assert (len(training), len(held_out)) == (18, 2)
    for part in (training, held_out):
        assert part.labels is None
        for pixels, caption in zip(part.pixels, part.captions, strict=True):
            assert caption == f"{NAMES[int(pixels[0, 0, 0])]}, whole"


def test_files_beside_the_pictures_do_not_disturb(tmp_path):
    captioned_folder(tmp_path)
    for name in ("LICENSE.txt", ".hidden.png", "Thumbs.db"):
        (tmp_path / name).write_text("x")
    (tmp_path / ".thumbs").mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / ".thumbs" / "0.png")
    assert len(load_pictures(str(tmp_path), 8)) == 18


LINES = [f"{name.split()[1]}/{i}.png,{name}" for i, name in enumerate(NAMES)]


@pytest.mark.parametrize(
    ("lines", "head", "message"),
    [
        (LINES, "file,text", r"metadata\.csv: has no column file_name; its columns: file, text"),
        ([], "", r"metadata\.csv: has no column file_name and text; its columns: none"),
        ([], "file_name,text", r"metadata\.csv: has no lines below its head"),
        (LINES[:-1], "file_name,text", r"19\.png: has no line in metadata\.csv; add one with its caption, or remove"),
        ([*LINES, "cat/99.png,a cat"], "file_name,text", r"metadata\.csv, line 22: cat/99\.png is not in the folder"),
        ([*LINES[:-1], "sun/19.png,"], "file_name,text", r"metadata\.csv, line 21: has no text"),
        ([*LINES[:-1], "sun/19.png"], "file_name,text", r"metadata\.csv, line 21: has no text"),
        ([*LINES[:-1], ",a sun"], "file_name,text", r"metadata\.csv, line 21: has no file_name"),
        ([*LINES, LINES[0]], "file_name,text", r"metadata\.csv, line 22: cat/0\.png stands there twice"),
        (["a\udcff,b"], "file_name,text", r"metadata\.csv: cannot be read as a table .* save it as CSV in UTF-8"),
        (['"cat'], "file_name,text", r"metadata\.csv: cannot be read as a table"),
        ([f"{x.split(',')[0]},a cat" for x in LINES], "file_name,text", "different captions there: 1; 10 or more"),
    ],
)
def test_a_table_that_does_not_fit_its_folder_is_one_sentence(tmp_path, lines, head, message):
    captioned_folder(tmp_path)
    text = "\n".join([head, *lines]) + "\n" if head else ""
    (tmp_path / "metadata.csv").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ValueError, match=message) as error:
        load_pictures(str(tmp_path), 8)
    assert "\n" not in str(error.value)


def test_a_damaged_picture_in_the_table_is_named(tmp_path):
    captioned_folder(tmp_path)
    for path in tmp_path.glob("cat/*.png"):
        path.write_bytes(b"x")
    with pytest.raises(ValueError, match=r"cat/\d\.png: cannot be read as a picture"):
        load_pictures(str(tmp_path), 8)


def test_the_card_says_whose_pictures_they_are():
    assert "CC BY 4.0" in credit_for("digits")
    assert credit_for("digits", "Mine, CC0.") == "Mine, CC0."
    emoji = credit_for("somewhere/emoji64_permissive.npz")
    for words in ("Noto Emoji and Blob Emoji", "Apache-2.0", "Twemoji", "CC BY 4.0"):
        assert words in emoji
    assert (
        credit_for("my/cats.npz")
        == "Pictures of the user's own; whose they are, and under which licence, was not said."
    )
    assert credit_for("my/cats.npz", "Ann, CC0.") == "Ann, CC0."
    assert credit_for("somewhere/digits").startswith("Pictures of the user's own")


def test_rare_words_stay_outside_the_vocabulary(npz):
    part = load_pictures(npz(captions=np.array([f"{n} number{i // 2}" for i, n in enumerate(NAMES * 2)])), 8)
    config = dataclasses.replace(TINY, size=8, text=TextConfig(width=8, heads=2))
    every = model_config_for(config, part).text
    some = model_config_for(dataclasses.replace(config, least_words=3), part).text
    assert {"cat", "noto"} <= set(some.words) < set(every.words)
    assert "number0" in every.words
    assert not [w for w in some.words if w.startswith("number")]
    assert (tokenize([part.captions[0]], some) == UNKNOWN).sum() == 1


def test_a_model_is_trained_from_a_file(npz, tmp_path):
    fit = FitConfig(steps=2, batch=4, warmup=1)
    config = dataclasses.replace(
        TINY, size=8, autoencoder_fit=fit, fit=fit, save_every=2, text=TextConfig(length=6, width=8, depth=1, heads=2)
    )
    train(config, load_pictures(npz(), 8), tmp_path / "run")
    model = LatentDiffusion.load(tmp_path / "run")
    assert model.generate(1, prompts=["small cat, noto"], steps=2).shape == (1, 3, 8, 8)


@pytest.mark.skipif(not EMOJI.is_file(), reason="the emoji file is not there")
def test_the_emoji_come_in_whole():
    training, held_out = both(str(EMOJI), 64)
    captions = plain(training), plain(held_out)
    assert len(training) + len(held_out) == 4434
    assert [len(c) for c in captions] == [1500, 166]
    assert not captions[0] & captions[1]
    assert {c.rpartition(", ")[2] for c in training.captions} == {"noto", "blob", "twemoji"}
    assert training.pixels.shape[1:] == (3, 64, 64)
    assert training.classes == held_out.classes
    text = model_config_for(dataclasses.replace(TINY, size=64, least_words=2), training).text
    assert 1000 < len(text.words) < 1500
    assert max(len(split_words(c)) for c in training.captions + held_out.captions) <= text.length
    known = (tokenize(training.captions, text) != UNKNOWN).all(1)
    assert known.float().mean() > 0.95
    small = load_pictures(str(EMOJI), 32, limit=50)
    assert small.pixels.shape == (50, 3, 32, 32)
