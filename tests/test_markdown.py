"""Nothing that a name, template or setting holds is markup."""

import pytest
from markdown_it import MarkdownIt

from mulki_hf.markdown import code, hypothesis, literal, text
from mulki_hf.report.tables import markdown_table


NASTY = [
    "new\nline",
    "two\n\n# paragraphs\n- and | a list",
    "pipe | name",
    r"back\slash \| and bar",
    "`tick` and ``two`` `",
    "`",
    "<b>bold</b></script><!-- x",
    "&lt;b&gt; &amp; R&D",
    "*a* **b** _c_ ~~d~~ [e](f) ![g](h)",
    "snake_case_name",
    "__init__ x __y__ ___z___",
    "$x^2$ $$",
    "ключ 犬",
    "https://host/x",
]


def rendered(source: str) -> list:
    return MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(source)


def said(inline) -> str:
    """What a person reads, without markup in it."""
    assert {child.type for child in inline.children} <= {"text", "text_special", "code_inline"}
    return "".join(child.content for child in inline.children)


@pytest.mark.parametrize("value", NASTY)
def test_text_reads_as_it_is(value):
    wanted = " ".join(value.split())
    tokens = rendered(f"before {text(value)} after")
    assert [token.type for token in tokens] == ["paragraph_open", "inline", "paragraph_close"]
    assert said(tokens[1]) == f"before {wanted} after"
    heading = rendered(f"# {text(value)}")
    assert [token.type for token in heading] == ["heading_open", "inline", "heading_close"]
    table = [
        token for token in rendered(markdown_table([[text(value), "b"], ["1", text(value)]])) if token.type == "inline"
    ]
    assert [said(cell) for cell in table] == [wanted, "b", "1", wanted]


@pytest.mark.parametrize("value", NASTY)
def test_code_reads_as_it_is(value):
    (_, inline, _) = rendered(f"before {code(value)} after")
    (span,) = [child for child in inline.children if child.type == "code_inline"]
    assert span.content == " ".join(value.splitlines())
    assert len(inline.children) == 3


@pytest.mark.parametrize("value", NASTY)
def test_python_means_it_and_reads_well(value):
    assert eval(literal(value)) == value and eval(literal([value])) == [value]
    assert "\n" not in literal(value) and "\\u" not in literal(value)


@pytest.mark.parametrize("template", ["a {}.", "{} and {}", "a {} in {braces}", "{{}}", "100 % {} }", "{ {}"])
def test_the_pipeline_makes_the_same_prompt(template):
    """It formats what is here replaced."""
    assert hypothesis(template).format("cat") == template.replace("{}", "cat")
