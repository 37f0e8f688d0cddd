"""The one exception for input that a person can mend."""


class ConfigurationError(ValueError):
    """Something the user gave (a field, a file, a dataset row, a model) can't be used.

    The message says what is wrong, where (task, dataset, column, row, file or field) and what to do.
    The command line prints it without a traceback and exits with status 1.
    """
