"""The studio: what its API answers, what it refuses, and its page in a browser."""

import asyncio
import json
import math
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
import uvicorn
from browser import browser
from trained import TEXT, TREE, generator_folder, refused, run_folder

from glassformer.ask.run import load
from glassformer.look.pictures.page import content
from glassformer.look.views.generation import make as generation_view
from glassformer.progress import Stopped, report_progress, stoppable
from glassformer.snapshot import read_snapshot, write_snapshot
from glassformer.studio import app as studio_app
from glassformer.studio.app import Worker, studio
from glassformer.studio.guard import LARGEST_BODY
from glassformer.studio.serve import _bound, names_of


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A studio with two runs, on a free port."""
    with serving([run_folder(), generator_folder()]) as found:
        yield found


@contextmanager
def serving(folders: list[Path], treebank: Path | None = None) -> Iterator[str]:
    """A studio's address."""
    with _bound("127.0.0.1", 0) as bound:
        server = uvicorn.Server(uvicorn.Config(studio(folders, treebank=treebank), log_level="error"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]}, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"
        server.should_exit = True
        thread.join()


@pytest.fixture
def ask(address: str) -> Any:
    def post(path: str, **body: Any) -> httpx.Response:
        return httpx.post(f"{address}{path}", json=body, timeout=60)

    return post


# ------------------------------------------------------------------------------------------------------- answers


def test_the_runs(address: str) -> None:
    runs = httpx.get(f"{address}/api/runs").json()
    assert [run["name"] for run in runs] == ["tiny", "generator"]
    assert (runs[0]["fills"], runs[0]["generates"]) == (True, False)
    assert (runs[1]["fills"], runs[1]["generates"]) == (False, True)
    assert runs[0]["heads"] == 3 and runs[0]["layers"] == {"encoder": 2}


def test_the_api_says_what_python_says(ask: Any) -> None:
    run = load(run_folder())
    assert ask("/api/fill", run="tiny", text=TEXT, top=3).json() == run.fill(TEXT, 3).record()
    assert ask("/api/predict", run="tiny", text=TEXT).json() == {"kind": "fill", **run.fill(TEXT).record()}
    other = load(generator_folder())
    said = ask("/api/generate", run="generator", text="Mars is", max_tokens=5, beam=2).json()
    assert said["outputs"][0]["text"] == other.generate("Mars is", max_tokens=5, beam=2).outputs[0].text
    assert ask("/api/predict", run="generator", text="Mars is").json()["kind"] == "generate"
    weights = ask("/api/attention", run="tiny", text=TEXT, layer=1, head=2, rows=[5]).json()
    seen = run.attention(TEXT)
    assert weights["tokens"] == seen.tokens
    assert weights["weights"][0][0][0] == pytest.approx(seen.weights[1, 2, 5].tolist(), abs=1e-6)


def test_heads_are_switched_off_together(ask: Any) -> None:
    whole = ask("/api/fill", run="tiny", text=TEXT).json()
    heads = [f"encoder.blocks.{layer}.self_attention:{head}" for layer in range(2) for head in range(3)]
    none = ask("/api/fill", run="tiny", text=TEXT, off=heads).json()
    same = ask(
        "/api/fill", run="tiny", text=TEXT, off=[name.split(":")[0] + f":{n % 3}" for n, name in enumerate(heads)]
    )
    assert none["blanks"] == same.json()["blanks"] != whole["blanks"]
    assert "no part" in ask("/api/fill", run="tiny", text=TEXT, off=["encoder.nothing"]).json()["error"]


@pytest.mark.parametrize(
    "view", ["mask", "heads", "attribution", "lens", "steps", "shapes", "masks", "positions", "schedule", "ablation"]
)
def test_every_view(ask: Any, view: str) -> None:
    said = ask("/api/view", run="tiny", text=TEXT, view=view)
    assert said.status_code == 200
    assert f"{said.json()['view']}.js" in studio_app.PAGES
    if view == "mask":
        from glassformer.look.views.mask import make as mask_view

        assert said.json() == json.loads(json.dumps(content(mask_view(load(run_folder()), TEXT))))


def test_a_word_in_the_two_texts_of_two_lines(ask: Any) -> None:
    two = "Mars is called the red planet\nthe planet Mars"
    said = ask("/api/view", run="tiny", text=two, view="word", word="planet")
    assert said.status_code == 200 and said.json()["title"] == "planet in two texts"
    one = ask("/api/view", run="tiny", text=TEXT, view="word", word="planet")
    assert "in two texts, and there are 1" in error_of(one, 422)


