"""Accuracy on every task of a stream, by several protocols at once."""
