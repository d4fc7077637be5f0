"""Words to numbers, and the transformer over them."""

import pytest
import torch

from ldm_edu.nets.text import NOTHING, UNKNOWN, TextConfig, TextEncoder, split_words, tokenize, unread, vocabulary

WORDS = ("a", "red", "circle", ",")
CONFIG = TextConfig(WORDS, length=5, width=8, depth=2, heads=2)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("A red circle", ["a", "red", "circle"]),
        ("  red,CIRCLE! ", ["red", ",", "circle", "!"]),
        ("café 24", ["café", "24"]),
        ("红色 圆", ["红色", "圆"]),
        ("", []),
        (" \n\t", []),
    ],
)
def test_texts_are_split_into_words_and_marks(text, words):
    assert split_words(text) == words


def test_the_vocabulary_starts_with_the_most_frequent_words_and_leaves_rare_ones_out():
    texts = ["b a", "a c", "A b d"]
    assert vocabulary(texts) == ("a", "b", "c", "d")
    assert vocabulary(texts, least=2) == ("a", "b")
    assert vocabulary([]) == ()


def test_tokens_number_the_words():
    tokens = tokenize(["a red circle", "", "RED blue", "a a a a a a a"], CONFIG)
    assert tokens.dtype == torch.int64
    assert tokens.tolist() == [[2, 3, 4, 0, 0], [0] * 5, [3, UNKNOWN, 0, 0, 0], [2] * 5]
    assert tokenize([], CONFIG).shape == (0, 5)


def test_one_string_is_refused():
    for call in (lambda text: tokenize(text, CONFIG), vocabulary):
        with pytest.raises(ValueError, match=r"one string, expected a list of texts: use \['a red circle'\]"):
            call("a red circle")


@pytest.mark.parametrize("text", [None, 3, ["a"], b"a"])
def test_what_is_no_text_is_refused(text):
    for call in (lambda: tokenize(["a", text], CONFIG), lambda: vocabulary([text]), lambda: unread(text, CONFIG)):
        with pytest.raises(ValueError, match="a text must be a string, got"):
            call()


def test_what_is_not_read_is_told():
    assert unread("a red circle", CONFIG) == ([], [])
    assert unread("a blue circle , red a circle", CONFIG) == (["blue"], ["a", "circle"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"length": 0}, "length must be a whole number, 1 or more, got 0"),
        ({"heads": 0}, "heads must be a whole number, 1 or more"),
        ({"width": 10, "heads": 4}, "multiple of heads, got 10 and 4"),
        ({"depth": -1}, "depth must be a whole number, 0 or more"),
        ({"words": ("a", "b", "a")}, "a word twice: 'a'"),
        ({"words": ("a", "")}, "one word in lower case, as vocabulary gives them, got ''"),
        ({"words": ("a", "Red")}, "got 'Red'"),
        ({"words": ("a red",)}, "got 'a red'"),
        ({"words": ("a", 3)}, "got 3"),
        ({"words": (None, ["a"])}, "got None"),
        ({"words": "red"}, "words must be a list of words, got one string: 'red'"),
    ],
)
def test_a_size_that_does_not_fit_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        TextConfig(**change)


def encoder():
    torch.manual_seed(0)
    return TextEncoder(CONFIG)


def test_every_word_and_its_place_count():
    net = encoder()
    texts = ["a red circle", "red a circle", "a red circle a", ""]
    context = net(tokenize(texts, CONFIG))
    assert context.shape == (4, 5, 8)
    for i in range(4):
        for j in range(i):
            assert (context[i] - context[j]).abs().max() > 1e-3
    assert net.config == CONFIG


def test_each_text_is_encoded_by_itself():
    net = encoder()
    tokens = tokenize(["a red circle", "red", "circle"], CONFIG)
    torch.testing.assert_close(net(tokens)[1:2], net(tokens[1:2]))


def test_every_place_sees_every_other():
    net = encoder()
    one, other = net(tokenize(["a red", "a circle"], CONFIG))
    assert ((one - other).abs().amax(dim=1) > 1e-4).all()


def test_all_weights_get_a_gradient():
    net = encoder()
    (net(tokenize(["a red circle , blue"], CONFIG)) * torch.randn(1, 5, 8)).sum().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in net.parameters())


@pytest.mark.parametrize("tokens", [torch.zeros(2, 4, dtype=torch.int64), torch.zeros(2, 5), torch.zeros(5).long()])
def test_other_shapes_and_types_are_refused(tokens):
    with pytest.raises(ValueError, match=r"expected torch.int64 of shape \(B, 5\)"):
        encoder()(tokens)


def test_no_text_is_the_number_that_training_drops_to():
    assert (tokenize([""], CONFIG) == NOTHING).all()