@pytest.fixture(scope="module")
def with_treebank(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A studio with a run and a treebank of one sentence, many times."""
    file = tmp_path_factory.mktemp("trees") / "trees.conllu"
    file.write_text(250 * f"{TREE}\n")
    with serving([run_folder()], file) as found:
        yield found


def test_heads_are_held_against_a_treebank(with_treebank: str, address: str) -> None:
    asked = {"run": "tiny", "text": "", "view": "dependencies"}
    said = httpx.post(f"{with_treebank}/api/view", json=asked, timeout=60)
    assert said.status_code == 200
    page = said.json()
    assert {row["relation"] for row in page["best"]} == {"nsubj", "aux", "det", "amod", "obj"}
    assert {row["occurrences"] for row in page["best"]} == {studio_app.SENTENCES}  # of the 250
    assert [run["dependencies"] for run in httpx.get(f"{with_treebank}/api/runs").json()] == [True]
    none = httpx.post(f"{address}/api/view", json=asked, timeout=60)
    assert error_of(none, 422) == "the studio has no treebank" and "--treebank" in none.json()["mend"]
    assert not any(run["dependencies"] for run in httpx.get(f"{address}/api/runs").json())


def test_a_file_that_is_no_treebank_is_refused_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "trees.txt").write_text("Mars is called the red planet\n")
    said = refused("studio", run_folder(), "--treebank", tmp_path / "trees.txt", "--no-open")
    assert "trees.txt, line 1 has 1 columns, and CoNLL-U has 10" in said
    assert "cannot be read" in refused("studio", run_folder(), "--treebank", tmp_path / "none.conllu", "--no-open")


# ------------------------------------------------------------------------------------------------------ refusals


def error_of(answer: httpx.Response, status: int) -> str:
    assert answer.status_code == status, answer.text
    assert set(answer.json()) == {"error", "mend"}
    assert "Traceback" not in answer.text
    return str(answer.json()["error"])


def test_wrong_use_is_said(ask: Any, address: str) -> None:
    assert "no run 'x'" in error_of(ask("/api/fill", run="x", text=TEXT), 422)
    assert "no blank" in error_of(ask("/api/fill", run="tiny", text="mars"), 422)
    assert "top" in error_of(ask("/api/fill", run="tiny", text=TEXT, top=1000), 422)
    assert "beam" in error_of(ask("/api/generate", run="generator", text="Mars", beam=99), 422)
    assert "max_tokens" in error_of(ask("/api/generate", run="generator", text="Mars", max_tokens=10**9), 422)
    assert "text" in error_of(ask("/api/fill", run="tiny", text="a" * (studio_app.TEXT + 1)), 422)
    quoted = error_of(ask("/api/fill", run="tiny", text="a" * studio_app.TEXT), 422)
    assert quoted.startswith("there is no blank in 'aaa") and quoted.endswith("aaa'") and len(quoted) == 500
    assert "fills no blanks" in error_of(ask("/api/fill", run="generator", text=TEXT), 422)
    assert "heads 0 to 2" in ask("/api/attention", run="tiny", text=TEXT, head=7).json()["mend"]
    assert "rows 0 to 7" in ask("/api/attention", run="tiny", text=TEXT, rows=[8]).json()["mend"]
    assert "nothing" in error_of(ask("/api/fill", run="tiny", text=TEXT, nothing=1), 422)
    answer = httpx.post(f"{address}/api/fill", content=b"{", headers={"content-type": "application/json"})
    error_of(answer, 422)
    error_of(httpx.get(f"{address}/nowhere"), 404)
    error_of(httpx.get(f"{address}/web/..%2fapp.py"), 404)
    error_of(httpx.get(f"{address}/api/fill"), 405)


def test_a_large_body_is_refused(address: str) -> None:
    assert "256 KB" in error_of(httpx.post(f"{address}/api/fill", content=b"x" * (LARGEST_BODY + 1)), 413)

    def endless() -> Iterator[bytes]:
        for _ in range(LARGEST_BODY // 1024 + 2):
            yield b"x" * 1024

    assert "256 KB" in error_of(httpx.post(f"{address}/api/fill", content=endless()), 413)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "evil.example"}, 403),
        ({"host": "127.0.0.1.evil.example"}, 403),
        ({"host": "[bad"}, 403),
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://127.0.0.1:1"}, 403),
        ({}, 200),
        ({"origin": "own"}, 200),
    ],
)
def test_only_the_studio_itself_is_answered(address: str, headers: dict[str, str], status: int) -> None:
    headers = {name: address if value == "own" else value for name, value in headers.items()}
    answer = httpx.post(f"{address}/api/fill", json={"run": "tiny", "text": TEXT}, headers=headers)
    assert answer.status_code == status
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    assert "access-control-allow-origin" not in answer.headers


def test_fifty_clients_at_once_are_answered(address: str) -> None:
    async def all_of_them() -> list[httpx.Response]:
        async with httpx.AsyncClient(timeout=120) as client:
            body = {"run": "tiny", "text": TEXT}
            return list(await asyncio.gather(*(client.post(f"{address}/api/fill", json=body) for _ in range(50))))

    answers = asyncio.run(all_of_them())
    assert [answer.status_code for answer in answers] == [200] * 50
    assert all(answer.json() == answers[0].json() for answer in answers)


# ------------------------------------------------------------------------------------------------------ the worker


class Client:
    """What the worker asks of a request."""

    def __init__(self, leaves: bool = False) -> None:
        self.leaves = leaves

    async def is_disconnected(self) -> bool:
        return self.leaves


def endless(steps: list[int]) -> None:
    while True:
        report_progress()
        steps.append(1)
        time.sleep(0.005)


@pytest.mark.parametrize(
    ("client", "seconds"), [(Client(leaves=True), 60.0), (Client(), 0.3)], ids=["left", "too long"]
)
def test_work_that_nobody_waits_for_stops(client: Client, seconds: float) -> None:
    steps: list[int] = []
    worker = Worker(seconds=seconds)
    with pytest.raises(Stopped):
        asyncio.run(worker(client, lambda: endless(steps)))  # type: ignore[arg-type]
    before = len(steps)
    time.sleep(0.1)
    assert len(steps) == before > 0
    assert worker.waiting == 0


def test_the_next_one_is_told_to_come_again() -> None:
    worker = Worker(waiting=1)

    async def two() -> None:
        first = asyncio.create_task(worker(Client(), lambda: time.sleep(0.3)))  # type: ignore[arg-type]
        await asyncio.sleep(0.05)
        with pytest.raises(studio_app.Busy):
            await worker(Client(), lambda: None)  # type: ignore[arg-type]
        await first
        assert await worker(Client(), lambda: 7) == 7  # type: ignore[arg-type]

    asyncio.run(two())


def test_generation_asks_whether_it_may_go_on() -> None:
    run = load(generator_folder())

    def check(done: int, of: int) -> None:
        raise Stopped

    for settings in ({}, {"beam": 3}):
        with pytest.raises(Stopped), stoppable(check):
            run.generate("Mars is", max_tokens=20, **settings)
    assert run.generate("Mars is", max_tokens=20).outputs  # without it nothing happens
    report_progress()


def until_it_answers(address: str) -> None:
    """Waits for a server to begin, a minute at most."""
    for _ in range(600):
        try:
            httpx.get(address)
            return
        except httpx.TransportError:
            time.sleep(0.1)
    raise AssertionError(f"{address} does not answer")


def until_it_refuses(port: int) -> None:
    """Waits for a server that is ending to take no one any more, a minute at most."""
    for _ in range(600):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            return
        time.sleep(0.1)
    raise AssertionError(f"port {port} is still open")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for one process")
def test_ctrl_c_twice_ends_without_a_traceback() -> None:
    """The first waits two seconds for an answer that is under way, here to somebody who does not finish his question;
    the second does not wait for it."""
    words = [sys.executable, "-m", "glassformer.cli", "studio", str(run_folder()), "--no-open"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        [port] = re.findall(r"http://127\.0\.0\.1:(\d+)", process.stdout.readline())
        until_it_answers(f"http://127.0.0.1:{port}")  # the address is printed before the server listens to signals
        with socket.create_connection(("127.0.0.1", int(port))) as asking:
            asking.sendall(f"POST /api/fill HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: 9\r\n\r\n".encode())
            time.sleep(0.5)
            process.send_signal(signal.SIGINT)
            until_it_refuses(int(port))  # two signals at once would count as one
            process.send_signal(signal.SIGINT)
            _, complaints = process.communicate(timeout=30)
    assert (process.returncode, complaints) == (130, "")


# -------------------------------------------------------------------------------------------------- in a browser


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with browser() as started:
        yield started


class Page:
    """The studio in a browser."""

    def __init__(self, chromium: Any, url: str, **settings: Any) -> None:
        self.page = chromium.new_page(**settings)
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("console", lambda message: self.complaints.append(f"{message.text} {message.location}"))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.goto(url)
        self.ready()

    def ready(self) -> None:
        self.page.wait_for_selector("body[data-ready]")

    def texts(self, selector: str) -> list[str]:
        return list(self.page.locator(selector).all_text_contents())


def test_masking_a_word_by_a_click(chromium: Any, address: str) -> None:
    studio = Page(chromium, f"{address}/#text=Mars+is+called+the+red+planet&view=heads")
    studio.page.get_by_role("button", name="red", exact=True).first.click()
    studio.page.locator("#words .token.blank").wait_for()
    studio.page.get_by_role("button", name="Blanks", exact=True).click()
    studio.page.wait_for_selector("main .token.blank")
    studio.ready()
    assert studio.page.input_value("#text") == TEXT
    run = load(run_folder())
    assert studio.texts(".bars .name")[:5] == [c.token for c in run.fill(TEXT).blanks[0].candidates]
    assert all(url.startswith(address) for url in studio.requests)
    assert studio.complaints == []


def test_two_heads_off_at_once(chromium: Any, address: str) -> None:
    studio = Page(chromium, f"{address}/#text={TEXT.replace(' ', '+')}&view=mask")
    for n in (0, 4):
        studio.page.locator(".switch").nth(n).click()
    studio.page.get_by_text("real forward pass").wait_for()
    studio.page.get_by_text("Asking ...").wait_for(state="detached")
    off = ["encoder.blocks.0.self_attention:0", "encoder.blocks.1.self_attention:1"]
    expected = httpx.post(f"{address}/api/fill", json={"run": "tiny", "text": TEXT, "off": off, "top": 8}).json()
    assert studio.texts(".bars .name") == [c["token"] for c in expected["blanks"][0]["candidates"]]


def test_a_link_leads_to_the_same_view_and_two_runs_stand_side_by_side(chromium: Any, address: str) -> None:
    url = f"{address}/#run=tiny&beside=generator&view=heads&text=Mars+is"
    studio = Page(chromium, url)
    assert studio.page.locator("#columns > main").count() == 2
    assert studio.page.url == url.replace("#run", "#run")
    assert "beside=generator" in studio.page.url
    assert len(studio.texts("main h1")) == 2


@pytest.mark.parametrize(
    "asked, said",
    [
        ("run=nope&view=mask&text=hi", "there is no run nope here"),
        ("run=tiny&beside=nope&view=mask&text=hi", "there is no run nope here"),
        ("run=generator&view=film&text=hi", "generator has no view Film"),
        ("run=tiny&view=nothing&text=hi", "tiny has no view nothing"),
    ],
)
def test_a_link_to_what_is_not_there_says_so_and_stays(chromium: Any, address: str, asked: str, said: str) -> None:
    """Another run's numbers do not come in its place; what is chosen then is shown."""
    studio = Page(chromium, f"{address}/#{asked}")
    assert said in studio.texts("#columns .error b")
    assert studio.page.url.endswith(asked)
    studio.page.get_by_role("button", name="Heads", exact=True).click()
    studio.page.wait_for_selector("main .grid")
    assert "view=heads" in studio.page.url


def test_where_two_runs_differ(chromium: Any, tmp_path: Path) -> None:
    """Against Python by the definitions: the divergence of what two runs say, the attention that lies elsewhere."""
    other = changed_copy(tmp_path, run_folder(), 0.5)
    runs = [load(run_folder()), load(other)]
    p, q = ({c.token: c.probability for c in run.fill(TEXT, top=100).blanks[0].candidates} for run in runs)
    bits = 0.0
    for token in p.keys() | q.keys():
        a, b = p.get(token, 0.0), q.get(token, 0.0)
        bits += sum(x / 2 * math.log2(2 * x / (a + b)) for x in (a, b) if x > 0)
    one, two = (run.attention(TEXT).weights.mean(1) for run in runs)
    shares = abs(one - two).sum(-1).mean(-1) / 2
    with serving([run_folder(), other]) as address:
        address += f"/#text={TEXT.replace(' ', '+')}&view=mask&run=tiny&beside="
        apart = Page(chromium, address + "other")
        assert 0.05 < bits < 0.95
        assert apart.texts("#differences .apart") == [f"{bits:.2f} of 1 bit apart"]
        [note] = apart.texts("#differences .note")
        found = [float(share) / 100 for share in re.findall(r"layer \d ([\d.]+)%", note)]
        assert found == pytest.approx(shares.tolist(), abs=3e-3)  # a page holds weights of one byte
        first = apart.texts("#differences tbody tr td")[0]
        assert first in p.keys() | q.keys()
        itself = Page(chromium, address + "tiny")
        assert itself.texts("#differences .apart") == ["0.00 of 1 bit apart"]
        assert "layer 0 0.0%, layer 1 0.0%" in itself.texts("#differences .note")[0]
        assert apart.complaints == itself.complaints == []


def changed_copy(folder: Path, run: Path, noise: float) -> Path:
    """A run with other weights in its blocks, the ones that are read."""
    other = Path(shutil.copytree(run, folder / "other"))
    for place in [other / "best", *(other / "checkpoints").iterdir()]:
        kept = read_snapshot(place)
        draw = torch.Generator().manual_seed(1)
        weights = kept.parts["model"]
        for name in weights:
            if ".blocks." in name:
                weights[name] = weights[name] + noise * torch.randn(weights[name].shape, generator=draw)
        write_snapshot(place, kept.parts, kept.state)
    return other


def test_two_generators_part_at_a_token(chromium: Any, address: str, tmp_path: Path) -> None:
    """Where, and what each says there; the same run writes the same; a view without a comparison says nothing."""
    folders = [generator_folder(), changed_copy(tmp_path, generator_folder(), 0.5)]
    one, two = ([step["token"] for step in generation_view(load(f), "Mars is").data["steps"]] for f in folders)
    place = next(n for n in range(max(len(one), len(two))) if one[n : n + 1] != two[n : n + 1])
    with serving(folders) as both:
        apart = Page(chromium, f"{both}/#run=generator&beside=other&view=generation&text=Mars+is")
        [heading] = apart.texts("#differences p")
        assert heading.startswith("They part at the first" if place == 0 else f"The same {place} token")
        for said, tokens in zip(apart.texts("#differences li"), (one, two), strict=True):
            assert (tokens[place] in said) if place < len(tokens) else ("has ended" in said)
        assert apart.complaints == []
    same = Page(chromium, f"{address}/#run=generator&beside=generator&view=generation&text=Mars+is")
    assert re.fullmatch(r"Both write the same \d+ tokens\.", same.texts("#differences p")[0])
    assert (
        Page(chromium, f"{address}/#run=generator&beside=generator&view=heads&text=Mars").texts("#differences *") == []
    )


def test_empty_error_and_phone(chromium: Any, address: str) -> None:
    phone = Page(chromium, f"{address}/#text=", viewport={"width": 380, "height": 700})
    assert "Type a text" in phone.page.inner_text("#columns")
    assert phone.page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    phone.page.fill("#text", "no blank here")
    phone.page.locator("button[type=submit]").click()
    phone.page.wait_for_selector(".state.error")
    assert "no blank" in phone.page.inner_text(".state.error")


def test_the_page_of_the_api(chromium: Any, address: str) -> None:
    page = Page(chromium, f"{address}/api")
    shown = page.page.inner_text("main")
    described = httpx.get(f"{address}/openapi.json").json()
    assert all(path in shown for path in described["paths"])
    assert {"/api/fill", "/api/generate", "/api/attention", "/api/predict", "/api/runs"} <= set(described["paths"])
    assert page.complaints == []


# ------------------------------------------------------------------------------------------------- the command


def test_bad_input(tmp_path: Path) -> None:
    assert "run" in refused("studio", tmp_path, "--no-open")
    with _bound("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        assert f"port {port}" in refused("studio", run_folder(), "--port", str(port), "--no-open")


def test_the_names_that_a_page_answers_to() -> None:
    assert names_of("127.0.0.1") == {"127.0.0.1", "localhost", "::1"}
    assert "192.0.2.7" in names_of("192.0.2.7")
    assert names_of("0.0.0.0") > names_of("127.0.0.1")
    assert "evil.example" not in names_of("0.0.0.0")
