"""What is in a corpus, counted by Apache Beam: the same counts as `survey`, a shard at a time, on as many
machines as a runner has.

    python -m experiments.data.cleaning.beam_survey --input 'crawl/*.warc.gz' --output crawl.counts.json \
        --quality '{}' --runner DirectRunner
    isoflop data crawl.counts.json --out crawl.html

A shard is a file of any kind that `textfiles` reads, on any file system that Beam reads; one worker takes it
whole, by way of its own disk. Every document is looked into. docs/howto/data.md says how to run it.
"""

# pyright: reportMissingImports=false, reportUnusedExpression=false

import argparse
import dataclasses
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import apache_beam as beam
from apache_beam.io import fileio
from apache_beam.io.filesystem import CompressionTypes, FileMetadata
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions, SetupOptions

from experiments.data.composition.counts import Composition, merge
from experiments.data.composition.counts_file import to_text
from experiments.data.composition.survey import Questions, survey
from experiments.data.quality import chain
from experiments.data.sources import textfiles
from experiments.data.sources.left_out import Skipped, totals
from experiments.data.vocabularies.vocab import TokenCounter
from experiments.data_configs import QualityConfig
from experiments.fields import from_json


@dataclasses.dataclass(frozen=True)
class SurveySettings:
    """What is asked of each document, as settings that are sent to workers; see `survey.Questions`."""

    text_field: str = "text"
    fields: tuple[str, ...] = ()
    vocab: str = ""
    quality: QualityConfig | None = None

    def questions(self) -> Questions:
        """The functions; raises ValueError as `chain.make` does."""
        return Questions(
            fields=self.fields,
            count_tokens=TokenCounter(self.vocab) if self.vocab else None,
            filters=chain.make(self.quality, textfiles.records) if self.quality else {},
        )


class Survey(beam.PTransform):
    """Files that `fileio.MatchFiles` found to one `Composition`."""

    def __init__(self, asked: SurveySettings):
        super().__init__()
        self.asked = asked

    def expand(self, files: beam.PCollection) -> beam.PCollection:  # type: ignore[override]
        """As the class says."""
        return files | beam.Reshuffle() | beam.ParDo(_Shard(self.asked)) | beam.CombineGlobally(merge)


class _Shard(beam.DoFn):
    """A file to its counts."""

    def __init__(self, asked: SurveySettings):
        self.asked = asked

    def setup(self):
        self.questions = self.asked.questions()

    def process(self, element: FileMetadata) -> Iterator[Composition]:
        name = Path(element.path).name
        if not textfiles.format_of(Path(name)):
            return
        skipped: Skipped = {}
        with tempfile.TemporaryDirectory() as folder:
            local = Path(folder) / name
            stored = FileSystems.open(element.path, compression_type=CompressionTypes.UNCOMPRESSED)
            with stored, open(local, "wb") as file:
                shutil.copyfileobj(stored, file)
            found = survey(textfiles.records(str(local), self.asked.text_field, skipped), self.questions)
        yield dataclasses.replace(found, skipped=totals(skipped))


def main(arguments: list[str]) -> None:
    """Counts all files of a pattern and writes the counts."""
    parser = argparse.ArgumentParser(description="Counts what is in a corpus.")
    parser.add_argument("--input", required=True, help="pattern of files")
    parser.add_argument("--output", required=True, help="file of counts, NAME.counts.json")
    parser.add_argument("--text_field", default="text", help="the field or column that is the text")
    parser.add_argument("--by", default="", help="fields of the records to count by, with commas between")
    parser.add_argument("--vocab", default="", help="count tokens: bytes, or the path of a tokenizer")
    parser.add_argument("--quality", help="JSON of QualityConfig; {} is the default chain")
    own, others = parser.parse_known_args(arguments)
    quality = from_json(QualityConfig, json.loads(own.quality)) if own.quality else None
    asked = SurveySettings(own.text_field, tuple(filter(None, own.by.split(","))), own.vocab, quality)
    options = PipelineOptions(others)
    options.view_as(SetupOptions).save_main_session = False
    with beam.Pipeline(options=options) as pipeline:
        found = pipeline | fileio.MatchFiles(own.input) | Survey(asked)
        found | beam.Map(to_text) | beam.io.WriteToText(own.output, num_shards=1, shard_name_template="")


if __name__ == "__main__":
    main(sys.argv[1:])
