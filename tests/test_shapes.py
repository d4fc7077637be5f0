"""The shapes: scenes, splits, drawing, captions, and the reader that must be exact."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F

from ldm_edu.data.shapes import (
    BACKGROUNDS,
    COLOURS,
    KINDS,
    PLACES,
    RELATIONS,
    SIZES,
    Factors,
    Scenes,
    captions,
    coverage,
    draw,
    is_held_out,
    label_names,
    label_of,
    leave_unsaid,
    obeys,
    obeys_by_factor,
    parse,
    read,
    sample_scenes,
)
from ldm_edu.data.shapes.drawing import AREAS, palette
from ldm_edu.data.shapes.scenes import name_places, name_relations, name_sizes

FACTORS = [field.name for field in dataclasses.fields(Factors)]


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def scenes_of(n, seed=0, **options):
    return sample_scenes(n, generator=seeded(seed), **options)


def left_or_upper_first(scenes):
    """The same pictures with their objects in the order of the reader."""
    swap = (scenes.relation % 2 == 1) & (scenes.relation >= 0)
    pairs = {
        name: torch.where(swap[:, None], getattr(scenes, name).flip(1), getattr(scenes, name))
        for name in ("what", "colour", "size")
    }
    return dataclasses.replace(scenes, relation=torch.where(swap, scenes.relation - 1, scenes.relation), **pairs)


def agrees(reading, scenes):
    """(B,) bool: the reader vouches for its reading and every factor of it is right."""
    expected = left_or_upper_first(scenes)
    right = reading.ok
    for name in FACTORS:
        same = getattr(reading, name) == getattr(expected, name)
        right = right & (same.all(dim=1) if same.ndim == 2 else same)
    return right


def blurred(pictures, sigma):
    """A Gaussian blur, sigma in pixels; the picture's edge is continued outwards."""
    pixel = torch.arange(pictures.shape[-1] + 24)
    weight = torch.exp(-((pixel[12:-12, None] - pixel) ** 2) / (2 * sigma**2))
    weight = weight / weight.sum(dim=1, keepdim=True)
    return weight @ F.pad(pictures, (12, 12, 12, 12), mode="replicate") @ weight.T


def without_objects(scenes):
    return dataclasses.replace(scenes, what=torch.full_like(scenes.what, -1))


# --- scenes -----------------------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_scenes_and_another_gives_others():
    a, b, c = scenes_of(50, 3), scenes_of(50, 3), scenes_of(50, 4)
    for field in dataclasses.fields(Scenes):
        assert torch.equal(getattr(a, field.name), getattr(b, field.name))
    assert not torch.equal(a.centre, c.centre)


@pytest.mark.parametrize(("objects", "least", "most"), [(1, 0, 0), (2, 1000, 1000), (None, 400, 600)])
def test_number_of_objects(objects, least, most):
    scenes = scenes_of(1000, objects=objects)
    two = scenes.what[:, 1] >= 0
    assert least <= two.sum() <= most
    assert torch.equal(two, scenes.relation >= 0)
    assert torch.equal(two, scenes.place < 0)


def test_every_word_occurs():
    scenes = scenes_of(2000)
    for name, words in [("what", KINDS), ("colour", COLOURS), ("size", SIZES)]:
        assert getattr(scenes, name)[:, 0].unique().tolist() == list(range(len(words)))
    for name, words in [("place", PLACES), ("relation", RELATIONS)]:
        assert getattr(scenes, name).unique().tolist() == list(range(-1, len(words)))
    assert scenes.background.unique().tolist() == list(range(len(BACKGROUNDS)))


