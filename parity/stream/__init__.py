"""A run over any number of images: streamed, killed and resumed, cut into shards and put together again.

    directory --listing--> names --decoding, in worker processes--> batches of pixels
        --running: PyTorch and every leg--> cases --journal--> results.cases.jsonl
    results.cases.jsonl --aggregate--> Run --causes--> results.cases.jsonl
    results.cases.jsonl --aggregate--> Run --> results.json, reports, exit code

The journal is the cases file: a header that says what was compared and how, then a line for each image, batch by
batch, then one for each artefact that fails, with the causes. All that a report needs is in it, so the results are
a function of the file alone, and a run that was killed goes on from its last whole batch. Batches lie at multiples
of the batch size in the list of all images, and a shard takes every n-th of them: how the work is cut never changes
which images go into a model together, and with that not the last bit of an answer.

    job.py        what is asked for                 listing.py    the names, compactly
    truth.py      what the images really show       decoding.py   file -> pixels, in worker processes
    legs.py       models, artefacts, tolerances     running.py    one shard, from the job to its journal
    cases_file.py what a journal holds              journal.py    appended to, and resumed
    cases_file_soundness.py  what in it contradicts itself
    identity.py   what makes a run the same run     stamps.py     images that changed meanwhile
    merging.py    the cases files of all shards -> one
    aggregate.py  cases -> Run                      causes.py     why legs fail, on a few images
    engines.py    where shards run: here, or as tasks of Ray
    pictures.py   the worst images once more, for the page
"""
