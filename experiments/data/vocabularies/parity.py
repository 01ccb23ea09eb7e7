"""Byte-pair encoding that merges for whom compression is worst (Foroutan et al. 2025, arXiv 2508.04796).

Plain BPE merges the pair that is most frequent in all text together, so languages with little of it are left
in small pieces. Here each merge is the most frequent pair of the one language whose text takes most tokens
for its content; it then serves all. The content of a language is its characters, or, where the same
sentences are given in every language, those sentences: each has one content whatever its script.
"""

import heapq
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any

from experiments.files.extras import install_command

PAD, EOS, UNKNOWN = "<pad>", "</s>", "<unk>"  # ids 0, 1, 2, as in every vocabulary made here
SPECIAL = (PAD, EOS, UNKNOWN)

Pair = tuple[int, int]


def train_parity_bpe(
    texts: Mapping[str, Iterable[str]],
    vocab_size: int,
    parallel: Mapping[str, Iterable[str]] | None = None,
    parity: bool = True,
) -> str:
    """The content of a tokenizer.json of bytes and merges. The same texts give the same one.

    Args:
      texts: by language; what the pairs are counted in.
      vocab_size: with 256 bytes and 3 special tokens.
      parallel: the same sentences in each of these languages, by whose tokens the worst one is chosen; by
        default it is by tokens a character of `texts`.
      parity: False for plain BPE: the most frequent pair of all texts together.

    Raises:
      ValueError: a vocabulary too small or too large for the text; a language without parallel sentences.
    """
    first = len(SPECIAL) + 256
    if vocab_size < first:
        raise ValueError(f"vocab_size={vocab_size}; 256 bytes and {len(SPECIAL)} special tokens need {first}")
    pieces = {language: Counter(_pieces(each)) for language, each in sorted(texts.items())}
    if not parity:
        pieces = {"": sum(pieces.values(), Counter())}
    corpora = {language: _Corpus(counted) for language, counted in pieces.items()}
    judged, contents = (
        corpora,
        {language: sum(len(p) * n for p, n in c.items()) for language, c in pieces.items()},
    )
    if parallel and parity:
        if missing := sorted(corpora.keys() - parallel.keys()):
            raise ValueError(f"parallel sentences: there are none in {', '.join(missing)}")
        sentences = {language: list(parallel[language]) for language in corpora}
        contents = {language: len(each) for language, each in sentences.items()}
        judged = {language: _Corpus(Counter(_pieces(each))) for language, each in sentences.items()}
    merges: list[Pair] = []
    while len(merges) < vocab_size - first:
        cost = {language: judged[language].n_tokens / max(contents[language], 1) for language in corpora}
        pair = None
        for language in sorted(cost, key=lambda name: (-cost[name], name)):  # one may have no pairs left
            if pair := corpora[language].most_frequent():
                break
        if pair is None:
            raise ValueError(
                f"vocab_size={vocab_size}: the text has only {first + len(merges)} different pieces"
            )
        for corpus in {id(each): each for each in (*corpora.values(), *judged.values())}.values():
            corpus.merge(pair, first + len(merges))
        merges.append(pair)
    return _tokenizer_json(merges)


class _Corpus:
    """Pieces of text as sequences of ids with how often each occurs, and the counts of adjacent pairs."""

    def __init__(self, pieces: Mapping[str, int]):
        self.words = [[byte + len(SPECIAL) for byte in piece.encode()] for piece in pieces]
        self.counts = list(pieces.values())
        self.n_tokens = sum(len(word) * n for word, n in zip(self.words, self.counts))
        self.pairs: Counter[Pair] = Counter()
        self.where: defaultdict[Pair, set[int]] = defaultdict(set)
        for i, (word, n) in enumerate(zip(self.words, self.counts)):
            for pair in pairwise(word):
                self.pairs[pair] += n
                self.where[pair].add(i)
        self.queue = [(-n, pair) for pair, n in self.pairs.items()]
        heapq.heapify(self.queue)

    def most_frequent(self) -> Pair | None:
        """The pair that occurs most often, of equals that of the smallest ids; None if there is none left."""
        while self.queue:
            n, pair = self.queue[0]
            if -n == self.pairs.get(pair, 0) and n:
                return pair
            heapq.heappop(self.queue)  # an older count: the present one stands further back
        return None

    def merge(self, pair: Pair, new: int) -> None:
        """Makes one token of every occurrence of a pair, from left to right."""
        changed: Counter[Pair] = Counter()
        for i in sorted(self.where.pop(pair, ())):
            word, n = self.words[i], self.counts[i]
            merged: list[int] = []
            k = 0
            while k < len(word):
                found = k + 1 < len(word) and (word[k], word[k + 1]) == pair
                merged.append(new if found else word[k])
                k += 2 if found else 1
            for old in pairwise(word):
                changed[old] -= n
            for now in pairwise(merged):
                changed[now] += n
                self.where[now].add(i)
            self.words[i] = merged
            self.n_tokens -= (len(word) - len(merged)) * n
        for each, n in changed.items():
            if n:
                self.pairs[each] += n
                if self.pairs[each] > 0:
                    heapq.heappush(self.queue, (-self.pairs[each], each))
                else:
                    del self.pairs[each]


def _pieces(texts: Iterable[str]) -> Iterable[str]:
    """Words with the space before them, numbers, punctuation: what GPT-2's pattern finds, in order."""
    split = _pre_tokenizer().pre_tokenize_str
    for text in texts:
        yield from (text[start:end] for _, (start, end) in split(text))


def _pre_tokenizer() -> Any:
    return _tokenizers().pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)


def _tokenizers() -> Any:
    try:
        import tokenizers  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise ValueError(
            f"parity-aware BPE needs the tokenizers library: {install_command('tokenizers')}"
        ) from None
    return tokenizers


def _tokenizer_json(merges: list[Pair]) -> str:
    tokenizers = _tokenizers()
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    alphabet = {byte: chr(byte) for byte in printable} | {b: chr(256 + i) for i, b in enumerate(others)}
    names = [*SPECIAL, *(alphabet[byte] for byte in range(256))]
    for a, b in merges:
        names.append(names[a] + names[b])
    model = tokenizers.models.BPE(
        vocab={name: i for i, name in enumerate(names)}, merges=[(names[a], names[b]) for a, b in merges]
    )
    made = tokenizers.Tokenizer(model)
    made.pre_tokenizer, made.decoder = _pre_tokenizer(), tokenizers.decoders.ByteLevel()
    made.add_special_tokens([tokenizers.AddedToken(name, special=True) for name in SPECIAL])
    return json.dumps(json.loads(made.to_str()), ensure_ascii=False, indent=1)
