"""A task's keys in the study file."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

Text: TypeAlias = Annotated[str, Field(min_length=1)]
Rows: TypeAlias = Annotated[int, Field(ge=1)]
Share: TypeAlias = Annotated[float, Field(gt=0, lt=1)]


class Section(BaseModel):
    """A mapping of the study file: fixed keys with values of exactly their type, frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class FileOptions(Section):
    """A task's files, of the same format and columns: csv, tsv, jsonl or parquet."""

    train: Text = Field(description="Rows to train on. Parts without a file are cut from it.")
    validation: Text | None = Field(default=None, description="Rows to compare by.")
    test: Text | None = Field(default=None, description="Rows for the final test; ignored if they have no labels.")


class SplitOptions(Section):
    """Takes a part from elsewhere than usual: a share of the rows, a number of rows, or a file."""

    probe: Rows | Share | Text | None = Field(default=None, description="Rows for rewards and evidence.")
    validation: Rows | Share | Text | None = Field(default=None, description="Rows by which trials are compared.")
    test: Rows | Share | Text | None = Field(default=None, description="Rows that confirm alone may touch.")


class TaskOptions(Section):
    """One labelled dataset: one of `path`, `files`, `hub` and `builtin`, and how to read it."""

    path: Text | None = Field(
        default=None,
        description="A folder of `{train,validation[,test]}.jsonl` with `meta.json`, a saved `datasets` folder, or "
        "one file (csv, tsv, jsonl, parquet); relative to the study file.",
    )
    files: FileOptions | None = None
    hub: Text | None = Field(default=None, description="A dataset's name on the Hugging Face hub.")
    builtin: Text | None = Field(default=None, description="A built-in synthetic task.")
    config: Text | None = Field(default=None, description="The hub dataset's configuration.")
    revision: Text | None = Field(default=None, description="The hub dataset's commit, tag or branch.")
    split: Text | None = Field(default=None, description="The split to train on, where it is not `train`.")
    text: Annotated[tuple[Text, ...], Field(max_length=2)] = Field(
        default=(), description="The text column, or the two of a pair."
    )
    label: Text | Annotated[tuple[Text, ...], Field(min_length=2)] | None = Field(
        default=None,
        description="The label column; for a task with any number of labels per row, a column of lists, or a list of "
        "columns of 0 and 1, one for each label.",
    )
    tokens: Text | None = Field(default=None, description="The column of words, for one label per word.")
    tags: Text | None = Field(default=None, description="The column of the words' labels.")
    kind: Literal["classification", "regression", "token", "multi_label"] | None = Field(
        default=None, description="What is predicted; `null` reads it off the labels."
    )
    labels: tuple[Text, ...] = Field(default=(), description="The classes in order; empty reads them off the data.")
    metric: Text | None = Field(
        default=None, description="Metrics with commas between them, the main one first; `null` is the kind's usual."
    )
    rows: Rows | None = Field(default=None, description="Train on at most so many rows; the other parts stay whole.")
    splits: SplitOptions = SplitOptions()
    missing: Literal["error", "drop"] = Field(
        default="error",
        description="What becomes of a row without text or without label: an error, or left out and counted.",
    )
