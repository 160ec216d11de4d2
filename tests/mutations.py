"""Damages of run directories and Hugging Face folders, drawn at random from a seed, and the commands that must answer
each of them with an answer or with a line and the mend: no traceback, no waiting, no memory without limit."""

import asyncio
import contextlib
import copy
import hashlib
import io
import itertools
import json
import os
import random
import shutil
import signal
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import numpy as np
import pytest
import tiny_recipe
import yaml
from trained import command

from glassformer.answers import FillsBlanks, Generates, ReadsPictures
from glassformer.ask.run import load
from glassformer.errors import GlassformerError
from glassformer.exchange import export_run, import_run
from glassformer.studio.app import studio

SECONDS = 10
"""No answer may take longer."""
PAIRS = "pairs.tsv"
LABELS = "labelled.csv"
TWO = "two.csv"
TAGGED = "tagged.conll"
ASKED = "asked.jsonl"
OBJECTIVES: dict[str, dict[str, Any]] = {
    "masked_lm": {"training": {"probes": ["red [MASK] sun"]}},
    "next_sentence": {},
    "causal_lm": {"model": {"preset": "gpt2"}, "tokenizer": {"kind": "bpe", "vocab_size": 300}},
    "permutation_lm": {"tokenizer": {"kind": "wordpiece", "vocab_size": 60}},
    "denoising": {},
    "span_corruption": {"tokenizer": {"kind": "unigram", "vocab_size": 60, "sentinels": 12}},
    "seq2seq": {"model": {"preset": "bart"}, "training": {"probes": ["red sun\tnus der"]}},
    "mixture": {},
    "classification": {},
    "sentence_pair": {},
    "similarity": {"objective": {"scale": 5}},
    "tagging": {},
    "span_extraction": {},
    "image_classification": {"objective": {"patch": 3}},
}
"""Every objective, and what its run has of its own."""


# ------------------------------------------------------------------------------------------------ what is damaged


def make_runs(folder: Path) -> dict[str, Path]:
    """A run of two steps of every objective."""
    lines = tiny_recipe.sentences()
    text = tiny_recipe.text_file(folder, [f"{one} . {other} ." for one, other in itertools.pairwise(lines)])
    pairs = tiny_recipe.text_file(folder, [f"{line}\t{line[::-1]}" for line in lines], PAIRS)
    labelled = tiny_recipe.text_file(
        folder, ["text,label", *(f"{line},{n % 3}" for n, line in enumerate(lines))], LABELS
    )
    short = [" ".join(line.split()[:3]) for line in lines]  # two of them fit
    both = [f"{line},{line[::-1]},{n % 3}" for n, line in enumerate(short)]
    two = tiny_recipe.text_file(folder, ["text,second,label", *both], TWO)
    numbered = tiny_recipe.text_file(folder, ["text,second,number", *both], "numbered.csv")
    sentences = ["".join(f"{word}\tT{n % 3}\n" for n, word in enumerate(line.split())) for line in lines]
    tagged = tiny_recipe.text_file(folder, sentences, TAGGED)
    rows = [{"context": line, "question": line.split()[0], "answers": [_first_word(line)]} for line in lines]
    asked = tiny_recipe.text_file(folder, [json.dumps(row) for row in rows], ASKED)
    pictures, numbers = pictures_in(folder)
    runs = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GLASSFORMER_CACHE", str(folder / "cache"))
        for name, sections in OBJECTIVES.items():
            objective: dict[str, Any] = {"name": name}
            if name == "mixture":
                objective["members"] = [{"objective": {"name": "masked_lm"}}, {"objective": {"name": "causal_lm"}}]
            training = {"steps": 2, "evaluate_every": 2, "checkpoint_every": 2, "samples": 0, "keep_checkpoints": 1}
            sources = {
                "seq2seq": pairs,
                "classification": labelled,
                "sentence_pair": two,
                "similarity": numbered,
                "tagging": tagged,
                "span_extraction": asked,
                "image_classification": pictures,
            }
            tree = tiny_recipe.tree(sources.get(name, text), objective=objective, training=training)
            tables = (
                "classification",
                "sentence_pair",
                "similarity",
                "tagging",
                "span_extraction",
                "image_classification",
            )
            if name in tables:
                del tree["data"]["document"]
            if name == "image_classification":
                tree["data"]["train_targets"] = str(numbers)
            for section, own in sections.items():
                tree[section] |= own
            runs[name] = tiny_recipe.train(tiny_recipe.parse(tree), folder / name).path
    return runs


