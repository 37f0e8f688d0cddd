"""`mulki-hf recipes`: the streams that ship with the package."""

from pathlib import Path

from .errors import ConfigurationError
from .program import CommandParser, ends_in_a_line
from .resources import shipped_recipe, shipped_recipes


def make_parser() -> CommandParser:
    """A name, and whether to show what it stands for."""
    parser = CommandParser(
        command="recipes",
        example="quickstart --print > my-stream.yaml",
        description="List the recipes that ship with the package, or show one: a YAML to run or to change.",
    )
    parser.add_argument("name", nargs="?", metavar="NAME", help="the recipe; without one all are listed")
    parser.add_argument("--print", action="store_true", dest="whole", help="print the YAML of NAME, and nothing else")
    parser.add_argument("--resolved", action="store_true", help="likewise, with what it takes from those it extends")
    return parser


@ends_in_a_line()
def main(argv: list[str] | None = None) -> None:
    """The command: status 1 with one line on stderr for a name that is none."""
    args = make_parser().parse_args(argv)
    if (args.whole or args.resolved) and args.name is None:
        option = "--print" if args.whole else "--resolved"
        raise ConfigurationError(f"{option} needs a name: {', '.join(shipped_recipes())}")
    print(resolved(args.name) if args.resolved else told(args.name, args.whole), end="")


def told(name: str | None, whole: bool = False) -> str:
    """What there is to say of the recipe `name`, with `whole` its YAML; without a name of each of them, in a line.

    Raises:
        ConfigurationError: no recipe of that name ships.
    """
    if name is None:
        paths = shipped_recipes()
        width = max(map(len, paths)) + 2
        lines = [f"{name:<{width}}{summary(path.read_text(encoding='utf-8'))}\n" for name, path in paths.items()]
        return "".join(lines) + "\nRun one: mulki-hf train --config NAME. Look at it: mulki-hf recipes NAME --print\n"
    path = _shipped(name)
    text = path.read_text(encoding="utf-8")
    if whole:
        return text
    return (
        f"{summary(text)}\n\nRun it:     mulki-hf train --config {name}\n"
        f"Change it:  mulki-hf recipes {name} --print > my-stream.yaml\nIt lies in  {path}\n"
    )


def resolved(name: str) -> str:
    """The recipe `name` in full, with what it takes from those that it extends; raises as [`told`]."""
    import yaml  # here, since a list of what there is needs none of it

    from .extends import merged, read_layers

    path = _shipped(name)
    recipe = merged(read_layers(path, name))
    text = yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True, width=120)
    return f"# {summary(path.read_text(encoding='utf-8'))}\n{text}"


def _shipped(name: str) -> Path:
    return shipped_recipe(name, f"no recipe {name!r} ships with the package")


def summary(recipe: str) -> str:
    """The first line of a recipe, which is a comment."""
    return recipe.partition("\n")[0].removeprefix("#").strip()


if __name__ == "__main__":
    main()
