"""The image-text pairs that clip-nano is pre-trained on, from installable packages, rendered once.

    python corpus.py --npm FOLDER_OF_UNPACKED_ICONIFY_PACKAGES --out corpus.safetensors

Nothing of the embedded stream may be among them: no font that it draws with, no OpenMoji, no Font Awesome, no
handwriting. `refuse_stream_material` guards every file that is read.
"""

import argparse
import io
import json
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path

import matplotlib
import numpy as np
from fontTools.ttLib import TTFont
from PIL import Image, ImageDraw, ImageFont
from safetensors.numpy import save_file
from tqdm import tqdm

from mulki_hf.embedded.glyphs import HELD_OUT_FONTS


SIDE = 48
GROUPS = ("emoji", "icons", "digits", "capitals", "letters", "greek")

FONT_FOLDERS = ("/usr/share/fonts/truetype", "/usr/share/fonts/opentype")
ICON_THEMES = ("/usr/share/icons/gnome/48x48", "/usr/share/icons/mate/48x48", "/usr/share/icons/oxygen/base/48x48")
CLIPART_FOLDER = "/usr/share/openclipart/png"
STAMPS_FOLDER = "/usr/share/tuxpaint/stamps"
EMOJI_PACKAGES = (
    "twemoji",
    "noto",
    "noto-v1",
    "fluent-emoji-flat",
    "emojione",
    "emojione-v1",
    "fxemoji",
    "streamline-emojis",
)

# Families of the held-out fonts under whatever file name a package ships them, and their close relatives: DejaVu Math
# TeX Gyre shares letters with DejaVu Serif (the shipped weights were trained before it was refused, see README.md).
HELD_OUT_FAMILIES = ("dejavu serif", "dejavu math", "bitstream vera serif", "stix", "xits")
HANDWRITING = ("script", "hand", "cursive", "brush", "comic", "calligra", "chancery")
STREAM_SETS = ("openmoji", "font-awesome", "fontawesome", "fa6-", "fa-solid", "fa-regular", "fa-brands")
NOTO_FACES = ("NotoSans-", "NotoSerif-", "NotoSansMono-", "NotoSansDisplay-", "NotoSerifDisplay-")
NOTO_WEIGHTS = ("Regular", "Bold", "Italic", "BoldItalic", "Light", "Black")


class StreamMaterialError(ValueError):
    """A source would leak the embedded stream's data into pre-training."""


def refuse_stream_material(path: str | Path, family: str = "") -> None:
    """Raise `StreamMaterialError` if a source file or font family belongs to the embedded stream.

    Args:
        path: the source's path; its stem and its parts are looked at.
        family: a font's family name, as its name table gives it.
    """
    path = Path(path)
    text = f"{path} {family}".lower()
    if path.stem in HELD_OUT_FONTS or any(held_out in family.lower() for held_out in HELD_OUT_FAMILIES):
        raise StreamMaterialError(f"{path.name} ({family}) is a font of the stream")
    for name in STREAM_SETS:
        if name in text:
            raise StreamMaterialError(f"{path.name} is of {name!r}, which the stream draws with")
    if any(word in family.lower() for word in HANDWRITING):
        raise StreamMaterialError(f"{path.name} ({family}) imitates handwriting")


@dataclass
class Corpus:
    """Rendered pairs: RGBA pictures, each with the captions that may stand beside it."""

    images: list[np.ndarray] = field(default_factory=list)
    captions: list[list[str]] = field(default_factory=list)
    groups: list[int] = field(default_factory=list)
    concepts: list[str] = field(default_factory=list)

    def add(self, image: Image.Image, group: str, concept: str, captions: list[str]) -> None:
        """Take in one picture; pictures of equal `concept` are positives for each other."""
        self.images.append(np.asarray(image))
        self.groups.append(GROUPS.index(group))
        self.concepts.append(concept)
        self.captions.append(captions)

    def save(self, path: Path) -> None:
        """Write pictures, groups and concept numbers as safetensors, captions as JSON beside them."""
        numbers = {concept: number for number, concept in enumerate(sorted(set(self.concepts)))}
        tensors = {
            "images": np.stack(self.images),
            "groups": np.array(self.groups, dtype=np.int64),
            "concepts": np.array([numbers[concept] for concept in self.concepts], dtype=np.int64),
        }
        save_file(tensors, path)
        path.with_suffix(".captions.json").write_text(json.dumps(self.captions, ensure_ascii=False))