def _first_word(text: str) -> dict[str, Any]:
    return {"text": text.split()[0], "answer_start": 0}


def pictures_in(folder: Path) -> tuple[Path, Path]:
    """Twenty pictures of 6 x 6 and their labels, as idx files."""
    rng = np.random.default_rng(1)
    files = []
    for name, array in (("pictures", rng.integers(0, 256, (20, 6, 6))), ("labels", np.arange(20) % 3)):
        sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
        (folder / name).write_bytes(bytes([0, 0, 8, array.ndim]) + sizes + array.astype(np.uint8).tobytes())
        files.append(folder / name)
    return files[0], files[1]


def make_folders(runs: dict[str, Path], folder: Path) -> dict[str, Path]:
    """Hugging Face folders of the runs that can be exported."""
    return {name: export_run(load(runs[name]), folder / f"{name}-exported") for name in ("causal_lm", "seq2seq")}


# -------------------------------------------------------------------------------------------------------- damages


def spoil_json(value: Any, rng: random.Random) -> Any:
    """The same with one part, anywhere in it, left out, doubled or put in the place of something else."""
    value = copy.deepcopy(value)
    places = [
        (whole, key)
        for whole in _containers(value)
        for key in (whole if isinstance(whole, dict) else range(len(whole)))
    ]
    if not places or rng.random() < 0.03:
        return rng.choice([[], {}, None, 3, "text", True, [value], {"a": value}])
    whole, key = rng.choice(places)
    what = rng.random()
    if what < 0.2:
        del whole[key]
    elif what < 0.25 and isinstance(whole, dict):
        whole[rng.choice(["", "x", "../../x", "\x00", "event", "step", "__class__"])] = whole[key]
    elif what < 0.35:
        whole[key] = whole[rng.choice(list(whole if isinstance(whole, dict) else range(len(whole))))]
    else:
        whole[key] = _other(whole[key], rng)
    return value


def _containers(value: Any) -> Iterator[Any]:
    if isinstance(value, dict | list):
        yield value
        for part in list(value.values() if isinstance(value, dict) else value)[:300]:
            yield from _containers(part)


def _other(value: Any, rng: random.Random) -> Any:
    near = [value + 1, value - 1, -value, value * 1000, float(value)] if isinstance(value, int | float) else []
    deep: Any = 1
    for _ in range(rng.choice([40, 3000])):
        deep = [deep]
    others = [None, True, "", "x" * 100_000, "\ud800", "\x1b[2J\n\x00", [], {}, [value], {"a": value}, deep, 0, -1, 0.5]
    numbers = [10**3, 10**6, 10**9, 2**31, 2**32 + 1, 2**63, 2**64, 10**30, 10**5000, -(10**12), 1e308]
    numbers += [float("nan"), float("inf"), -float("inf")]
    words = ["encoder", "decoder", "torch", "relative", "full", "../x", "llama", "nan", str(value)[:1000], "[MASK]"]
    return rng.choice(rng.choice([near or numbers, others, numbers, words]))


def as_json(value: Any) -> bytes:
    """JSON of whatever it is; what is too deep or too long for Python's writer is cut."""
    try:
        return json.dumps(value).encode()
    except (RecursionError, ValueError):
        return b'{"a": ' + b"[" * 5000 + b"9" * 5000


