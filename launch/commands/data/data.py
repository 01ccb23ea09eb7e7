"""What is in a corpus: documents, bytes, tokens, languages, domains, lengths and copies.

The corpus is a file, folder or pattern (text, JSON lines, Parquet, Arrow, WARC, WET, HTML), a task that
`isoflop list tasks` names, or a file of counts, NAME.counts.json, that Beam made (docs/howto/data.md).
Languages stand beside Common Crawl's shares; those with less than 1 % of it are low-resource. With --sample
everything is read but only so many documents are looked into, chosen by hash, and shares get 90 % intervals.

Example: isoflop data crawl/CC-MAIN-2026-04/segments --sample 20000 --out crawl.html
Example: isoflop data corpus.jsonl.xz --by source,year --vocab tokenizer.json --json
Example: isoflop data pud.jsonl --by lang --parallel id --vocab bytes,tokenizer.json --out tax.html
Example: isoflop data docstrings
"""

import json
import os
from dataclasses import replace
from pathlib import Path

from absl import flags

from launch.arguments.tables_and_fits import check_out
from launch.workers.process import prepare_process

FLAGS = flags.FlagValues()
USAGE = "isoflop data PATH|TASK [flags]"
MOST_ROWS = 20  # of a table in the terminal
NEED_A_PATH = ("files", "hugging_face")
flags.DEFINE_string("out", None, "write a page with pictures to this HTML file", flag_values=FLAGS)
flags.DEFINE_bool("json", False, "print JSON", flag_values=FLAGS)
flags.DEFINE_integer("sample", 0, "look into so many documents only; 0: into all", flag_values=FLAGS)
flags.DEFINE_list("by", [], "fields of the records to count by, such as source,year", flag_values=FLAGS)
flags.DEFINE_string("text_field", "text", "the field or column that is the text", flag_values=FLAGS)
flags.DEFINE_list(
    "vocab",
    [],
    "count tokens: bytes, a tokenizer.json, a SentencePiece model; several for --parallel",
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "parallel",
    None,
    "the documents are the same sentences in the languages of --by; the field that says which",
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "domains",
    None,
    "FILE:FIELD, labelled documents that a classifier of domains learns from",
    flag_values=FLAGS,
)
flags.DEFINE_list(
    "filters", [], "filters of quality to ask of each document, such as default,c4,gopher", flag_values=FLAGS
)
flags.DEFINE_string("clean", "", "text to be like, for filters that learn", flag_values=FLAGS)
flags.DEFINE_string("unclean", "", "text to be unlike, for classifier", flag_values=FLAGS)
flags.DEFINE_string("model", "", "folder of a run that model_perplexity asks", flag_values=FLAGS)
flags.DEFINE_string("votes_field", "votes", "field that filter votes reads", flag_values=FLAGS)
flags.DEFINE_integer("workers", os.cpu_count() or 1, "processes", flag_values=FLAGS)


def run(args: list[str], flags) -> int:
    """Reads, counts, writes the page with --out, and prints."""
    if len(args) != 1:
        raise ValueError(f"expected one path or one task, got {args}; usage: {USAGE}")
    if flags.sample < 0 or flags.workers < 1:
        raise ValueError(f"--sample {flags.sample} --workers {flags.workers}; a count below 1 is none")
    check_out(flags.out)
    prepare_process()
    from experiments.data.composition.counts_file import ENDING, read_counts
    from experiments.data.composition.survey import Questions, survey
    from experiments.data.sources.left_out import Skipped, as_words, totals

    skipped: Skipped = {}
    questions = Questions(
        fields=tuple(flags.by),
        domain_of=domains(flags.domains) if flags.domains else None,
        count_tokens=token_counter(flags.vocab),
        filters=filters(flags),
    )
    if args[0].endswith(ENDING):
        return show(args[0], read_counts(Path(args[0]).expanduser()), {}, flags)
    taxes = read_taxes(documents_of(args[0], flags.text_field, {}), flags) if flags.parallel else {}
    found = survey(
        documents_of(args[0], flags.text_field, skipped),
        questions,
        n_sample=flags.sample,
        n_workers=flags.workers,
    )
    if not found.total.documents:
        raise ValueError(
            f"{args[0]}: there is no text in it (left out: {as_words(totals(skipped)) or 'nothing'})"
        )
    return show(args[0], replace(found, skipped=totals(skipped)), taxes, flags)


