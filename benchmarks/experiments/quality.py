"""Precision and recall of each filter, of the default chain, and with duplicates, on the labelled dirty set.

    ISOFLOP_PUBLIC_DATA=… python -m benchmarks.experiments.quality

The set is split by source passage; limits were chosen on half 0, and what is printed is half 1. "perplexity"
and "word_order" learn from other novels, "classifier" from half 0.
"""

import json
import lzma
import os
import time
from collections import Counter
from pathlib import Path

from experiments.data.cleaning.decision import decide
from experiments.data.document import Document
from experiments.data.quality import chain, classifier, perplexity
from experiments.data.quality.labelled import COPIES, FilterAccuracy, half, score
from experiments.data_configs import DuplicatesConfig, QualityConfig

KINDS = ("markup", "boilerplate", "gibberish", "truncated")


def read(name: str) -> list[dict]:
    folder = Path(os.environ.get("ISOFLOP_PUBLIC_DATA", "../shared/data")) / "corpora"
    with lzma.open(folder / name, "rt") as file:
        return [json.loads(line) for line in file]


def row(name: str, found: FilterAccuracy, seconds: float, n_bytes: int) -> str:
    recall = " | ".join(f"{found.recall[kind]:.2f}" for kind in KINDS)
    clean = f"{found.dropped['clean']} of {found.total['clean']}"
    return (
        f"| {name} | {recall} | {clean} | {found.precision:.3f} | {n_bytes / 1e6 / max(seconds, 1e-9):.1f} |"
    )


def main() -> None:
    labelled = [Document(record.pop("text"), record) for record in read("dirty.jsonl.xz")]
    held_out = [document for document in labelled if half(document) == 1]
    shown = [document for document in labelled if half(document) == 0]
    clean = [d.text for d in shown if d.fields["label"] in ("clean", *COPIES)]
    unclean = [d.text for d in shown if d.fields["label"] not in ("clean", *COPIES)]
    novels = [record["text"][:1500] for record in read("train.jsonl.xz")][::5]
    rules = chain.make(QualityConfig((*chain.GROUPS,)), lambda path: [])
    chains = {group: {n: r for n, r in rules.items() if n.startswith(f"{group}.")} for group in chain.GROUPS}
    chains |= {name: {name: judge} for name, judge in perplexity.filters(novels).items()}
    chains["classifier"] = {"classifier": classifier.classifier(classifier.fit(clean, unclean))}
    chains["default chain"] = chain.make(QualityConfig(), lambda path: [])
    n_bytes = sum(len(document.text) for document in held_out)
    print(f"| filter | {' | '.join(KINDS)} | clean dropped | precision | MB/s |")
    print(f"|{'---|' * (len(KINDS) + 4)}")
    for name, filters in chains.items():
        start = time.process_time()
        found = score(held_out, lambda document: not chain.judge(filters, document)[1].keep)  # noqa: B023
        print(row(name, found, time.process_time() - start, n_bytes))
    for near in (0.8, 0.6):
        print(f"with duplicates, near={near}: {with_duplicates(held_out, near)}")


def with_duplicates(documents: list[Document], near: float) -> str:
    """Recall of copies, by groups of what was made from one passage: of each, one clean text should stay."""
    decision = decide(
        (("", document) for document in documents),
        QualityConfig(),
        DuplicatesConfig(near=near),
        lambda path: [],
    )
    groups: dict[str, list[int]] = {}
    n_dirt = 0
    for number, document in enumerate(documents):
        if document.fields["label"] in ("clean", *COPIES):
            groups.setdefault(str(document.fields["source"]), []).append(number)
        else:
            n_dirt += not decision.kept[number]
    total, gone = Counter[str](), Counter[str]()
    emptied = 0
    for numbers in groups.values():
        labels = sorted((str(documents[k].fields["label"]) for k in numbers), key=("clean", *COPIES).index)
        n_gone = sum(not decision.kept[k] for k in numbers)
        emptied += n_gone == len(numbers)
        for place, label in enumerate(labels[1:]):
            total[label] += 1
            gone[label] += place < n_gone
    found = ", ".join(f"{label} {gone[label]} of {n}" for label, n in total.items())
    n_right = gone.total() + n_dirt
    return (
        f"{found}; passages of which nothing stays {emptied}; precision {n_right / (n_right + emptied):.3f}"
    )


if __name__ == "__main__":
    main()
