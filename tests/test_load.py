"""Picture sets by name."""

import pytest
import torch
from PIL import Image
from tiny import picture_folder

from ldm_edu.data.digits import digits
from ldm_edu.data.load import load_pictures, scenes
from ldm_edu.data.pictures import to_float
from ldm_edu.data.shapes import is_held_out, obeys, parse


def test_names_and_folders_are_told_apart(tmp_path):
    assert torch.equal(load_pictures("digits", 8).pixels, digits(8).pixels)
    assert len(load_pictures("digits", 8, train=False)) == 297
    folder = picture_folder(tmp_path, 20)
    assert len(load_pictures(str(folder), 8)) == 18
    with pytest.raises(ValueError, match=r"zebra: neither a picture set \(digits, shapes.* nor a folder"):
        load_pictures("zebra", 8)


def test_a_folder_keeps_every_tenth_picture_for_itself(tmp_path):
    for i in range(25):
        Image.new("L", (8, 8), i).save(tmp_path / f"{i:02d}.png")
    train, held_out = (load_pictures(str(tmp_path), 8, train=t).pixels[:, 0, 0, 0].tolist() for t in (True, False))
    assert held_out == [9, 19]
    assert sorted(train + held_out) == list(range(25))


def test_a_folder_too_small_to_keep_any_is_refused(tmp_path):
    with pytest.raises(ValueError, match="pictures there: 9; 10 or more are needed"):
        load_pictures(str(picture_folder(tmp_path, 9)), 8)


def test_a_limit_reaches_every_class_of_a_sorted_folder(tmp_path):
    for name in ("a", "b", "c"):
        picture_folder(tmp_path / name, 20)
    pictures = load_pictures(str(tmp_path), 8, limit=9)
    assert len(pictures) == 9
    assert pictures.labels.bincount().tolist() == [3, 3, 3]
    assert len(load_pictures(str(tmp_path), 8, limit=1000)) == 54


def test_shapes_have_labels_and_two_parts():
    train, held_out = load_pictures("shapes", 16, limit=50), load_pictures("shapes", 16, train=False, limit=50)
    for part in (train, held_out):
        assert part.pixels.shape == (50, 3, 16, 16)
        assert len(part.classes) > part.labels.max()
    assert not torch.equal(train.pixels, held_out.pixels)


def test_scenes_have_captions_that_their_pictures_obey():
    train, held_out = scenes(64, count=200), load_pictures("scenes", 64, train=False)
    for part in (train, held_out):
        assert part.labels is None
        assert obeys(to_float(part.pixels[:200]), list(part.captions[:200])).float().mean() >= 0.99
    assert (200, 1000) == (len(train), len(held_out))
    assert is_held_out(parse(list(held_out.captions))).all()
    assert not is_held_out(parse(list(scenes(32, count=500, unsaid=0.0).captions))).any()


def test_captions_of_scenes_leave_out_as_much_as_asked():
    def said(unsaid):
        factors = parse(list(scenes(32, count=1000, unsaid=unsaid).captions))
        return [(v >= 0).float().mean().item() for v in (factors.size[:, 0], factors.background, factors.colour[:, 0])]

    assert said(0.0) == [1, 1, 1]
    assert said(1.0) == [0, 0, 1]
    assert said(0.3) == pytest.approx([0.7, 0.7, 1], abs=0.06)