def show(name: str, found, taxes: dict, flags) -> int:
    """Writes the page and prints.

    Args:
      name: of the corpus.
      found: what is in it.
      taxes: what the same sentences cost, by vocabulary.
      flags: the command's.
    """
    from experiments.data.composition.shares import to_json

    if flags.out:
        from experiments.data_report.page import page
        from experiments.data_report.tax import tax_section
        from experiments.files import write_atomic

        sections = [tax_section(taxes)] if taxes else []
        write_atomic(flags.out, page(Path(name).name or name, found, sections))
    if flags.json:
        paid = {name: [vars(row) for row in rows] for name, rows in taxes.items()}
        print(json.dumps(to_json(found) | ({"taxes": paid} if paid else {}), ensure_ascii=False))
    else:
        print("\n\n".join([as_text(found), *(tax_table(name, rows) for name, rows in taxes.items())]))
    return 0


def read_taxes(documents, flags) -> dict:
    """Vocabulary -> what the same sentences cost in each language.

    Raises:
      ValueError: no vocabulary, not one field of the language, or no parallel sentences.
    """
    from experiments.data.vocabularies.tax import measure_tax, read_parallel
    from experiments.data.vocabularies.vocab import read_vocab

    if len(flags.by) != 1 or not flags.vocab:
        raise ValueError("--parallel FIELD needs --by with the one field of the language, and --vocab")
    sentences = read_parallel(documents, flags.by[0], flags.parallel)
    return {Path(name).stem: measure_tax(sentences, read_vocab(name)) for name in flags.vocab}


def tax_table(name: str, rows) -> str:
    """What a vocabulary costs, the dearest language last."""
    from experiments.data.vocabularies.tax import REFERENCE, inequality

    lines = [f"{name}: tokens for the same sentences; tax: over {REFERENCE}; Gini {inequality(rows):.3f}"]
    lines.append(f"{'language':<12}{'a sentence':>12}{'tax':>8}{'a character':>13}{'a byte':>8}")
    lines += [
        f"{row.language:<12}{row.tokens_per_sentence:>12.1f}{row.tax:>8.2f}"
        f"{row.tokens_per_character:>13.3f}{row.tokens_per_byte:>8.3f}"
        for row in rows
    ]
    return "\n".join(lines)


def documents_of(name: str, text_field: str, skipped):
    """The documents of a path, or of a task; what is left out is counted in `skipped`.

    Raises:
      ValueError: neither is there.
    """
    from experiments.data.sources import textfiles
    from experiments.data.tasks import TASKS
    from experiments.data_configs import DataConfig

    if name not in TASKS:
        textfiles.find(name)
        return textfiles.records(name, text_field, skipped)
    task = TASKS[name]
    if task.records is None or task.own_splits or name in NEED_A_PATH:
        raise ValueError(
            f"{name}: this task's documents cannot be listed by its name; give the path of its files"
        )
    return task.records(DataConfig(task=name), skipped)


def token_counter(vocabs: list[str]):
    """A function text -> tokens of the first vocabulary that can be sent to other processes; None without.

    Raises:
      ValueError: there is no such vocabulary.
    """
    from experiments.data.vocabularies.vocab import TokenCounter, read_vocab

    for vocab in vocabs:  # wrong ones are said before anything is read
        read_vocab(vocab)
    return TokenCounter(vocabs[0]) if vocabs else None


def domains(labelled: str):
    """The classifier of domains that FILE:FIELD teaches.

    Raises:
      ValueError: it is not of that form, or the labels do not suffice.
    """
    from experiments.data.composition.domains import fit_domains
    from experiments.data.sources import textfiles

    path, _, label = labelled.rpartition(":")
    if not path:
        raise ValueError(f"--domains {labelled}; expected FILE:FIELD, such as labelled.jsonl:domain")
    return fit_domains(textfiles.records(path), label)


