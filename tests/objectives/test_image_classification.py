"""Pictures from idx files to `classify`: patches, what is refused, and a run from end to end."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
import tiny_recipe
import torch
from trained import command

from glassformer.ask.run import Run
from glassformer.assemble import assemble
from glassformer.data.batch import Stream, collate
from glassformer.data.codecs import Codecs
from glassformer.data.labels import Labels
from glassformer.data.table import Arrays
from glassformer.errors import GlassformerError, UsageError
from glassformer.look.report import draw_report
from glassformer.objective_configs import ImageClassificationConfig
from glassformer.objectives.image_classification import ImageClassification
from glassformer.recipe import parse

HEIGHT, WIDTH = 6, 9


def write_idx(file: Path, array: np.ndarray) -> Path:
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    file.write_bytes(gzip.compress(bytes([0, 0, 8, array.ndim]) + sizes + array.astype(np.uint8).tobytes()))
    return file


def pictures(number: int, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Noise with one bright patch: which half it is in says the label."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, number)
    found = rng.integers(0, 60, (number, HEIGHT, WIDTH))
    for picture, label in zip(found, labels, strict=True):
        picture[3 * label : 3 * label + 3, 3:6] += 180
    return found.astype(np.uint8), labels * 4 + 3  # written as 3 and 7


def recipe_for(folder: Path, **sections):
    images, labels = pictures(200)
    tree = tiny_recipe.tree(folder, **sections)
    tree["data"] = {
        "train": str(write_idx(folder / "images.gz", images)),
        "train_targets": str(write_idx(folder / "labels.gz", labels)),
        "validation_share": 0.2,
    }
    tree["objective"] = {"name": "image_classification", "patch": 3} | sections.get("objective", {})
    return parse(tree)


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    folder = tmp_path_factory.mktemp("pictures")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GLASSFORMER_CACHE", str(folder / "cache"))
        changed = {
            "model": {"d_model": 24, "dropout": 0.0},
            "batch": {"size": 16},
            "optimizer": {"learning_rate": 0.005},
            "training": {"steps": 100, "evaluate_every": 50, "checkpoint_every": 50},
        }
        return tiny_recipe.train(recipe_for(folder, **changed), folder / "run")


def objective_of(**config) -> ImageClassification:
    codecs = Codecs(label=Labels(("a", "b")), array=Arrays((HEIGHT, WIDTH)))
    return ImageClassification.from_codecs(ImageClassificationConfig(patch=3, **config), codecs, 13)


def test_patches_are_pieces_of_the_picture():
    """Row by row, each with its pixels row by row, from -1 to 1; before them a [CLS] of zeros where that is read."""
    picture = np.arange(HEIGHT * WIDTH, dtype=np.uint8).reshape(HEIGHT, WIDTH)
    patches = objective_of(read="mean").patches(picture)
    assert patches.shape == (6, 9) and patches.dtype == np.float32
    for row in range(2):
        for column in range(3):
            piece = picture[3 * row : 3 * row + 3, 3 * column : 3 * column + 3]
            expected = [value / 127.5 - 1 for value in piece.flatten().tolist()]
            assert patches[3 * row + column].tolist() == pytest.approx(expected)
    with_cls = objective_of().patches(picture)
    assert not with_cls[0].any() and np.array_equal(with_cls[1:], patches)
    assert objective_of().names_in("encoder", Stream(with_cls)) == ["[CLS]", "0,0", "0,1", "0,2", "1,0", "1,1", "1,2"]


def test_patches_must_fit():
    with pytest.raises(UsageError, match="patches of 4 x 4 do not fill a picture of 6 x 9"):
        ImageClassification.from_codecs(
            ImageClassificationConfig(patch=4), Codecs(label=Labels(("a", "b")), array=Arrays((HEIGHT, WIDTH))), 13
        )
    with pytest.raises(UsageError, match=r"has 55 patches, and the model reads 13"):
        ImageClassification.from_codecs(
            ImageClassificationConfig(patch=1), Codecs(label=Labels(("a", "b")), array=Arrays((HEIGHT, WIDTH))), 13
        )


def test_pictures_are_learned_and_classified(run, tmp_path):
    """Labels are called as the file has them; a picture is named by its file or its number."""
    assert run.evaluate()["accuracy"] > 0.9
    images, labels = pictures(5, seed=2)
    from PIL import Image

    Image.fromarray(images[3]).save(tmp_path / "one.png")
    file = write_idx(tmp_path / "new.gz", images)
    found = run.classify([f"{file}:{n}" for n in range(5)])
    assert [one.label for one in found] == [str(label) for label in labels]
    said = command("classify", run.path, tmp_path / "one.png", "--json")
    assert json.loads(said.out)["label"] == str(labels[3])
    with pytest.raises(UsageError, match="there is no file"):
        run.classify("a shoe")
    with pytest.raises(GlassformerError, match="reads no text"):
        run.tokenizer  # noqa: B018


def test_a_run_of_pictures_has_its_curves_and_samples(run):
    assert [picture.name for picture in draw_report(run)][:2] == ["curves.png", "attention-0.png"]
    assert json.loads((run.path / "arrays.json").read_text()) == {"shape": [HEIGHT, WIDTH]}
    assert not (run.path / "tokenizer.json").exists()
    assert "true 7" in "".join(file.read_text() for file in run.directory.samples.iterdir())


def test_an_unknown_class_is_refused_with_its_item(tmp_path):
    recipe = recipe_for(tmp_path)
    images, labels = pictures(4)
    data = recipe.data.model_copy(
        update={
            "validation": str(write_idx(tmp_path / "v.gz", images)),
            "validation_targets": str(write_idx(tmp_path / "l.gz", labels * 0 + 9)),
        }
    )
    with pytest.raises(UsageError, match=r"l\.gz, item 0: the label '9' does not occur"):
        assemble(recipe.model_copy(update={"data": data}))


def test_floats_are_no_tokens():
    """They would be cut to integers."""
    from glassformer.data.batch import Example

    with pytest.raises(UsageError, match="are no token ids"):
        collate([[Example({"encoder": Stream(np.array([0.7, 1.9, 2.4]))}, {})]], 0)


def test_features_are_padded_with_zeros_and_masked():
    from glassformer.data.batch import Example

    examples = [Example({"encoder": Stream(np.full((n, 2), 0.5 + n, dtype=np.float32))}, {}) for n in (2, 3)]
    stream = collate([[example] for example in examples], 7).streams["encoder"]
    assert stream.input_ids.dtype == torch.float32
    assert stream.input_ids.tolist() == [[[2.5, 2.5], [2.5, 2.5], [0, 0]], [[3.5, 3.5]] * 3]
    assert stream.mask.key_mask.tolist() == [[True, True, False], [True] * 3]
