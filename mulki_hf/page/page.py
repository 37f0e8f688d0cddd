"""The page: a picture and class names go in, the answers of all models of the stream come out, side by side."""

import atexit
import os
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from ..errors import ConfigurationError
from ..prediction.answers import Readers, top
from ..prediction.classes import Classes, classes_for
from ..prediction.pictures import UnreadablePicture, read_picture
from ..prediction.stages import Models
from ..report.plots import plot_curves
from ..report.tables import percent
from ..results import StreamResults
from .examples import Example
from .look import CSS, answers_html, curves_html, empty_html, error_html, examples_html, head_html


ALL = "all tasks"
TOP = 5
METRICS = {"transfer": "Transfer", "avg": "Avg", "last": "Last"}
CLICKED = """element.addEventListener("click", event => {
  const button = event.target.closest("[data-index]");
  if (button) trigger("click", {index: button.dataset.index});
});"""
EMPTY = "Drop a picture above, or click an example."


def gradio() -> Any:
    """The module, told to report nothing to anybody.

    Raises:
        ConfigurationError: it is not installed.
    """
    # It reads this when it is imported.
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    try:
        import gradio
    except ImportError as error:
        raise ConfigurationError(
            f"the demo needs Gradio, which is not installed ({error}): pip install 'mulki-hf[demo]'"
        ) from error
    return gradio


@cache
def uploads() -> str:
    """The folder of the pictures that pages were given, which goes with the process."""
    folder = tempfile.TemporaryDirectory(prefix="mulki-demo-")
    os.environ["GRADIO_TEMP_DIR"] = folder.name
    atexit.register(folder.cleanup)
    return folder.name


