"""From a task's rows to checked examples in four splits; ``trials/tokens.py`` and ``batches.py`` come after it.

The files in the order in which rows pass them:

    sources       where a task's rows come from, and its tables
    rows          rows of csv, tsv, JSON lines and parquet, one at a time
    tables        rows as named columns, also of ``datasets``
    cells         the value of one cell, the same from every format
    schema        which columns are text and label, the kind, the classes, the metrics
    class_checks  classes that were probably not intended
    examples      texts and labels as checked values
    splits        train, probe, validation and test, cut where a file is missing
    tasks         all tasks of a study, freed of leakage
"""