def test_objects_are_inside_and_apart_and_their_words_follow_from_the_geometry():
    scenes = scenes_of(3000)
    there = scenes.what >= 0
    low, high = scenes.centre - scenes.radius[..., None], scenes.centre + scenes.radius[..., None]
    assert low[there].min() > 0.01
    assert high[there].max() < 0.99
    two = there[:, 1]
    gap = torch.maximum(low[two, 0] - high[two, 1], low[two, 1] - high[two, 0]).amax(dim=1)
    assert gap.min() > 0.079
    assert torch.equal(name_sizes(scenes.radius)[there], scenes.size[there])
    assert torch.equal(name_places(scenes.centre[~two, 0]), scenes.place[~two])
    assert torch.equal(name_relations(scenes.centre[two]), scenes.relation[two])


def test_between_two_words_there_is_none():
    assert name_sizes(torch.tensor([0.137, 0.167, 0.2, 0.3])).tolist() == [0, -1, 1, -1]
    assert name_places(torch.tensor([[0.27, 0.27], [0.385, 0.27], [0.73, 0.5]])).tolist() == [0, -1, 5]
    first = torch.full((4, 2), 0.5)
    second = first + torch.tensor([[0.3, 0.0], [0.3, 0.29], [0.0, -0.3], [-0.3, 0.1]])
    assert name_relations(torch.stack([first, second], dim=1)).tolist() == [0, -1, 3, 1]


def test_scenes_are_picked_and_moved():
    scenes = scenes_of(10)
    picked = scenes[torch.tensor([7, 2])]
    assert len(picked) == 2
    assert torch.equal(picked.centre, scenes.centre[[7, 2]])
    assert torch.equal(scenes[:4].to("cpu").what, scenes.what[:4])
    with pytest.raises(ValueError, match=r"use \[3 : 4\]"):
        scenes[3]


# --- splits and labels ------------------------------------------------------------------------------------


def pairs_of(scenes):
    there = scenes.what >= 0
    return set(zip(scenes.what[there].tolist(), scenes.colour[there].tolist(), strict=True))


