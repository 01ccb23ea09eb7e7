"""What is in a corpus: how much of it, in which languages and domains, how long, how often repeated.

counts: numbers of a part of a corpus, which merge in any order into those of the whole. survey: documents
to counts, here or in several processes. languages: which language a text is in. domains: which of the
domains that labels teach. web_languages: how much of
the web is in each language, and who speaks it. shares: what the counts say, with intervals. counts_file:
counts on disk.
"""

__all__ = ["counts", "counts_file", "domains", "languages", "shares", "survey", "web_languages"]