def fit(image: Image.Image) -> Image.Image:
    """An RGBA picture scaled into the square, centred on a transparent ground."""
    image = image.convert("RGBA")
    scale = SIDE / max(image.size)
    image = image.resize([max(1, round(side * scale)) for side in image.size], Image.Resampling.LANCZOS)
    square = Image.new("RGBA", (SIDE, SIDE))
    square.paste(image, [(SIDE - side) // 2 for side in image.size])
    return square


# Glyphs


def font_files() -> list[Path]:
    """Upright and italic text fonts of matplotlib and Debian, those of the stream left out."""
    shipped = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    candidates = [path for path in sorted(shipped.glob("*.ttf")) if path.stem.startswith(("DejaVuSans", "cm"))]
    for folder in FONT_FOLDERS:
        candidates += sorted(path for path in Path(folder).rglob("*") if path.suffix in (".ttf", ".otf"))
    kept = []
    for path in candidates:
        if path.stem.startswith("Noto") and not (
            path.stem.startswith(NOTO_FACES) and path.stem.partition("-")[2] in NOTO_WEIGHTS
        ):
            continue
        try:
            refuse_stream_material(path, font_family(path))
        except StreamMaterialError:
            continue
        kept.append(path)
    return kept


def font_family(path: Path) -> str:
    """Family name from the font's name table."""
    return TTFont(path, lazy=True, fontNumber=0)["name"].getDebugName(1) or ""


def glyph_concepts() -> list[tuple[str, str, str, list[str]]]:
    """`(character, group, concept, captions)` of digits, Latin, Greek and Cyrillic letters, by Unicode name."""
    glyphs = []
    for character in "0123456789":
        name = unicodedata.name(character).split()[-1].lower()
        captions = [f"the digit {name}", f"digit {name}", f"the number {name}", f"a photo of the digit {name}"]
        glyphs.append((character, "digits", f"digit {name}", [*captions, f"the digit {character}", name]))
    for code in range(26):
        letter = chr(ord("a") + code)
        captions = [f"the capital letter {letter}", f"latin capital letter {letter}", f"capital {letter}"]
        captions += [f"the capital letter {letter}", f"a picture of the capital letter {letter}"]
        glyphs.append((letter.upper(), "capitals", f"capital {letter}", captions))
        captions = [f"the small letter {letter}", f"latin small letter {letter}", f"the lowercase letter {letter}"]
        glyphs.append((letter, "letters", f"small {letter}", captions))
    greek = [chr(code) for code in range(0x3B1, 0x3CA) if code != 0x3C2]
    for character in greek + [character.upper() for character in greek]:
        name = unicodedata.name(character).lower().replace("lamda", "lambda")
        letter = name.split()[-1]
        if "small" in name:
            captions = [f"the greek letter {letter}", name, f"greek {letter}", f"the small greek letter {letter}"]
            captions += [f"the greek letter {letter}", f"a picture of the greek letter {letter}"]
        else:
            captions = [name, f"the greek capital letter {letter}", f"greek capital {letter}"]
        glyphs.append((character, "greek" if "small" in name else "letters", name, captions))
    for code in range(0x410, 0x450):
        name = unicodedata.name(chr(code)).lower()
        glyphs.append((chr(code), "letters", name, [name, f"the {name}"]))
    return glyphs


def add_glyphs(corpus: Corpus) -> None:
    """Each character in each font that has it; black on transparent, so that training picks the colours."""
    for path in tqdm(font_files(), desc="fonts"):
        characters = TTFont(path, lazy=True, fontNumber=0).getBestCmap() or {}
        font = ImageFont.truetype(path, 40)
        for character, group, concept, captions in glyph_concepts():
            if ord(character) not in characters:
                continue
            left, top, right, bottom = font.getbbox(character)
            if right - left < 3 or bottom - top < 3:
                continue
            size = max(right - left, bottom - top) + 8
            square = Image.new("RGBA", (size, size))
            corner = ((size - right - left) / 2, (size - bottom - top) / 2)
            ImageDraw.Draw(square).text(corner, character, font=font, fill="black")
            if np.asarray(square)[..., 3].max() > 128:
                corpus.add(fit(square), group, concept, captions)


# Pictures with names


def add_emoji(corpus: Corpus, npm: Path) -> None:
    """Emoji by artists other than the stream's: icon name and, for single code points, Unicode name."""
    import resvg_py

    folders = {package: npm / f"iconify-json-{package}" for package in EMOJI_PACKAGES}
    # Not every set says which character a picture is; the sets share their names, at times without the hyphens.
    codes = {}
    for folder in folders.values():
        for code, name in dict(json.loads((folder / "chars.json").read_text())).items():
            codes.setdefault(name, code)
            codes.setdefault(name.replace("-", ""), code)
    for package, folder in folders.items():
        refuse_stream_material(folder)
        data = json.loads((folder / "icons.json").read_text())
        for name, icon in tqdm(data["icons"].items(), desc=package):
            code = codes.get(name, "")
            if icon.get("hidden") or "skin-tone" in name or "-1f3f" in code or name.startswith("flag-"):
                continue
            captions = [name.replace("-", " ")] if "-" in name or package != "fxemoji" else []
            concept = name
            if code and "-" not in code.removesuffix("-fe0f"):
                concept = unicodedata.name(chr(int(code.removesuffix("-fe0f"), 16)), name).lower()
                captions = [concept, concept, *captions]
            if not captions:
                continue
            width, height = (icon.get(k, data.get(k, 16)) for k in ("width", "height"))
            svg = (
                '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
                f'width="{SIDE}" height="{SIDE}" viewBox="0 0 {width} {height}">{icon["body"]}</svg>'
            )
            picture = Image.open(io.BytesIO(bytes(resvg_py.svg_to_bytes(svg_string=svg))))
            captions += [f"an emoji of {captions[0]}", f"a picture of {captions[0]}"]
            corpus.add(fit(picture), "emoji", concept, captions)


def add_icons(corpus: Corpus) -> None:
    """Icon themes by icon name, clip art by the first words of its file name, stamps by their description."""
    for source in (*ICON_THEMES, CLIPART_FOLDER, STAMPS_FOLDER):
        refuse_stream_material(source)
    for theme in ICON_THEMES:
        for path in tqdm(sorted(Path(theme).rglob("*.png")), desc=Path(theme).parent.name):
            if not path.is_symlink():
                name = path.stem.replace("-", " ").replace("_", " ").lower()
                corpus.add(fit(Image.open(path)), "icons", name, [name, f"an icon of {name}", f"{name} icon"])
    for path in tqdm(sorted(Path(CLIPART_FOLDER).rglob("*.png")), desc="openclipart"):
        words = [word for word in path.stem.lower().replace("-", "_").split("_") if word.isalpha()]
        if not words or path.stat().st_size > 150_000:
            continue
        category = path.parent.name.replace("_", " ")
        name = words[0] if len(words) < 5 else " ".join(words[:2])
        corpus.add(fit(Image.open(path)), "icons", name, [name, f"{name}, {category}", f"a picture of {name}"])
    for path in tqdm(sorted(Path(STAMPS_FOLDER).rglob("*.png")), desc="stamps"):
        text = path.with_suffix(".txt")
        if text.is_file() and not path.stem.endswith("_mirror"):
            name = text.read_text(encoding="utf-8", errors="replace").splitlines()[0].strip(" .!").lower()
            corpus.add(fit(Image.open(path)), "icons", name, [name, f"a photo of {name}"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--npm", type=Path, required=True, help="folder with the unpacked iconify-json-* packages")
    parser.add_argument("--out", type=Path, required=True, help="safetensors file to write; captions go beside it")
    args = parser.parse_args()
    corpus = Corpus()
    add_glyphs(corpus)
    add_emoji(corpus, args.npm)
    add_icons(corpus)
    corpus.save(args.out)
    counts = {group: corpus.groups.count(number) for number, group in enumerate(GROUPS)}
    print(f"{len(corpus.images)} pairs, {len(set(corpus.concepts))} concepts: {counts}")


if __name__ == "__main__":
    main()
