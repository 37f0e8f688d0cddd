"""How the page looks: its style, and answers as HTML in the colours of Gradio's theme, light and dark."""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from html import escape
from io import BytesIO

from PIL.Image import Image


CSS = """
.gradio-container { width: 100%; max-width: 1240px !important; margin: 0 auto !important;
  --mulki-faint: color-mix(in srgb, var(--body-text-color) 62%, transparent); }
.gradio-container :is(.main, .wrap, .contain, .html-container, .prose) { min-width: 0 !important; }
.mulki-head h1 { font-size: 1.5rem; font-weight: 650; margin: 0 0 .15rem; }
.mulki-head p, .mulki-note { color: var(--mulki-faint); margin: .1rem 0; font-size: .92rem; }
.mulki-answers { display: grid; grid-template-columns: repeat(auto-fit, minmax(140px, 1fr)); gap: .75rem; }
.mulki-answer { background: var(--block-background-fill); border: 1px solid var(--border-color-primary);
  border-radius: 10px; padding: .6rem .6rem .7rem; min-width: 0; }
.mulki-answer h3 { font-size: .82rem; font-weight: 600; margin: 0 0 .4rem; overflow: hidden; text-overflow: ellipsis;
  white-space: nowrap; }
.mulki-changed { background: color-mix(in srgb, #e8890c 30%, transparent); border-radius: 5px; padding: 0 .3rem;
  margin-left: -.3rem; }
.mulki-class { margin-top: .38rem; font-size: .86rem; color: var(--body-text-color); }
.mulki-class div:first-child { display: flex; justify-content: space-between; gap: .5rem; }
.mulki-class div:first-child span:first-child { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.mulki-class div:first-child span:last-child { color: var(--mulki-faint);
  font-variant-numeric: tabular-nums; }
.mulki-class:nth-of-type(1) { font-weight: 650; }
.mulki-class:nth-of-type(1) div:first-child { flex-wrap: wrap; gap: 0 .3rem; }
.mulki-class:nth-of-type(1) div:first-child span:first-child { font-size: .95rem; }
.mulki-bar { height: 5px; border-radius: 3px; margin-top: .12rem; overflow: hidden;
  background: var(--border-color-primary); }
.mulki-bar div { height: 100%; border-radius: 3px; background: color-mix(in srgb, #2a7de1 45%, transparent); }
.mulki-class:nth-of-type(1) .mulki-bar div { background: #2a7de1; }
.mulki-caption { color: var(--mulki-faint); font-size: .86rem; margin: 0 0 .5rem; }
.mulki-empty, .mulki-error { border-radius: 10px; padding: 1.1rem; text-align: center;
  border: 1px dashed var(--border-color-primary); color: var(--mulki-faint); }
.mulki-error { border: 1px solid #d9534f; color: var(--body-text-color); overflow-wrap: anywhere; text-align: left;
  background: color-mix(in srgb, #d9534f 12%, transparent); }
.mulki-examples { display: flex; flex-wrap: wrap; gap: .5rem; }
.mulki-examples button { width: 92px; margin: 0; padding: 4px; border-radius: 8px; cursor: pointer; font: inherit;
  background: var(--block-background-fill); border: 1px solid var(--border-color-primary); }
.mulki-examples button:hover, .mulki-examples button:focus-visible { border-color: #2a7de1; outline: none; }
.mulki-examples img { width: 82px; height: 82px; object-fit: contain; margin: 0 !important; display: block;
  border-radius: 5px; }
.mulki-examples span { display: block; font-size: .74rem; line-height: 1.25; margin-top: .2rem; overflow: hidden;
  text-overflow: ellipsis; white-space: nowrap; color: var(--body-text-color); }
.mulki-examples span + span { color: var(--mulki-faint); margin: 0; }
.mulki-curves { overflow-x: auto; background: white; border: 1px solid var(--border-color-primary);
  border-radius: 10px; padding: .5rem; }
.mulki-curves img { width: 100%; min-width: 640px; margin: 0; }
"""


def head_html(title: str, lines: Sequence[str]) -> str:
    """The page's title, and what is to be said of the stream."""
    return (
        f'<div class="mulki-head"><h1>{escape(title)}</h1>{"".join(f"<p>{escape(line)}</p>" for line in lines)}</div>'
    )


def answers_html(answers: Mapping[str, Sequence[tuple[str, float]]], caption: str) -> str:
    """A card a model with a bar a class, marked where the first class is another one than the model before has.

    Args:
        answers: by model, the most probable classes first.
        caption: what was asked.
    """
    cards, before = [], None
    for model, said in answers.items():
        first = said[0][0]
        bars = "".join(_bar(*one, before if before not in (None, first) and one[0] == first else None) for one in said)
        cards.append(f'<section class="mulki-answer"><h3 title="{escape(model)}">{escape(model)}</h3>{bars}</section>')
        before = first
    return f'<p class="mulki-caption">{escape(caption)}</p><div class="mulki-answers">{"".join(cards)}</div>'


def _bar(name: str, probability: float, instead_of: str | None) -> str:
    share, title, mark = f"{100 * probability:.1f}", name, ""
    if instead_of is not None:
        title, mark = f"{name}, and no longer {instead_of}", ' class="mulki-changed"'
    bar = f'<div class="mulki-bar"><div style="width: {share}%"></div></div>'
    named = f'<span{mark} title="{escape(title)}">{escape(name)}</span>'
    return f'<div class="mulki-class"><div>{named}<span>{100 * probability:.0f}%</span></div>{bar}</div>'


def examples_html(examples: Sequence[tuple[Image, str, str]]) -> str:
    """Pictures to click on, `data-index` of each its position; of each the picture and two lines."""
    buttons = "".join(
        f'<button type="button" data-index="{index}" title="{escape(f"{first}: {second}")}">'
        f'<img alt="" src="{_address(image)}"><span>{escape(first)}</span><span>{escape(second)}</span></button>'
        for index, (image, first, second) in enumerate(examples)
    )
    words = "Examples of the tasks' evaluation data, by class and task"
    return f'<p class="mulki-caption">{words}</p><div class="mulki-examples">{buttons}</div>'


def curves_html(picture: bytes) -> str:
    """The PNG of the curves; it is drawn on white."""
    source, words = b64encode(picture).decode(), "Each task's accuracy over the stream"
    return f'<div class="mulki-curves"><img alt="{words}" src="data:image/png;base64,{source}"></div>'


def _address(image: Image) -> str:
    """A thumbnail inside the page; small pictures keep their pixels."""
    thumbnail, content = image.copy(), BytesIO()
    thumbnail.thumbnail((164, 164))
    thumbnail.save(content, "PNG")
    return f"data:image/png;base64,{b64encode(content.getvalue()).decode()}"


def empty_html(words: str) -> str:
    """In place of answers: what to do."""
    return f'<div class="mulki-empty">{escape(words)}</div>'


def error_html(words: str) -> str:
    """In place of answers: what went wrong."""
    return f'<div class="mulki-error" role="alert">{escape(words)}</div>'
