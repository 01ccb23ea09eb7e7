"""What of a corpus is kept, decided by Apache Beam: the same filters and comparisons as in `decision`, on as
many machines as a runner has.

    python -m experiments.data.cleaning.beam --input 'crawl/*.jsonl.gz' --output clean/part \
        --quality '{}' --duplicates '{"near": 0.6}' --runner DirectRunner

Documents are JSON lines with a "text". What stays of two copies is a matter of their texts, so that the
output is that of `decision.decide`, in another order. Documents are told apart by their text: of equal ones
one is kept, whatever the configuration says. Near-duplicates take a shuffle of 512 bytes for each document
and band. docs/howto/data.md says how to run it.
"""

# pyright: reportMissingImports=false, reportUnusedExpression=false

import argparse
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import apache_beam as beam
import numpy as np
from apache_beam.options.pipeline_options import PipelineOptions, SetupOptions

from experiments.data.cleaning.decision import Grouped, encoded, judge_all
from experiments.data.document import Document
from experiments.data.duplicates import decontamination, exact, minhash
from experiments.data.quality import chain
from experiments.data.sources import textfiles
from experiments.data_configs import DuplicatesConfig, QualityConfig
from experiments.fields import from_json

MOST_TOGETHER = 256  # documents that are judged at a time
Rank = tuple[int, int, bytes, str]  # of a document, the lowest has precedence


def rank_of(grouped: Grouped, first_groups: Sequence[str] = ()) -> Rank:
    """The place of a document in the order of `decision.ranks`; its third number is the text's digest."""
    group, document = grouped
    text = encoded(document)
    place = first_groups.index(group) if group in first_groups else len(first_groups)
    return place, -len(text), _bytes(exact.digest(text)), group


class Clean(beam.PTransform):
    """Documents with their groups to {"kept": (group, Document) without what is cut out of its text,
    "removed": (filter, chain.Removed)}."""

    def __init__(
        self,
        quality: QualityConfig | None,
        duplicates: DuplicatesConfig | None,
        first_groups: Sequence[str] = (),
    ):
        super().__init__()
        self.quality, self.duplicates, self.first_groups = quality, duplicates, first_groups

    def expand(self, documents: beam.PCollection) -> dict[str, beam.PCollection]:  # type: ignore[override]
        """As the class says."""
        batches = documents | beam.BatchElements(1, MOST_TOGETHER)
        passed = batches | beam.ParDo(_Filter(self.quality, self.duplicates)).with_outputs(
            "removed", main="kept"
        )
        removed = passed.removed | beam.CombinePerKey(_merged)
        kept = passed.kept | "Key" >> beam.Map(lambda each: (rank_of(each, self.first_groups), each))
        if self.duplicates:
            kept = (
                kept
                | "ByText" >> beam.Map(lambda each: (each[0][2], each))
                | beam.CombinePerKey(_first)
                | beam.Values()
            )
            kept = _without_near_duplicates(kept, self.duplicates.near) if self.duplicates.near else kept
            kept = _cut(kept, self.duplicates)
        return {"kept": kept | "Documents" >> beam.Values(), "removed": removed}


class _Filter(beam.DoFn):
    """Documents that pass; tagged "removed", what each filter drops."""

    def __init__(self, quality: QualityConfig | None, duplicates: DuplicatesConfig | None):
        self.quality, self.duplicates = quality, duplicates

    def setup(self):
        self.filters = chain.make(self.quality, textfiles.records) if self.quality else {}
        path = self.duplicates.against if self.duplicates else ""
        texts = [document.text for document in textfiles.records(path)] if path else []
        self.against = None
        if texts and self.duplicates:
            self.against = decontamination.Items(texts, self.duplicates.overlap)

    def process(self, element: list[Grouped]) -> Iterator[Any]:
        judged = judge_all(self.filters, [document for _, document in element])
        for (group, document), (name, reason) in zip(element, judged):
            if name:
                removed = chain.Removed()
                removed.add(document.text, reason)
                yield beam.pvalue.TaggedOutput("removed", (name, removed))
            elif not (self.against and self.against.look([encoded(document)])[0]):
                yield group, document


def _merged(parts: Iterable[chain.Removed]) -> chain.Removed:
    total = chain.Removed()
    for part in parts:
        total.merge(part)
    return total


def _first(ranked: Iterable[tuple[Rank, Grouped]]) -> tuple[Rank, Grouped]:
    return min(ranked, key=lambda each: each[0])


