"""What can go wrong in a way that a person can mend."""


class ConfigurationError(ValueError):
    """Something the user gave (a field, a file, a dataset row, a model) can't be used.

    The message says what is wrong, where (task, dataset, column, row, file or field) and what to do.
    The command line prints it without a traceback and exits with status 1.
    """


class PushError(RuntimeError):
    """Checkpoints that did not reach the Hub: complete on disk, recorded as pending; nothing else went wrong."""
