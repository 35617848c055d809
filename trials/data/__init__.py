"""From a task's rows to checked examples in four splits: sources, rows, tables, schema, examples, splits, tasks."""