def arrangements_of(scenes):
    scenes = left_or_upper_first(scenes)
    return set(zip(*scenes.what.T.tolist(), (scenes.relation // 2).tolist(), strict=True))


def test_held_out_pairs_and_arrangements_never_occur_in_training():
    train, held = scenes_of(6000, split="train"), scenes_of(6000, 1, split="held_out")
    one, two = held[held.relation < 0], held[held.relation >= 0]
    assert not is_held_out(train).any()
    assert is_held_out(held).all()
    assert len(pairs_of(one)) == 8
    assert len(arrangements_of(two)) == 12
    assert not pairs_of(one) & pairs_of(train)
    assert not arrangements_of(two) & arrangements_of(train[train.relation >= 0])
    assert pairs_of(two) <= pairs_of(train)  # a new arrangement is made of known things


def test_training_still_shows_every_kind_colour_and_relation():
    train = scenes_of(6000, split="train")
    assert len(pairs_of(train)) == 40
    two = train[train.relation >= 0]
    assert len(arrangements_of(two)) == 60
    for slot in range(2):  # every kind is seen in both slots of every relation
        seen = set(zip(two.what[:, slot].tolist(), two.relation.tolist(), strict=True))
        assert len(seen) == len(KINDS) * len(RELATIONS)
    for words, values in [(KINDS, train.what), (COLOURS, train.colour)]:
        assert values[values >= 0].unique().numel() == len(words)


def test_both_wordings_of_an_arrangement_are_held_out():
    said = parse(["a red circle left of a red square", "a red square right of a red circle"])
    other = parse(["a green square left of a green circle", "a green circle above a green square"])
    green = dataclasses.replace(said, colour=torch.ones_like(said.colour))  # red circles are held out anyway
    assert is_held_out(green).tolist() == [True, True]
    assert is_held_out(other).tolist() == [False, False]


def test_labels_count_kinds_and_colours():
    scenes = scenes_of(400, objects=1, n_kinds=4, n_colours=3)
    labels, names = label_of(scenes, n_colours=3), label_names(4, 3)
    assert labels.unique().tolist() == list(range(12))
    for label, caption in zip(labels.tolist(), captions(scenes), strict=True):
        assert f" {names[label]} " in caption
    with pytest.raises(ValueError, match="objects=1"):
        label_of(scenes_of(20, objects=2))
    with pytest.raises(ValueError, match="first 2"):
        label_of(scenes, n_colours=2)


# --- drawing ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [16, 32, 50])
def test_a_drawing_is_float32_in_range_and_does_not_depend_on_its_batch(size):
    scenes = scenes_of(37)
    pictures = draw(scenes, size)
    assert pictures.shape == (37, 3, size, size)
    assert pictures.dtype == torch.float32
    assert pictures.abs().max() <= 1
    assert torch.equal(pictures, draw(scenes, size))
    assert torch.equal(pictures[5:9], draw(scenes[5:9], size))
    assert torch.equal(pictures[36:], draw(scenes[36:], size))


def test_a_small_drawing_is_the_mean_of_a_large_one():
    scenes = scenes_of(200)
    assert (draw(scenes, 32) - F.avg_pool2d(draw(scenes, 128), 4)).abs().mean() < 0.002

    small = coverage(scenes.what, scenes.centre, scenes.radius, 32)
    exact = F.avg_pool2d(coverage(scenes.what, scenes.centre, scenes.radius, 256), 8)
    error, jagged = (small - exact).abs(), ((small > 0.5).float() - exact).abs()
    assert error.mean() < jagged.mean() / 8
    assert error.max() < 0.36  # at a tip of a star, where the distance is that of one edge only
    for kind in ("circle", "square"):
        assert error[scenes.what == KINDS.index(kind)].max() < 0.25


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_has_the_stated_area_and_its_centroid_at_the_centre(kind):
    what, centre = torch.tensor([KINDS.index(kind)]), torch.tensor([[0.4, 0.55]])
    covered = coverage(what, centre, torch.tensor([0.3]), 512)[0]
    assert covered.mean().item() == pytest.approx(AREAS[kind] * 0.3**2, rel=2e-3)
    pixel = (torch.arange(512) + 0.5) / 512
    assert (covered.sum(0) @ pixel / covered.sum()).item() == pytest.approx(0.4, abs=1e-3)
    assert (covered.sum(1) @ pixel / covered.sum()).item() == pytest.approx(0.55, abs=1e-3)


def test_triangles_and_stars_point_upwards():
    for kind in ("triangle", "star"):
        covered = coverage(torch.tensor([KINDS.index(kind)]), torch.tensor([[0.5, 0.5]]), torch.tensor([0.4]), 64)[0]
        rows = covered.amax(dim=1) > 0.5
        assert rows.nonzero()[0] < 64 - 1 - rows.nonzero()[-1]  # reaches further up than down


def test_colours_are_apart_from_each_other_and_from_the_backgrounds():
    table = torch.cat([palette(COLOURS, "cpu"), palette(BACKGROUNDS, "cpu")])
    apart = torch.cdist(table, table) + 9 * torch.eye(len(table))
    assert apart.min() > 0.6  # navy and black; RGB in [-1, 1]
    assert apart[: len(COLOURS), len(COLOURS) :].min() > 0.85


# --- captions ---------------------------------------------------------------------------------------------


def test_captions_round_trip():
    scenes = scenes_of(500)
    parsed = parse(captions(scenes))
    for name in FACTORS:
        assert torch.equal(getattr(parsed, name), getattr(scenes, name))
    assert captions(parsed) == captions(scenes)


@pytest.mark.parametrize(
    ("free", "full"),
    [
        ("a red circle above a blue square", "a red circle above a blue square"),
        ("Orange ring.", "an orange ring"),
        ("a ring to the left of a small star", "a ring left of a small star"),
        ("A large cross, in the center, on a gray background", "a large cross in the centre on a grey background"),
        ("pink star on the left on a navy background", "a pink star on the left on a navy background"),
        ("a star on a white background", "a star on a white background"),
    ],
)
def test_free_captions_parse_and_leave_things_out(free, full):
    assert captions(parse([free])) == [full]


def test_left_unsaid_are_sizes_place_and_background_and_nothing_else():
    scenes = sample_scenes(400, generator=torch.Generator().manual_seed(0))
    quiet = leave_unsaid(scenes, 0.5, generator=torch.Generator().manual_seed(1))
    for name in ("what", "colour", "relation"):
        assert torch.equal(getattr(quiet, name), getattr(scenes, name))
    for name in ("size", "place", "background"):
        now, before = getattr(quiet, name), getattr(scenes, name)
        assert ((now == before) | (now == -1)).all()
        assert 0.35 < (now == -1)[before >= 0].float().mean() < 0.65
    two = scenes.relation >= 0
    assert torch.equal(quiet.size[two, 0] == -1, quiet.size[two, 1] == -1)
    with pytest.raises(ValueError, match=r"share is 1\.5"):
        leave_unsaid(scenes, 1.5, generator=torch.Generator())


def test_captions_that_say_nothing_known_are_refused():
    with pytest.raises(ValueError, match=r"unknown in 'a red dragon': dragon.*kinds circle.*colours red.*places"):
        parse(["a red dragon"])
    with pytest.raises(ValueError, match="no caption of ours: expected"):
        parse(["a red circle above"])
    with pytest.raises(ValueError, match="no caption of ours"):
        parse(["a red circle above a ring in the centre"])  # places are for single objects
    with pytest.raises(ValueError, match="expected a list"):
        parse("a red circle")


# --- the reader -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [32, 48, 64])
def test_every_clean_scene_is_read_exactly(size):
    scenes = scenes_of(500, size)
    reading = read(draw(scenes, size))
    assert agrees(reading, scenes).all()
    swap = (scenes.relation % 2 == 1)[:, None] & (scenes.relation >= 0)[:, None]
    radius = torch.where(swap, scenes.radius.flip(1), scenes.radius)
    centre = torch.where(swap[..., None], scenes.centre.flip(1), scenes.centre)
    assert (reading.radius - radius).abs().max() < 0.15 / size  # pixels
    assert (reading.centre - centre).abs().max() < 0.2 / size


@pytest.mark.parametrize(("size", "n"), [(32, 500), (64, 200)])
@pytest.mark.parametrize("spoil", ["noise 0.1", "noise 0.15", "blur", "blur and noise"])
def test_noise_and_a_mild_blur_do_no_harm(size, n, spoil):
    scenes = scenes_of(n, 7)
    pictures = draw(scenes, size)
    if "blur" in spoil:
        pictures = blurred(pictures, 0.6 * size / 32)
    if "noise" in spoil:
        deviation = 0.15 if spoil == "noise 0.15" else 0.1
        pictures = pictures + deviation * torch.randn(pictures.shape, generator=seeded(8))
    assert agrees(read(pictures), scenes).float().mean() >= 0.99


@pytest.mark.parametrize("size", [32, 64])
def test_pictures_of_nothing_are_refused(size):
    scenes = scenes_of(64)
    shape = (64, 3, size, size)
    assert not read(draw(without_objects(scenes), size)).ok.any()
    assert not read(torch.randn(shape, generator=seeded())).ok.any()
    assert not read(0.4 * torch.randn(shape, generator=seeded())).ok.any()
    assert not read(2 * torch.rand(shape, generator=seeded()) - 1).ok.any()
    broken = draw(scenes, size)
    broken[:, 1, 3, 4] = torch.nan
    assert not read(broken).ok.any()


@pytest.mark.parametrize(("size", "n"), [(32, 300), (64, 100)])
def test_half_formed_pictures_are_refused(size, n):
    scenes, others = scenes_of(n, 1, objects=1), scenes_of(n, 2)
    pictures, blank = draw(scenes, size), draw(without_objects(scenes), size)
    left = (torch.arange(size) + 0.5) / size < scenes.centre[:, 0, 0, None, None, None]
    another_kind = dataclasses.replace(scenes, what=torch.where(scenes.what >= 0, (scenes.what + 1) % 6, -1))
    another_colour = dataclasses.replace(scenes, colour=torch.where(scenes.colour >= 0, (scenes.colour + 1) % 8, -1))

    def refused(spoilt):
        return 1 - read(spoilt).ok.float().mean().item()

    assert refused((pictures + draw(others, size)) / 2) >= 0.99  # two scenes at once
    assert refused((pictures + blank) / 2) >= 0.99  # half faded
    assert refused(torch.where(left, pictures, blank)) >= 0.98  # the left half only
    assert refused((pictures + draw(another_kind, size)) / 2) >= 0.98  # between two kinds
    assert refused(torch.where(left, pictures, draw(another_colour, size))) >= 0.97  # of two colours
    assert refused(blurred(pictures, 2 * size / 32)) >= 0.9
    assert refused(blank) == 1
    assert refused(pictures) == 0


def test_a_third_object_is_refused():
    scenes = scenes_of(200, objects=2)
    third = torch.tensor([0.5, 0.5]).expand(200, 2)
    free = ((scenes.centre - 0.5).abs().amax(dim=2) > scenes.radius + 0.16).all(dim=1)
    covered = coverage(torch.zeros(200, dtype=torch.int64), third, torch.full((200,), 0.12), 32)[:, None]
    pictures = draw(scenes, 32)
    red = palette(COLOURS, "cpu")[0][:, None, None]
    reading = read(pictures + covered * (red - pictures))
    assert free.sum() >= 3
    assert not reading.ok[free].any()


def test_the_reading_does_not_depend_on_its_batch():
    pictures = draw(scenes_of(70), 32) + 0.1 * torch.randn(70, 3, 32, 32, generator=seeded(3))
    together, alone = read(pictures), read(pictures[66:67])
    for name in [*FACTORS, "ok", "centre", "radius"]:
        assert torch.equal(getattr(together, name)[66:67], getattr(alone, name))


def test_what_lies_between_two_words_is_read_as_none():
    scenes = scenes_of(2, objects=1)
    scenes = dataclasses.replace(scenes, centre=torch.tensor([[[0.385, 0.5], [0, 0]], [[0.5, 0.5], [0, 0]]]))
    scenes = dataclasses.replace(scenes, radius=torch.tensor([[0.2, 0], [0.1675, 0]]))
    reading = read(draw(scenes, 64))
    assert reading.ok.all()
    assert reading.place.tolist() == [-1, 4]
    assert reading.size[:, 0].tolist() == [1, -1]


def test_pictures_that_cannot_be_read_raise():
    with pytest.raises(ValueError, match=r"shape \(2, 1, 32, 32\)"):
        read(torch.zeros(2, 1, 32, 32))
    with pytest.raises(ValueError, match="32 or more"):
        read(torch.zeros(2, 3, 16, 16))
    with pytest.raises(ValueError, match=r"x / 127.5 - 1"):
        read(torch.zeros(2, 3, 32, 32, dtype=torch.uint8))
    with pytest.raises(ValueError, match="no pictures"):
        read(torch.zeros(0, 3, 32, 32))


# --- obeying ----------------------------------------------------------------------------------------------


def picture_of(caption):
    """A picture that the caption fits: a sampled scene with the kinds and colours that it says."""
    asked, scenes = parse([caption]), scenes_of(1000, 5)
    fits = (asked.what[:, 1] >= 0) == (scenes.what[:, 1] >= 0)
    for name in ("size", "place", "relation", "background"):
        same = (getattr(asked, name) < 0) | (getattr(asked, name) == getattr(scenes, name))
        fits &= same.all(dim=1) if same.ndim == 2 else same
    return draw(dataclasses.replace(scenes[fits][:1], what=asked.what, colour=asked.colour), 32)


def test_every_picture_obeys_its_own_caption_and_few_obey_another():
    scenes = scenes_of(300)
    pictures, said = draw(scenes, 32), captions(scenes)
    assert obeys(pictures, said).all()
    assert not obeys(pictures, said[1:] + said[:1]).any()


def test_captions_may_leave_things_out_and_name_the_objects_in_either_order():
    picture = picture_of("a red cross above a blue square")
    for caption in ("a red cross above a blue square", "a blue square below a red cross", "a cross above a square"):
        assert obeys(picture, [caption]).all()
    for caption in ("a red cross", "a blue square above a red cross", "a blue cross above a red square"):
        assert not obeys(picture, [caption]).any()


@pytest.mark.parametrize(
    ("caption", "broken"),
    [
        ("a red cross above a blue square", []),
        ("a red cross below a blue square", ["relation"]),
        ("a red cross left of a blue square", ["relation"]),
        ("a red star above a blue square", ["what"]),
        ("a green cross above a blue square", ["colour"]),
    ],
)
def test_the_factors_say_what_is_wrong(caption, broken):
    held = obeys_by_factor(picture_of("a red cross above a blue square"), [caption])
    assert list(held) == ["objects", "what", "colour", "size", "place", "relation", "background"]
    assert [name for name, value in held.items() if not value] == broken


def test_place_size_background_and_number_are_checked():
    picture = picture_of("a large pink ring at the top on a black background")
    held = obeys_by_factor(picture, ["a small pink ring in the centre on a white background"])
    assert [name for name, value in held.items() if not value] == ["size", "place", "background"]
    held = obeys_by_factor(picture, ["a pink ring left of a pink ring"])
    assert [name for name, value in held.items() if not value] == ["objects", "what", "colour", "relation"]


def test_what_cannot_be_read_obeys_nothing():
    held = obeys_by_factor(torch.randn(2, 3, 32, 32, generator=seeded()), ["a ring", "a star"])
    assert not torch.stack(list(held.values())).any()


def test_as_many_captions_as_pictures():
    with pytest.raises(ValueError, match="got 2 pictures and 1 captions"):
        obeys(torch.zeros(2, 3, 32, 32), ["a ring"])


# --- errors -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n", "options", "message"),
    [
        (0, {}, "n must be a whole number, 1 or more, got 0"),
        (5, {"objects": 3}, "objects is 3, expected 1, 2 or None"),
        (5, {"split": "test"}, "split is 'test', expected one of all, train, held_out"),
        (5, {"n_kinds": 7}, "n_kinds is 7, expected 1 to 6"),
        (5, {"n_colours": 0}, "n_colours is 0, expected 1 to 8"),
        (5, {"objects": 1, "split": "train", "n_kinds": 1, "n_colours": 1}, "no pair of kind and colour"),
        (5, {"objects": 2, "split": "held_out", "n_kinds": 1}, "no arrangement"),
        (5, {"objects": 2, "split": "train", "n_kinds": 1, "n_colours": 1}, "kind without colours"),
    ],
)
def test_bad_requests_for_scenes_raise(n, options, message):
    with pytest.raises(ValueError, match=message):
        scenes_of(n, **options)


def test_too_small_a_drawing_raises():
    with pytest.raises(ValueError, match="size is 8, expected 16 or more"):
        draw(scenes_of(1), 8)


@pytest.mark.gpu
def test_everything_runs_on_a_gpu():
    scenes = sample_scenes(100, generator=torch.Generator("cuda").manual_seed(0))
    pictures = draw(scenes, 32)
    assert pictures.device.type == "cuda"
    assert (pictures.cpu() - draw(scenes.to("cpu"), 32)).abs().max() < 1e-4
    assert obeys(pictures, captions(scenes)).all()
