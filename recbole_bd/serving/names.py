"""Names that commands accept, kept apart because their help needs no torch."""

# Keys of `recbole_bd.serving.export.FORMATS`.
EXPORT_FORMATS = ("npz", "safetensors", "onnx", "recbole")
HNSW = "hnsw"

MEASURED = "measured"
# Items that are not recommended to a user: those that the test's ranking leaves out (training and validation items,
# none with `repeatable: True`); training items; all items of the user in the data set; none.
EXCLUDED = (MEASURED, "train", "known", "nothing")
ALL = "all"
# Treatments of users and items that the model does not know.
UNKNOWN = ("skip", "popular", "error")
UNKNOWN_ITEMS, UNTRAINED_ITEMS = ("error", "skip"), ("keep", "drop")
