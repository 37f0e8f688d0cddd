"""Pieces of photographs: no split shows a pixel of another."""

import numpy as np
import pytest
from PIL import Image

from mulki_hf.embedded import photographs
from mulki_hf.embedded.photographs import PHOTOGRAPHS, Photographs


for package in ("skimage", "sklearn"):
    pytest.importorskip(package)


def test_tiles_share_no_pixel_and_keep_a_distance():
    across, down = np.meshgrid(np.arange(250), np.arange(200))
    places = np.stack([across, down, np.zeros_like(down)], axis=-1).astype(np.uint8)
    owner = np.full((200, 250), -1)
    for number, tile in enumerate(photographs._tiles(Image.fromarray(places))):
        columns, rows, _ = np.asarray(tile).reshape(-1, 3).T
        assert (owner[rows, columns] == -1).all()
        owner[rows, columns] = number
    assert number + 1 == 5 * 6
    for gap in range(1, 4):
        for one, other in ((owner[gap:], owner[:-gap]), (owner[:, gap:], owner[:, :-gap])):
            assert ((one == other) | (one == -1) | (other == -1)).all()


def test_every_tile_belongs_to_one_split(tmp_path, monkeypatch):
    monkeypatch.setattr(photographs, "_piece", lambda tile, rng: tile)
    builder = Photographs(cache_dir=str(tmp_path))
    shown = {
        split: {(example["label"], example["image"].tobytes()) for example in builder._examples(split)}
        for split in builder.splits
    }
    for split, tiles in shown.items():
        assert {label for label, _ in tiles} == set(range(len(PHOTOGRAPHS)))
        assert all(tiles.isdisjoint(others) for name, others in shown.items() if name != split)


def test_a_piece_shows_nothing_beyond_its_tile_and_is_never_empty():
    rng = np.random.default_rng(0)
    tile = np.full((60, 60, 3), 200, dtype=np.uint8)
    tile[:, 55:] = 0
    contrasts = []
    for _ in range(50):
        pixels = np.asarray(photographs._piece(Image.fromarray(tile), rng))
        assert pixels.shape == (64, 64, 3)
        contrasts.append(pixels.std())
    # Most squares of the tile lie in the part of one colour.
    assert min(contrasts) > 4