def _without_near_duplicates(kept: beam.PCollection, near: float) -> beam.PCollection:
    def of_bands(each: tuple[Rank, Grouped]) -> Iterator[tuple[Any, tuple[Rank, bytes]]]:
        signature = minhash.signatures([encoded(each[1][1])])
        for band, value in enumerate(minhash.bands(signature, near)[0].tolist()):
            yield (band, _bytes(value)), (each[0], signature.tobytes())  # type: ignore[misc]

    def losers(band: tuple[Any, Iterable[tuple[Rank, bytes]]]) -> Iterator[tuple[bytes, bool]]:
        bucket = sorted(band[1])
        if len(bucket) > 1:
            signature = np.stack([np.frombuffer(data, np.uint32) for _, data in bucket])
            yield from ((bucket[k][0][2], True) for k in minhash.losers(signature, near))

    gone = kept | beam.FlatMap(of_bands) | "ByBand" >> beam.GroupByKey() | beam.FlatMap(losers)
    return _join(kept, gone, "Near") | "Stay" >> beam.FlatMap(lambda each: [] if each[1] else [each[0]])


def _cut(kept: beam.PCollection, config: DuplicatesConfig) -> beam.PCollection:
    if not config.lines and not config.substring:
        return kept

    def pieces(each: tuple[Rank, Grouped]) -> Iterator[tuple[Any, tuple[Rank, int, int]]]:
        text = encoded(each[1][1])
        found = {"line": exact.lines([text], config.lines)} if config.lines else {}
        found |= {"run": exact.word_runs([text], config.substring)} if config.substring else {}
        for kind, own in found.items():
            for value, start, end in zip(own.hashes.tolist(), own.starts.tolist(), own.ends.tolist()):
                yield (kind, _bytes(value)), (each[0], start, end)

    def repetitions(
        same: tuple[Any, Iterable[tuple[Rank, int, int]]],
    ) -> Iterator[tuple[bytes, tuple]]:
        first, *others = sorted(same[1])
        for rank, start, end in others:
            if rank != first[0] or start >= first[2]:
                yield rank[2], (start, end)

    def without(each: tuple[tuple[Rank, Grouped], list[tuple[int, int]]]) -> Iterator[tuple[Rank, Grouped]]:
        (rank, (group, document)), spans = each
        text = exact.cut(encoded(document), exact.merged(spans))
        if text.strip():
            yield rank, (group, Document(text.decode("utf-8", "replace"), document.fields))

    spans = kept | "Pieces" >> beam.FlatMap(pieces) | "Same" >> beam.GroupByKey() | beam.FlatMap(repetitions)
    return _join(kept, spans, "Cut") | "Without" >> beam.FlatMap(without)


def _bytes(value: int) -> bytes:
    """64 bits in the order of the numbers: Beam's integers are signed."""
    return value.to_bytes(8, "big")


def _join(kept: beam.PCollection, found: beam.PCollection, label: str) -> beam.PCollection:
    """Each document with the list of what was found of it, by the digest of its text."""
    keyed = kept | f"{label}Key" >> beam.Map(lambda each: (each[0][2], each))
    together = {"document": keyed, "found": found} | f"{label}Join" >> beam.CoGroupByKey()
    return together | f"{label}Pairs" >> beam.FlatMap(
        lambda each: ((document, list(each[1]["found"])) for document in each[1]["document"])
    )


def main(arguments: list[str]) -> None:
    """Reads JSON lines, cleans them, and writes JSON lines and a report."""
    parser = argparse.ArgumentParser(description="Drops dirt and duplicates from JSON lines.")
    parser.add_argument("--input", required=True, help="pattern of JSON lines, compressed or not")
    parser.add_argument("--output", required=True, help="prefix of what is written")
    parser.add_argument("--quality", help="JSON of QualityConfig; {} is the default chain")
    parser.add_argument("--duplicates", help="JSON of DuplicatesConfig")
    own, others = parser.parse_known_args(arguments)
    quality = from_json(QualityConfig, json.loads(own.quality)) if own.quality else None
    duplicates = from_json(DuplicatesConfig, json.loads(own.duplicates)) if own.duplicates else None
    options = PipelineOptions(others)
    options.view_as(SetupOptions).save_main_session = False
    with beam.Pipeline(options=options) as pipeline:
        lines = pipeline | beam.io.ReadFromText(own.input)
        cleaned = lines | beam.Map(_document) | Clean(quality, duplicates)
        cleaned["kept"] | beam.Map(_line) | beam.io.WriteToText(own.output, ".jsonl")
        report = cleaned["removed"] | "Report" >> beam.Map(
            lambda each: json.dumps([each[0], each[1].to_json()])
        )
        report | "WriteReport" >> beam.io.WriteToText(f"{own.output}-removed", ".json", num_shards=1)


def _document(line: str) -> Grouped:
    record = json.loads(line)
    return "", Document(record.pop("text"), record)


def _line(grouped: Grouped) -> str:
    return json.dumps({"text": grouped[1].text, **grouped[1].fields}, ensure_ascii=False)


if __name__ == "__main__":
    main(sys.argv[1:])
