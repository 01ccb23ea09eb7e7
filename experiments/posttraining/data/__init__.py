"""Examples of post-training, from the files they are published in to rows of a batch.

    records        records of JSON, Parquet and Arrow files, or of a data set by its name
    conversations  turns of a system, a user and an assistant
    chat_template  conversations as tokens, and which of them the assistant says
    demonstrations both, or those of the gold world, as examples
    examples       prepared once, as columns on disk; how another kind of example is added
    prepared       those of a run, from a file as its template renders it, and in batches
    packing        examples in rows, each in a segment of its own
    pairs          two responses to a prompt, one of them preferred: from files
    pair_batches   pairs in batches, also those of the gold world
    questions      questions with exact answers, from files or about the people of biographies
    prompts        what is sampled from: batches of prompts, each row with a seed

Import from its modules. May import experiments.data and experiments.files, and of posttraining gold and
preferences.
"""
