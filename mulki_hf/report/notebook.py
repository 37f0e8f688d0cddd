"""`Report`: results where a person reads them, in a notebook with tables and pictures, elsewhere as text."""

from base64 import b64encode
from io import BytesIO

from ..results import StreamResults
from .plots import plot_accuracy_matrix, plot_curves
from .published.beside import standing_text
from .tables import results_table


class Report:
    """What a stream has come to: accuracy matrix and metrics; the last line of a notebook's cell adds the pictures.

    Args:
        results ([`StreamResults`]): of a run, finished or not.
        protocol (*optional*): of the pictures. Default: the headline's.

    Example:

        Report(results)                       # in a notebook
        print(Report(results))                # the tables
        Report(StreamResults.load("out"))     # of an earlier run
    """

    def __init__(self, results: StreamResults, protocol: str | None = None):
        self.results = results
        self.protocol = protocol or results.protocol

    def __repr__(self) -> str:
        return "\n\n".join(filter(None, [results_table(self.results), standing_text(self.results)]))

    def _repr_markdown_(self) -> str:
        """For notebooks; it holds its pictures and reads no file."""
        parts = [repr(self)]
        for name, plot in {"Accuracy matrix": plot_accuracy_matrix, "Curves": plot_curves}.items():
            if self.results.zero_shot:
                picture = BytesIO()
                plot(self.results, picture, self.protocol)
                parts.append(f"![{name}](data:image/png;base64,{b64encode(picture.getvalue()).decode()})")
        return "\n\n".join(parts)
