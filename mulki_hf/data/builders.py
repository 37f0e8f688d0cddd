"""Builders of `datasets` that read files of this machine, as a task's `dataset` may name them."""

FILE_BUILDERS = {
    ".parquet": "parquet", ".arrow": "arrow", ".csv": "csv", ".json": "json", ".jsonl": "json", ".tar": "webdataset",
}  # fmt: skip
"""By a file's suffix, which one reads it."""

LOCAL_BUILDERS = {*FILE_BUILDERS.values(), "text", "xml", "imagefolder", "folder"}
