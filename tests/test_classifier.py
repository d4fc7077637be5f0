"""The classifier that judges samples knows real pictures."""

import pytest
import torch
from tiny import blobs

from ldm_edu.classifier import Classifier, in_batches, train_classifier
from ldm_edu.data.digits import digits
from ldm_edu.data.pictures import to_float


def accuracy(net, pictures):
    with torch.no_grad():
        answer = in_batches(net, to_float(pictures.pixels)).argmax(1)
    return (answer == pictures.labels).float().mean().item()


def test_it_learns_left_from_right_and_repeats_itself():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    net = train_classifier(blobs(100), steps=60, batch=32)
    assert torch.equal(torch.get_rng_state(), before)
    assert not net.training
    assert accuracy(net, blobs(40)) == 1.0
    again = train_classifier(blobs(100), steps=60, batch=32)
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), again.parameters(), strict=True))


@pytest.mark.slow
def test_it_knows_held_out_digits():
    net = train_classifier(digits(32), seed=1)
    assert accuracy(net, digits(32, train=False)) >= 0.97


def test_features_and_logits_have_their_shapes():
    net = Classifier(3, 7)
    pictures = torch.randn(2, 3, 16, 16)
    assert net(pictures).shape == (2, 7)
    assert net.features(pictures).shape == (2, net.num_features)


def test_pictures_without_labels_are_refused():
    with pytest.raises(ValueError, match="needs labelled pictures"):
        train_classifier(blobs(classes=0))


def test_in_batches_is_the_function_itself():
    x = torch.arange(7.0)
    assert torch.equal(in_batches(lambda p: 2 * p, x, batch=3), 2 * x)


def test_large_pictures_come_in_smaller_batches():
    seen = []
    pictures = torch.zeros(1, 1, 1, 1).expand(20, 1, 512, 512)
    in_batches(lambda part: seen.append(len(part)) or part[:, :, 0, 0], pictures)
    assert seen == [7, 7, 6]
