"""How much a set of samples differs within itself: distinct n-grams, self-BLEU, entropy, unique samples.

A sample is a sequence of tokens that can be hashed: ids of a model's vocabulary, words, or letters. Numbers
compare only for sets of one size and samples of about one length: shares of distinct n-grams and of unique
samples fall with more of either.
"""

import math
from collections import Counter
from collections.abc import Hashable, Sequence

Sample = Sequence[Hashable]
NGRAMS = (1, 2, 3, 4)
SMALL = 0.1  # stands for no match of an n-gram: method 1 of Chen & Cherry 2014, as Zhu et al. use it


def measures(samples: Sequence[Sample]) -> dict[str, float]:
    """Everything below: distinct_1 … distinct_4, self_bleu, unique, and entropy (`sample_entropy`).

    Raises:
      ValueError: fewer than two samples.
    """
    if len(samples) < 2:
        raise ValueError(f"{len(samples)} sample(s); diversity is of 2 or more: ask for more with --n")
    distinct = {f"distinct_{n}": distinct_n(samples, n) for n in NGRAMS}
    entropy = {"unique": unique_fraction(samples), "entropy": sample_entropy(samples)}
    return distinct | {"self_bleu": self_bleu(samples)} | entropy


def _ngrams(sample: Sample, n: int) -> list[tuple[Hashable, ...]]:
    """Each n tokens in a row; none of a shorter sample."""
    return list(zip(*(sample[i:] for i in range(n))))


def distinct_n(samples: Sequence[Sample], n: int) -> float:
    """Different n-grams over all of them (Li et al. 2016, arXiv 1510.03055); NaN without any."""
    counts = Counter(gram for sample in samples for gram in _ngrams(sample, n))
    return len(counts) / counts.total() if counts else math.nan


def expected_distinct_n(samples: Sequence[Sample], n: int, vocab_size: int) -> float:
    """Different n-grams over how many as many draws from all vocab_size^n would have on average, which
    lengths do not change as they change `distinct_n` (Liu et al. 2022, arXiv 2202.13587, eq. 2); NaN without
    any.

    Raises:
      ValueError: a vocabulary of one token.
    """
    if vocab_size < 2:
        raise ValueError(f"vocab_size={vocab_size}; it must be at least 2")
    counts = Counter(gram for sample in samples for gram in _ngrams(sample, n))
    possible = float(vocab_size) ** n
    expected = -possible * math.expm1(counts.total() * math.log1p(-1 / possible))
    return len(counts) / expected if counts else math.nan


def self_bleu(samples: Sequence[Sample], max_n: int = 4) -> float:
    """Mean BLEU of each sample against all others as its references (Zhu et al. 2018, arXiv 1802.01886).

    0 is diverse, 1 all the same. BLEU is that of nltk's `sentence_bleu` with uniform weights and its
    smoothing method 1: geometric mean of the clipped precisions of 1 … max_n tokens times the brevity penalty
    against the reference of the nearest length (Papineni et al. 2002). NaN of fewer than two samples. An
    n-gram is clipped at its largest count in any other sample, which is the largest of all samples or, in the
    sample that has it, the second largest: time grows with the tokens, not with pairs of samples.
    """
    if len(samples) < 2:
        return math.nan
    lengths = Counter(map(len, samples))
    log_precisions, nothing_said = [0.0] * len(samples), [False] * len(samples)
    for n in range(1, max_n + 1):
        counted = [Counter(_ngrams(sample, n)) for sample in samples]
        most: dict[tuple[Hashable, ...], tuple[int, int]] = {}  # largest and second largest count
        for counts in counted:
            for gram, count in counts.items():
                first, second = most.get(gram, (0, 0))
                most[gram] = (max(first, count), max(second, min(first, count)))
        for i, counts in enumerate(counted):
            clipped = sum(min(count, most[gram][count == most[gram][0]]) for gram, count in counts.items())
            nothing_said[i] |= n == 1 and not clipped
            log_precisions[i] += math.log((clipped or SMALL) / max(counts.total(), 1)) / max_n
    each = (
        0.0 if nothing else math.exp(log_precision) * _brevity(len(sample), lengths)
        for sample, log_precision, nothing in zip(samples, log_precisions, nothing_said)
    )
    return sum(each) / len(samples)


def _brevity(length: int, lengths: Counter[int]) -> float:
    """The brevity penalty of a sample of this length, one of those counted; of two equally near references
    the shorter counts."""
    others = [other for other, count in lengths.items() if count > (other == length)]
    nearest = min(others, key=lambda other: (abs(other - length), other))
    return 1.0 if length >= nearest else math.exp(1 - nearest / length)


def unique_fraction(samples: Sequence[Sample]) -> float:
    """Different samples over all samples."""
    return len({tuple(sample) for sample in samples}) / len(samples)


def sample_entropy(samples: Sequence[Sample]) -> float:
    """Entropy in nats of whole samples, from how often each occurs, with Miller and Madow's correction.

    It cannot be above log(samples) + 1/2: of a policy whose samples hardly repeat, use the mean of minus
    their log-probabilities (`sampling_logprobs`), which is unbiased whatever the number of samples.
    """
    counts, n = Counter(tuple(sample) for sample in samples), len(samples)
    plugged_in = -sum(count / n * math.log(count / n) for count in counts.values())
    return plugged_in + (len(counts) - 1) / (2 * n)
