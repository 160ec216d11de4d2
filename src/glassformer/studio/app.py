"""The studio's HTTP API, and the page that uses it."""

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from glassformer import __version__, views
from glassformer.ablation import part_in
from glassformer.answers import FillsBlanks, Generates
from glassformer.ask.attention import Chosen
from glassformer.ask.run import Run, load
from glassformer.errors import GlassformerError, UsageError
from glassformer.look.pictures.page import View, content, plain, web_file
from glassformer.look.views import OLD_NAMES, dependencies, spec_of, view_names
from glassformer.look.views.mask import answers_without
from glassformer.progress import Stopped, stoppable
from glassformer.studio.guard import Guard
from glassformer.training.probes import probe_steps

SECONDS = 60.0
"""How long one request may work."""
WAITING = 64
"""How many may wait; the next is told to come again."""
NUMBERS = 2_000_000
"""Attention weights in one answer at most."""
UNITS = 64
"""Validation units that an ablation asks."""
SENTENCES = 200
"""Sentences of a treebank that a view reads."""
TEXT = 100_000
"""Characters of a text."""

T = TypeVar("T")


class Asked(BaseModel):
    """What every request names."""

    model_config = ConfigDict(extra="forbid")

    run: str = Field(max_length=500, description="a run's name, as /api/runs gives it")
    text: str = Field(max_length=TEXT, description="a text; [MASK] is a blank")


class Fill(Asked):
    """A text with blanks."""

    top: int = Field(5, ge=1, le=100, description="candidates for each blank")
    off: Annotated[list[Annotated[str, Field(max_length=200)]], Field(max_length=200)] = Field(
        [], description="parts that are switched off together, such as encoder.blocks.0.self_attention:1"
    )


class Generate(Asked):
    """A beginning, or a source."""

    max_tokens: int = Field(64, ge=1, le=1024)
    beam: int = Field(1, ge=1, le=16)
    sample: bool = False
    temperature: float = Field(1.0, gt=0, le=100)
    top_k: int | None = Field(None, ge=1, le=1_000_000)
    top_p: float = Field(1.0, gt=0, le=1)
    seed: int = Field(1, ge=0, lt=2**32)
    number: int = Field(1, ge=1, le=16)


class Attend(Asked):
    """Whose attention, and which part of it."""

    kind: Literal["self", "cross", "decoder"] = "self"
    target: str | None = Field(None, max_length=TEXT)
    layer: int | None = Field(None, ge=0, description="one layer; none: all")
    head: int | None = Field(None, ge=0, description="one head; none: all")
    rows: Annotated[list[Annotated[int, Field(ge=0)]], Field(max_length=10_000)] | None = Field(
        None, description="only these queries"
    )


class Look(Asked):
    """One of the views."""

    view: Literal[*view_names(), *OLD_NAMES] = Field(description="old names are understood too")  # type: ignore[valid-type]
    target: str | None = Field(None, max_length=TEXT)
    max_tokens: int = Field(64, ge=1, le=1024)
    beam: int = Field(1, ge=1, le=16)
    layer: int = Field(0, ge=0)
    head: int = Field(0, ge=0)
    token: str | None = Field(None, max_length=500)
    blank: int = Field(0, ge=0)
    word: str = Field("it", max_length=500)
    parts: str = Field("heads", max_length=500, description="of an ablation: kinds of parts, or single ones")


class Refused(BaseModel):
    """An answer that is none."""

    error: str = Field(description="what is wrong")
    mend: str = Field(description="what to do about it")


REFUSALS: dict[int | str, dict[str, Any]] = {
    403: {"model": Refused, "description": "Not the studio's own page"},
    413: {"model": Refused, "description": "The request is too large"},
    422: {"model": Refused, "description": "This cannot be done"},
    503: {"model": Refused, "description": "Too many are waiting, or it takes too long"},
}


class Busy(Exception):
    """Too many are waiting."""


