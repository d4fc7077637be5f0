"""A text as a sequence of vectors: words to numbers, then a small transformer. Derived in notebook 08.

The encoder is trained together with the U-Net, as in Rombach et al. 2022 (arXiv 2112.10752), §4.3.1.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ldm_edu.kinds import check_whole
from ldm_edu.nets.attention import TransformerBlock

NOTHING, UNKNOWN = 0, 1  # what stands for "no word here" and for a word outside the vocabulary
FIRST_WORD = 2


@dataclass(frozen=True)
class TextConfig:
    """The size of a text encoder.

    Args:
        words: the vocabulary, lower case; it comes from the captions.
        length: words of a text; a shorter one is filled up, a longer one is cut.
        width: channels of each word's code.
        depth: transformer blocks.
        heads: heads of each attention.
    Raises:
        ValueError: a number below 1, heads that do not divide width, a word twice, or what is no single word in lower
            case, which no text would ever have.
    """

    words: tuple[str, ...] = ()
    length: int = 24
    width: int = 64
    depth: int = 2
    heads: int = 4

    def __post_init__(self):
        if isinstance(self.words, str):
            raise ValueError(f"words must be a list of words, got one string: {self.words!r}")
        object.__setattr__(self, "words", tuple(self.words))
        check_whole(1, length=self.length, width=self.width, heads=self.heads)
        check_whole(0, depth=self.depth)
        if self.width % self.heads:
            raise ValueError(f"width must be a multiple of heads, got {self.width} and {self.heads}")
        for word in self.words:
            if not isinstance(word, str) or split_words(word) != [word]:
                raise ValueError(f"words must each be one word in lower case, as vocabulary gives them, got {word!r}")
        if twice := [word for word, count in Counter(self.words).items() if count > 1]:
            raise ValueError(f"the vocabulary has a word twice: {twice[0]!r}")


def split_words(text: str) -> list[str]:
    """A text's words and punctuation marks, in lower case.

    Raises:
        ValueError: no text.
    """
    if not isinstance(text, str):
        raise ValueError(f"a text must be a string, got {text!r}")
    return re.findall(r"\w+|[^\w\s]", text.lower())


def vocabulary(texts: Iterable[str], least: int = 1) -> tuple[str, ...]:
    """The words that texts use at least so often, the most frequent first.

    Args:
        texts: the captions of the training set.
        least: a word that is rarer stays outside, so that training meets unknown words too.
    Returns:
        the words, each once; none where no text has any.
    Raises:
        ValueError: one string instead of several, or something that is no text.
    """
    if isinstance(texts, str):
        raise ValueError(f"got one string, expected a list of texts: use [{texts!r}]")
    count = Counter(word for text in texts for word in split_words(text))
    return tuple(sorted((w for w, n in count.items() if n >= least), key=lambda w: (-count[w], w)))


def tokenize(texts: Sequence[str], config: TextConfig) -> Tensor:
    """Texts to numbers (B, length) int64: 0 no word, 1 an unknown word, then the vocabulary in order.

    An empty text is all 0: it means "no text". A text longer than config.length is cut.

    Raises:
        ValueError: one string instead of a list of them, or something that is no text.
    """
    if isinstance(texts, str):
        raise ValueError(f"got one string, expected a list of texts: use [{texts!r}]")
    number = {word: i for i, word in enumerate(config.words, FIRST_WORD)}
    tokens = torch.full((len(texts), config.length), NOTHING)
    for row, text in zip(tokens, texts, strict=True):
        known = [number.get(word, UNKNOWN) for word in split_words(text)[: config.length]]
        row[: len(known)] = torch.tensor(known, dtype=torch.int64)
    return tokens


def unread(text: str, config: TextConfig) -> tuple[list[str], list[str]]:
    """What the encoder cannot see of a text: the words outside its vocabulary, and the words past its length."""
    words = split_words(text)
    known = set(config.words)
    return [w for w in words[: config.length] if w not in known], words[config.length :]


class TextEncoder(nn.Module):
    """Tokens to context:  LayerNorm(blocks(E[token] + P[place])), blocks of self-attention and feed-forward.

    Every place attends to every other one, the empty ones too, so that all texts have one shape.

    Source: Vaswani et al. 2017 (arXiv 1706.03762), §3; Rombach et al. 2022 (arXiv 2112.10752), §4.3.1.

    Args:
        config: the size and the vocabulary.
    """

    def __init__(self, config: TextConfig):
        super().__init__()
        self.config = config
        self.token = nn.Embedding(FIRST_WORD + len(config.words), config.width)
        self.place = nn.Parameter(torch.randn(config.length, config.width))
        self.blocks = nn.ModuleList(TransformerBlock(config.width, config.heads, None) for _ in range(config.depth))
        self.norm = nn.LayerNorm(config.width)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, length) int64 to (B, length, width).

        Raises:
            ValueError: another shape or type.
        """
        if tokens.ndim != 2 or tokens.shape[1] != self.config.length or tokens.dtype != torch.int64:
            raise ValueError(
                f"tokens are {tokens.dtype} of shape {tuple(tokens.shape)}; expected torch.int64 of shape "
                f"(B, {self.config.length}), as tokenize gives them."
            )
        x = self.token(tokens) + self.place
        for block in self.blocks:
            x = block(x, None)
        return self.norm(x)
