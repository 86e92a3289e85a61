"""Atomic files, splits, loaders, negative samples and batches."""
