"""Picture classification with plain patches (Vision Transformer; Dosovitskiy et al. 2021, section 3.1).

    picture    28 x 28 grey, cut into 4 x 4 patches of 7 x 7 pixels            label   sneaker
    encoder    [CLS] patch 0,0  patch 0,1 ... patch 3,3                         17 vectors of 49 numbers
    asked      once, about the whole picture: sneaker

Patches are features, no tokens: a linear layer makes a vector of each. [CLS] is a patch of zeros, so that its vector is
the layer's bias and its learned position. The head reads it, or the mean over all patches; then there is no [CLS].
"""

import numpy as np
from jaxtyping import Float, Float32, UInt8

from glassformer.answers import PredictsLabels, ReadsPictures
from glassformer.data.batch import IGNORE_INDEX, Example, OutputSpec, Stream, StreamSpec, sequence_targets
from glassformer.data.pictures import read_picture
from glassformer.data.table import ValueColumn
from glassformer.errors import UsageError
from glassformer.objective_configs import ImageClassificationConfig
from glassformer.objectives import Dataset, Objective, Prompt

HEAD = "label"
CLS = "[CLS]"


class ImageClassification(Objective[ImageClassificationConfig], PredictsLabels, ReadsPictures):
    """Ask for the label of a picture; see the module's example."""

    Config = ImageClassificationConfig
    direction = "both sides, all patches"
    question = "which label the whole picture has"
    good_for = "pictures, read as a row of patches"
    columns = ("array", "label")
    draws = False
    asks_with = "PICTURE.png"

    def check(self) -> None:
        """Raises UsageError where patches do not fill the picture, or are more than the model reads."""
        height, width = self.shape[:2]
        size = self.config.patch
        if height % size or width % size:
            raise UsageError(
                f"patches of {size} x {size} do not fill a picture of {height} x {width}",
                f"objective.patch that does: {', '.join(map(str, _common_divisors(height, width)))}",
            )
        if self.row_length > self.max_length:
            raise UsageError(
                f"a picture has {self.row_length} patches, and the model reads {self.max_length}",
                f"use model.max_length={self.row_length}, or larger patches (objective.patch)",
            )

    @property
    def shape(self) -> tuple[int, ...]:
        """Height, width, and where there are several the number of colours."""
        assert self.arrays is not None, "made from codecs"
        return self.arrays.shape

    @property
    def grid(self) -> tuple[int, int]:
        """Patches in a column and in a row."""
        return self.shape[0] // self.config.patch, self.shape[1] // self.config.patch

    @property
    def has_cls(self) -> bool:
        """Whether a [CLS] stands before the patches."""
        return self.config.read == "first"

    @property
    def row_length(self) -> int:
        """Patches of a picture, and [CLS]."""
        return self.grid[0] * self.grid[1] + self.has_cls

    @property
    def pad_id(self) -> int:
        """None is needed: all pictures have as many patches."""
        return 0

    def inputs(self) -> dict[str, StreamSpec]:
        """Vectors with a number for each pixel of a patch."""
        return {"encoder": StreamSpec("features", self.config.patch**2 * int(np.prod(self.shape[2:])))}

    @property
    def label_head(self) -> str:
        """Its only one."""
        return HEAD

    def outputs(self) -> list[OutputSpec]:
        """One head over the labels, which reads once for each picture."""
        return [OutputSpec(HEAD, len(self.label_names), read=self.config.read, labels=self.label_names)]

    def dataset(self, corpus: ValueColumn) -> Dataset:
        """One picture each."""
        return LabelledPictures(self, corpus)

    def patches(self, picture: UInt8[np.ndarray, "height width *colours"]) -> Float32[np.ndarray, "T F"]:
        """The patches row by row, pixels from -1 (black) to 1; before them zeros where [CLS] is read."""
        (rows, columns), size = self.grid, self.config.patch
        cut = picture.reshape(rows, size, columns, size, -1).swapaxes(1, 2).reshape(rows * columns, -1)
        patches = cut.astype(np.float32) / 127.5 - 1
        return np.concatenate([np.zeros_like(patches[: self.has_cls]), patches])

    def picture_of(self, example: Example) -> UInt8[np.ndarray, "height width *colours"]:
        """Patches back in their places."""
        (rows, columns), size = self.grid, self.config.patch
        patches = (example.streams["encoder"].values[self.has_cls :] + 1) * 127.5
        cut = patches.round().astype(np.uint8).reshape(rows, columns, size, size, -1).swapaxes(1, 2)
        return cut.reshape(self.shape)

    def on_patches(self, weights: Float[np.ndarray, "n T T"]) -> Float[np.ndarray, "n rows columns"]:
        """Where [CLS] looks, or, where all patches are read, where they look in the mean."""
        looks = weights[:, 0, 1:] if self.has_cls else weights.mean(1)
        return looks.reshape(len(weights), *self.grid)

    def example(self, picture: UInt8[np.ndarray, "height width *colours"], label: int) -> Example:
        """A picture and the number of its label."""
        stream = Stream(self.patches(picture))
        return Example({"encoder": stream}, {HEAD: sequence_targets(stream, label)})

    def prompt(self, text: str) -> Prompt:
        """A picture, named by its file (PICTURE.png) or as an item of an idx file (FILE:17). Raises UsageError for what
        is no picture of the size that the model was trained on."""
        example = self.example(read_picture(text, self.shape), IGNORE_INDEX)
        return Prompt(text, example, self.names_in("encoder", example.streams["encoder"]))

    def names_in(self, name: str, stream: Stream) -> list[str]:
        """`[CLS]`, `0,0`, `0,1`: row and column of each patch."""
        rows, columns = self.grid
        return [CLS] * self.has_cls + [f"{row},{column}" for row in range(rows) for column in range(columns)]

    def as_prompt(self, example: Example) -> Prompt:
        """An example of its own, with the places of its patches."""
        return Prompt("a picture", example, self.names_in("encoder", example.streams["encoder"]))

    def words_of(self, example: Example) -> tuple[int, int]:
        """There are none."""
        return 0, 0


class LabelledPictures(Dataset):
    """One unit for each picture."""

    def __init__(self, objective: ImageClassification, pictures: ValueColumn) -> None:
        labels = pictures.beside.get("label")
        if not isinstance(labels, ValueColumn):
            raise UsageError("pictures have no labels", "name the file of their labels: data.train_targets")
        self.objective, self.pictures, self.labels = objective, pictures, labels
        self.lengths = np.full(pictures.n_rows, objective.row_length, dtype=np.int64)

    def example(self, index: int, rng: np.random.Generator) -> Example:
        """Picture `index` with its label."""
        return self.objective.example(np.asarray(self.pictures.values[index]), int(self.labels.values[index]))


def _common_divisors(height: int, width: int) -> list[int]:
    return [size for size in range(2, min(height, width) + 1) if height % size == width % size == 0]