def spoil_bytes(content: bytes, rng: random.Random) -> bytes:
    """Bits flipped, a part left out, doubled or put to zero."""
    if not content:
        return b"\x00" * 9
    at, what = rng.randrange(len(content)), rng.random()
    if what < 0.4:
        changed = bytearray(content)
        for _ in range(rng.choice([1, 1, 3, 50])):
            changed[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        return bytes(changed)
    if what < 0.6:
        return content[:at]
    end = min(len(content), at + rng.choice([1, 8, 100, 10_000]))
    if what < 0.75:
        return content[:at] + content[end:]
    return content[:at] + (content[at:end] * 2 if what < 0.85 else bytes(end - at)) + content[end:]


def spoil_file(file: Path, rng: random.Random) -> bytes:
    """The file's content, damaged as its kind can be."""
    content = file.read_bytes()
    if rng.random() < 0.3:
        return spoil_bytes(content, rng)
    if file.suffix == ".yaml":
        try:
            return yaml.safe_dump(spoil_json(yaml.safe_load(content), rng)).encode("utf-8", "surrogatepass")
        except (RecursionError, ValueError):
            return b"data: " + b"[" * 3000
    if file.suffix == ".json":
        return as_json(spoil_json(json.loads(content), rng))
    if file.suffix == ".jsonl":
        lines = content.splitlines()
        at = rng.randrange(len(lines))
        lines[at] = as_json(spoil_json(json.loads(lines[at]), rng))
        return b"\n".join([*lines, b""])
    if file.suffix == ".safetensors":
        length = int.from_bytes(content[:8], "little")
        header = as_json(spoil_json(json.loads(content[8 : 8 + length]), rng))
        return len(header).to_bytes(8, "little") + header + content[8 + length :]
    return spoil_npz(content, rng) if file.suffix == ".npz" else spoil_bytes(content, rng)


def spoil_npz(content: bytes, rng: random.Random) -> bytes:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = rng.choice(["probes.json", *members])
    if name == "probes.json":
        members[name] = as_json(spoil_json(json.loads(members[name]), rng))
    elif rng.random() < 0.5:
        members[name] = spoil_bytes(members[name], rng)
    else:
        stream = io.BytesIO()
        np.save(
            stream, np.zeros(rng.choice([(), (0,), (1, 2), (2, 3, 4, 5)]), rng.choice(["f4", "u1", "i8", "U3", "c8"]))
        )
        members[name] = stream.getvalue()
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for each, kept in members.items():
            archive.writestr(each, kept)
    return made.getvalue()


def replace(file: Path, content: bytes) -> None:
    """Other content under this name; the file that it is linked to keeps its own."""
    file.unlink()
    file.write_bytes(content)


def damage(folder: Path, rng: random.Random) -> str:
    """Damage a file of a folder; give back what was done. The files of a snapshot are then mostly entered anew into its
    manifest, as a stranger would do."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != ".lock" and path.suffix)
    kept = [file for file in files if "plots" not in file.parts]
    liked = [file for file in kept if "checkpoints" not in file.parts]
    file = rng.choice(liked if liked and rng.random() < 0.9 else kept)
    what = rng.random()
    if what < 0.02:
        file.unlink()
        how = "removed"
    elif what < 0.04:
        file.unlink()
        os.mkfifo(file)
        how = "pipe"
    elif what < 0.05:
        file.unlink()
        file.mkdir()
        how = "folder"
    elif what < 0.08:
        other = rng.choice(kept)
        replace(file, other.read_bytes())
        how = f"is {other.name}"
    else:
        replace(file, spoil_file(file, rng))
        how = "spoilt"
    if rng.random() < 0.85:
        sign(file.parent)
    return f"{file.relative_to(folder)} {how}"


def sign(folder: Path) -> None:
    """Make the manifest of a snapshot say what its files are now."""
    file = folder / "manifest.json"
    with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError, RecursionError):
        manifest = json.loads(file.read_bytes() if file.is_file() else b"")
        for name in manifest["files"]:
            content = (folder / name).read_bytes() if (folder / name).is_file() else b""
            manifest["files"][name] = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
        manifest.pop("sha256", None)
        manifest["sha256"] = hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()
        replace(file, json.dumps(manifest).encode())


# ------------------------------------------------------------------------------------------------------- commands


def use(folder: Path) -> None:
    """Load model and tokenizer, and ask them."""
    run = load(folder)
    if run.objective.can(FillsBlanks):
        run.fill("red [MASK] sun")
    if run.objective.can(Generates):
        run.generate("red" if run.recipe.model.family == "decoder" else "red [MASK] sun", max_tokens=3)
    command, two = run.objective.to_try[0], "second" in run.objective.columns
    if command == "classify":
        text = "red sun ||| sun" if two else "red sun"
        run.classify(f"{run.recipe.data.train}:0" if run.objective.can(ReadsPictures) else text)
    if command == "tag":
        run.tag("red sun")
    if command == "answer":
        run.answer("red ?", "red sun")
    if command == "similarity":
        run.similarity("red sun", "sun")


def cli(*words: str) -> Callable[[Path], None]:
    """A command, with the folder for RUN."""

    def call(folder: Path) -> None:
        said = command(*(str(folder) if word == "RUN" else word for word in words))
        assert said.code in (0, 1, 2), said
        if said.code:
            lines = said.err.splitlines()
            errors = [n for n, line in enumerate(lines) if line.startswith("error: ")]
            assert errors and len(lines) - errors[0] <= 2, said.err[:2000]

    return call


def in_studio(folder: Path) -> None:
    """Start the studio with the run, and ask it."""

    async def asked() -> None:
        transport = httpx.ASGITransport(app=studio([folder]))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            answers = [await client.get("/api/runs")]
            body = {"run": folder.name, "text": "red [MASK] sun"}
            answers += [await client.post("/api/predict", json=body)]
            answers += [await client.post("/api/view", json={**body, "view": "film"})]
        for answer in answers:
            assert answer.status_code in (200, 422, 500)
            assert answer.status_code == 200 or answer.json()["error"], answer.text

    asyncio.run(asked())


def imported(folder: Path, run: Path | None = None) -> None:
    """Make a run of the folder, and ask it."""
    use(import_run(folder, run or folder.with_name("imported")).path)


CHEAP: list[Callable[[Path], None]] = [
    cli("info", "RUN", "--json"),
    cli("info", "RUN"),
    cli("compare", "RUN", "--json"),
]
CHEAP += [use]
DEAR: list[Callable[[Path], None]] = [
    in_studio,
    cli("fill", "RUN", "red [MASK] sun", "--json"),
    cli("generate", "RUN", "red sun", "--json"),
    cli("look", "film", "RUN", "--json"),
    cli("look", "shapes", "RUN", "red [MASK] sun", "--json"),
    cli("look", "lens", "RUN", "red [MASK] sun", "--json"),
    cli("runs", "RUN/.."),
]


class Hang(BaseException):
    """An answer that did not come."""


class Failure(NamedTuple):
    """What no damage may lead to."""

    damage: str
    command: str
    error: BaseException


@contextlib.contextmanager
def at_most(seconds: int) -> Iterator[None]:
    """Raises Hang where the block takes longer."""

    def late(number: int, frame: Any) -> None:
        raise Hang(f"no answer in {seconds} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def one(seed: int, runs: dict[str, Path], folders: dict[str, Path], place: Path) -> Failure | None:
    """The mutation of this number: a copy of a run or folder, a damage, a command."""
    rng = random.Random(seed)
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    importing = rng.random() < 0.1
    source = rng.choice(list((folders if importing else runs).values()))
    copied = Path(shutil.copytree(source, place / "copy", copy_function=os.link))
    done = f"{seed}: {source.name}: {damage(copied, rng)}"
    if importing:
        call: Callable[[Path], None] = imported
    else:
        call = rng.choice(CHEAP if rng.random() < 0.9 else DEAR)
    name = getattr(call, "__qualname__", str(call))
    started = time.monotonic()
    try:
        with at_most(SECONDS):
            call(copied)
    except GlassformerError as error:
        if "\n" in error.what:
            return Failure(done, name, AssertionError(f"more than a line: {error.what!r}"))
    except (Hang, Exception) as error:
        return Failure(f"{done} ({time.monotonic() - started:.1f} s)", name, error)
    except BaseException as error:  # a panic of a library in Rust is no Exception
        if isinstance(error, KeyboardInterrupt):
            raise
        return Failure(done, name, error)
    return None