class Page:
    """The page of a stream.

    Args:
        models: of the stream, with its results.
        examples: pictures to click on.
        notes: sentences about what is missing, for the page.
        accelerator ([`Accelerator`]): decides where models run.
        title: of the page.

    Raises:
        ConfigurationError: Gradio is not installed, or the models are of no stream.
    """

    def __init__(
        self,
        models: Models,
        examples: Sequence[Example],
        notes: Sequence[str],
        accelerator: Accelerator,
        title: str,
    ):
        self.gradio = gradio()
        if models.results is None:
            raise ConfigurationError(
                f"{models.source!r} is one model, not a stream's run; ask it with mulki-hf predict"
            )
        self.models, self.examples, self.title = models, examples, title
        self.results: StreamResults = models.results
        self.readers = Readers(models.stages, accelerator)
        self.folder = uploads()
        self.blocks = self._build([*models.absent.values(), *notes])

    def launch(self, **options: Any) -> str:
        """Serve the page until [`close`], without waiting; returns its address."""
        # Gradio asks the page whether it is there; a proxy for other machines does not know.
        for name in ("no_proxy", "NO_PROXY"):
            os.environ[name] = ",".join(filter(None, [os.environ.get(name), "127.0.0.1", "localhost"]))
        gr = self.gradio
        theme = gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])
        own = {"theme": theme, "css": CSS, "footer_links": ["settings"], "ssr_mode": False, "share": False}
        quiet = {"quiet": True, "prevent_thread_lock": True, "enable_monitoring": False, "show_error": True}
        return self.blocks.launch(**own, **quiet, **options)[1]

    def close(self) -> None:
        self.blocks.close(verbose=False)

    def __enter__(self) -> "Page":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def answer(self, picture: str | None, choice: str, own: str, templates: str, progress: Any = None) -> str:
        """HTML of what all models take a picture for, or of what is wrong.

        Args:
            picture: its file.
            choice: a task's name, or `ALL`.
            own: class names in place of those, with commas or in lines; their templates are the stream's.
            templates: in place of the task's or the stream's, a line each.
            progress: told how many models have answered.
        """
        if not picture:
            return empty_html(EMPTY)
        try:
            classes, image = self.classes(choice, own, templates), read_picture(picture)
            names, answers = classes.names, {}
            for number, stage in enumerate(self.readers.stages):
                if progress is not None:
                    progress((number, len(self.readers.stages)), desc=stage.name)
                answers[stage.name] = top(self.readers.answer(stage, image, classes), names, TOP)
        except UnreadablePicture as error:
            return error_html(f"This file can't be read as a picture: {error}")
        except ConfigurationError as error:
            return error_html(str(error))
        whose = "of your own" if own.strip() else f"of {choice}"
        asked = ", ".join(f"“{template}”" for template in classes.templates[:3])
        more = ", ..." if len(classes.templates) > 3 else ""
        return answers_html(answers, f"{classes.counted} {whose}, as {asked}{more}")

    def classes(self, choice: str, own: str, templates: str) -> Classes:
        """What the fields ask for; raises as [`classes_for`] does."""
        lines = [line.strip() for line in templates.splitlines() if line.strip()]
        if not own.strip():
            return classes_for(self.results, None, None if choice == ALL else choice, lines)
        names = [*dict.fromkeys(part.strip() for part in own.replace("\n", ",").split(",") if part.strip())]
        return classes_for(self.results, names, None, lines)

    def _build(self, notes: Sequence[str]) -> Any:
        gr, results = self.gradio, self.results
        with gr.Blocks(title=self.title, analytics_enabled=False) as blocks:
            gr.HTML(head_html(self.title, [*self._lines(), *notes]))
            with gr.Row():
                with gr.Column(scale=2, min_width=280):
                    picture = gr.Image(
                        type="filepath",
                        label="Picture",
                        sources=["upload", "clipboard"],
                        height=300,
                        format="png",  # examples are sent as they are
                        elem_id="picture",
                        buttons=[],
                    )
                    # As it was dropped: Gradio would decode it first, with an error of its own, and write it anew.
                    picture.preprocess = lambda payload: payload and payload.path
                with gr.Column(scale=3, min_width=280):
                    choices = [(f"{ALL} ({Classes.of_tasks(results.tasks).counted})", ALL)]
                    choices += [(f"{task.name} ({len(task.class_names)} classes)", task.name) for task in results.tasks]
                    choice = gr.Dropdown(choices, value=ALL, label="Classes of", elem_id="choice")
                    own = gr.Textbox(
                        label="or class names of your own",
                        placeholder="cat, dog, polar bear",
                        lines=1,
                        max_lines=4,
                        elem_id="own",
                    )
                    with gr.Accordion("Templates", open=False):
                        templates = gr.Textbox(
                            label="A line each, {} stands for the class name",
                            placeholder="empty: the task's; of your own class names, the stream's",
                            lines=2,
                            elem_id="templates",
                        )
                    ask = gr.Button("Ask all models", variant="primary", elem_id="ask")
            if self.examples:
                shown = [(one.image, one.class_name, one.task) for one in self.examples]
                examples = gr.HTML(examples_html(shown), elem_id="examples", js_on_load=CLICKED)
            answers = gr.HTML(empty_html(EMPTY), elem_id="answers")
            if results.accuracy:
                curves = Path(self.folder, "curves.png")
                plot_curves(results, curves)
                gr.HTML(curves_html(curves.read_bytes()))
            fields = [picture, choice, own, templates]

            def respond(picture, choice, own, templates, progress=gr.Progress()):  # noqa: B008
                return self.answer(picture, choice, own or "", templates or "", progress)

            events = [picture.change, choice.input, own.submit, ask.click]
            gr.on(events, respond, fields, answers, concurrency_limit=1, api_visibility="private")
            if self.examples:

                def show(event):
                    example = self.examples[int(event.index)]
                    return example.image, example.task, ""

                # What tells Gradio to hand over the event.
                show.__annotations__["event"] = gr.EventData
                examples.click(show, None, [picture, choice, own], api_visibility="private")
        return blocks

    def _lines(self) -> list[str]:
        """Of the stream, in words."""
        results = self.results
        lines = [
            f"{results.base.name}, taught {len(results.learned)} tasks one after another by {results.method}: "
            f"{', '.join(results.stage_names)}."
        ]
        if results.metrics:
            shown = [f"{name} {percent(results.metrics.get(key))}" for key, name in METRICS.items()]
            lines.append(f"Accuracy in % ({results.protocol}): {', '.join(shown)}.")
        return lines