class Worker:
    """One thread that does all the work, one request after another; work that nobody waits for ends."""

    def __init__(self, seconds: float = SECONDS, waiting: int = WAITING) -> None:
        self.seconds, self.most = seconds, waiting
        self.waiting = 0
        self.pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="studio")

    async def __call__(self, request: Request, work: Callable[[], T]) -> T:
        """The result of `work`. Raises Busy, and Stopped where it takes too long or the client has left."""
        if self.waiting >= self.most:
            raise Busy
        gone = threading.Event()
        until = float("inf")

        def check(done: int = 0, of: int = 0) -> None:
            if gone.is_set() or time.monotonic() > until:
                raise Stopped

        def working() -> T:
            nonlocal until
            until = time.monotonic() + self.seconds
            check()
            with stoppable(check):
                return work()

        self.waiting += 1
        try:
            future = asyncio.get_running_loop().run_in_executor(self.pool, working)
            while True:
                done, _ = await asyncio.wait({future}, timeout=0.25)
                if done:
                    return future.result()
                if await request.is_disconnected():
                    gone.set()
        finally:
            gone.set()
            self.waiting -= 1


def studio(
    folders: list[Path],
    worker: Worker | None = None,
    hosts: frozenset[str] | None = None,
    treebank: Path | None = None,
) -> Any:
    """The application for these runs, and a file in CoNLL-U that heads are held against. Raises GlassformerError where
    a folder is no run, UsageError where the file cannot be read."""
    runs = named(folders)
    if treebank is not None:
        next(dependencies.read_conllu(treebank))
    work = worker or Worker()
    app = FastAPI(
        title="glassformer studio",
        version=__version__,
        description="Ask the runs that were given on the command line. Everything stays on this machine.",
        docs_url=None,
        redoc_url=None,
        responses=REFUSALS,
    )

    def run_of(name: str) -> Run:
        if name not in runs:
            raise UsageError(f"there is no run {name!r}", f"the runs are: {', '.join(runs)}")
        return runs[name]

    @app.exception_handler(UsageError)
    async def wrong_use(request: Request, error: UsageError) -> JSONResponse:
        return said(422, error.what, error.mend)

    @app.exception_handler(GlassformerError)
    async def failed(request: Request, error: GlassformerError) -> JSONResponse:
        return said(500, error.what, error.mend)

    @app.exception_handler(RequestValidationError)
    async def malformed(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"][1:]) or "the body"
        return said(422, f"{where}: {first['msg']}", "the fields are described at /api")

    @app.exception_handler(HTTPException)
    async def elsewhere(request: Request, error: HTTPException) -> JSONResponse:
        return said(error.status_code, str(error.detail), "the addresses are described at /api")

    @app.exception_handler(Busy)
    async def busy(request: Request, error: Busy) -> JSONResponse:
        return said(503, "too many requests are waiting", "try again in a moment")

    @app.exception_handler(Stopped)
    async def stopped(request: Request, error: Stopped) -> JSONResponse:
        return said(
            503, f"this took longer than {work.seconds:.0f} seconds", "ask for less: a shorter text, fewer tokens"
        )

    @app.get("/api/runs", summary="The runs, and what each can do")
    async def list_runs() -> list[dict[str, Any]]:
        return [describe(name, run) | {"dependencies": treebank is not None} for name, run in runs.items()]

    @app.post("/api/fill", summary="The candidates for each blank, with parts switched off if wanted")
    async def fill(asked: Fill, request: Request) -> dict[str, Any]:
        def do() -> dict[str, Any]:
            run = run_of(asked.run)
            if not asked.off:
                return run.fill(asked.text, asked.top).record()
            parts = [part_in(run.model, name) for name in asked.off]
            return {"text": asked.text, "blanks": answers_without(run, asked.text, parts, asked.top)}

        return await work(request, do)

    @app.post("/api/generate", summary="What follows a text, or answers it")
    async def generate(asked: Generate, request: Request) -> dict[str, Any]:
        settings = asked.model_dump(exclude={"run", "text"}, exclude_defaults=True)
        return await work(request, lambda: run_of(asked.run).generate(asked.text, **settings).record())

    @app.post("/api/predict", summary="Whatever the run does with a text: fill its blanks, or go on with it")
    async def predict(asked: Asked, request: Request) -> dict[str, Any]:
        def do() -> dict[str, Any]:
            run = run_of(asked.run)
            fills, generates = run.objective.can(FillsBlanks), run.objective.can(Generates)
            if fills and ("[MASK]" in asked.text or not generates):
                return {"kind": "fill", **run.fill(asked.text).record()}
            return {"kind": "generate", **run.generate(asked.text, max_tokens=64).record()}

        return await work(request, do)

    @app.post("/api/attention", summary="Exact attention weights: layers x heads x query x key")
    async def attention(asked: Attend, request: Request) -> dict[str, Any]:
        return await work(request, lambda: attention_of(run_of(asked.run), asked))

    @app.post("/api/view", summary="What a page of one of the views shows; arrays are compressed bytes")
    async def view(asked: Look, request: Request) -> dict[str, Any]:
        return await work(request, lambda: content(view_of(run_of(asked.run), asked, treebank)))

    @app.get("/", include_in_schema=False)
    async def index() -> Response:
        return Response(studio_file("index.html"), media_type="text/html")

    @app.get("/api", include_in_schema=False)
    async def documentation() -> Response:
        return Response(studio_file("api.html"), media_type="text/html")

    @app.get("/web/{name}", include_in_schema=False)
    async def file(name: str) -> Response:
        if name not in WEB:
            raise HTTPException(404, f"there is no file {name!r}")
        kind = "text/css" if name.endswith(".css") else "text/javascript"
        return Response(WEB[name](name), media_type=kind)

    return Guard(app) if hosts is None else Guard(app, hosts)


def studio_file(name: str) -> str:
    """A file of the folder `web`."""
    return (resources.files("glassformer.studio") / "web" / name).read_text(encoding="utf-8")


PAGES = [file.name for file in (resources.files("glassformer.look") / "web").iterdir()]
"""The scripts of the views, what they share, and their style sheet."""
WEB: dict[str, Callable[[str], str]] = {
    **dict.fromkeys(PAGES, web_file),
    **dict.fromkeys(("studio.css", "studio.js", "differences.js", "api.js"), studio_file),
}
"""What the page is made of, and where it lies."""


def said(status: int, error: str, mend: str | None) -> JSONResponse:
    """An error as every answer has it."""
    return JSONResponse({"error": error, "mend": mend or ""}, status_code=status)


def named(folders: list[Path]) -> dict[str, Run]:
    """The runs by the names of their folders, numbered where two are alike."""
    runs: dict[str, Run] = {}
    for folder in folders:
        run = load(folder)
        name, number = folder.resolve().name, 2
        while name in runs:
            name, number = f"{folder.resolve().name}-{number}", number + 1
        runs[name] = run
    return runs


def describe(name: str, run: Run) -> dict[str, Any]:
    """A run as the page's menu needs it."""
    config = run.recipe.model
    return {
        "name": name,
        "description": run.recipe.description or "",
        "objective": run.recipe.objective.model_dump()["name"],
        "stacks": list(config.stacks),
        "layers": {stack: config.layers_of(stack) for stack in config.stacks},
        "heads": config.n_heads,
        "max_length": config.max_length,
        "fills": run.objective.can(FillsBlanks),
        "generates": run.objective.can(Generates),
        "film": bool(probe_steps(run.directory)),
    }


def attention_of(run: Run, asked: Attend) -> dict[str, Any]:
    """The chosen weights. Raises UsageError where they are too many, or not there."""
    only = Chosen(asked.layer, asked.head, asked.rows, most=NUMBERS)
    seen = run.attention(asked.text, asked.kind, asked.target, only)
    return {"tokens": seen.tokens, "keys": seen.keys or seen.tokens, "rows": asked.rows, "weights": plain(seen.weights)}


def view_of(run: Run, asked: Look, treebank: Path | None) -> View:
    """The view that was asked for, with what the page sets of what it takes. Raises UsageError where it needs a
    treebank and there is none."""
    name, lines = OLD_NAMES.get(asked.view, asked.view), [line for line in asked.text.splitlines() if line.strip()]
    given: dict[str, Any] = {}
    for argument in spec_of(name).live:
        if argument == "file":
            if treebank is None:
                raise UsageError("the studio has no treebank", "start it with --treebank FILE.conllu")
            given[argument] = treebank
        elif argument in ("text_a", "text_b"):
            given[argument] = two(lines)[argument == "text_b"]
        else:
            fixed = {"texts": lines or [asked.text], "limit": SENTENCES, "units": UNITS}
            given[argument] = fixed[argument] if argument in fixed else getattr(asked, argument)
    return views.view_function(name)(run, **given)


def two(lines: list[str]) -> tuple[str, str]:
    """Two texts. Raises UsageError for another number."""
    if len(lines) != 2:
        raise UsageError(f"a word is seen in two texts, and there are {len(lines)}", "write two lines, a text in each")
    return lines[0], lines[1]