def filters(flags) -> dict:
    """The filters of quality that --filters names.

    Raises:
      ValueError: an unknown one, or one that has nothing to learn from.
    """
    from experiments.data.quality import chain
    from experiments.data.sources import textfiles
    from experiments.data_configs import QualityConfig

    learn = {"perplexity", "word_order", "classifier", "model_perplexity"} & set(
        chain.names_of(flags.filters)
    )
    if learn and not flags.clean:
        raise ValueError(
            f"--filters {', '.join(sorted(learn))}: learns from text of its own; give --clean PATH, and for "
            "classifier --unclean PATH"
        )
    config = QualityConfig(
        tuple(flags.filters), flags.clean, flags.unclean, flags.votes_field, model=flags.model
    )
    return chain.make(config, textfiles.records)


def as_text(found) -> str:
    """Totals, then a table for each question."""
    from experiments.data.composition.shares import group_rows, language_rows, length_quantiles, score_rows
    from experiments.data.composition.survey import LANGUAGE
    from experiments.data.sources.left_out import as_words
    from experiments.data_report.parts import allowed, interval, percent

    total, looked_at = found.total, found.looked_at
    lines = [
        f"{total.documents:,} documents, {total.bytes:,} bytes, {total.characters:,} characters; "
        f"{percent(found.texts.share_of_copies)} of documents repeat another's text"
    ]
    if looked_at.tokens:
        n_tokens = looked_at.tokens / looked_at.bytes * total.bytes
        lines += [f"{n_tokens:,.0f} tokens, {looked_at.bytes / looked_at.tokens:.3f} bytes each"]
    lengths = length_quantiles(found.lengths).items()
    lines += ["bytes of a document: " + ", ".join(f"{100 * q:g} % ≤ {value:,.0f}" for q, value in lengths)]
    if found.skipped:
        lines += [f"left out: {as_words(found.skipped)}"]
    if looked_at.documents < total.documents:
        lines += [f"shares from {looked_at.documents:,} documents, with 90 % intervals"]
    if found.removed_by:
        lines += ["", "filters would remove, of documents: "]
        lines[-1] += ", ".join(
            f"{name} {percent(n / looked_at.documents)}"
            for name, n in sorted(found.removed_by.items(), key=lambda item: -item[1])
            if n
        )
    if scores := score_rows(found):
        lines += ["", f"{'scores':<30}{'1 %':>9}{'25 %':>9}{'median':>9}{'75 %':>9}{'99 %':>9}  stays"]
        lines += [
            f"{row['filter'][:29]:<30}"
            + "".join(f"{row['quantiles'][q]:>9.3g}" for q in (0.01, 0.25, 0.5, 0.75, 0.99))
            + f"  {allowed(row['least'], row['most'])}"
            for row in scores
        ]
    for question in found.groups:
        of_language = question == LANGUAGE
        rows = language_rows(found) if of_language else group_rows(found, question)
        lines += ["", f"{question:<24}{'documents':>12}{'of bytes':>10}{'90 %':>18}"]
        lines[-1] += f"{'of the web':>12}{'speakers, M':>13}" if of_language else ""
        for row in rows[:MOST_ROWS]:
            name = f"{row['name']} ({row['value']})" if of_language else row["value"]
            part = row["share_bytes"]
            line = f"{name[:23]:<24}{row['documents']:>12,}{percent(part.value):>10}{interval(part):>18}"
            if of_language:
                speakers = "–" if row["speakers"] is None else f"{row['speakers']:g}"
                line += f"{percent(row['web']):>12}{speakers:>13}"
                line += "  low-resource" if row["low_resource"] else ""
            lines.append(line)
        if len(rows) > MOST_ROWS:
            lines.append(f"… and {len(rows) - MOST_ROWS} more; --json and --out have them")
    return "\n".join(line.rstrip() for line in lines)
