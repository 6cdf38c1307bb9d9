"""The viewer: a page that works from a disk, and what a browser makes of it."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import shutil
import socket
import struct
import sys
import threading
import urllib.error
import urllib.request
import webbrowser
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from support import browser

from ag3d.core.errors import UserError
from ag3d.core.files import write_json
from ag3d.core.shards import save_png
from ag3d.model.body.body import Body
from ag3d.model.export.clips import read_clips
from ag3d.model.export.mesh_io import glb_of
from ag3d.model.export.rig import Rig, avatar_glb, limit_influences
from ag3d.viewer import __main__ as viewer
from ag3d.viewer import view
from ag3d.viewer.page import Page, Person, page_of_files, page_of_run, render


@pytest.fixture(scope="module")
def glb(tiny_body: Body) -> bytes:
    """The tiny body as a rigged avatar, red in front and green behind."""
    points = tiny_body.v_template.numpy() - [0, float(tiny_body.v_template[:, 1].min()), 0]
    mesh = trimesh.Trimesh(points, tiny_body.faces.numpy(), process=False)
    mesh.visual.vertex_colors = np.where(points[:, 2:] > 0, [[220, 30, 30, 255]], [[30, 160, 60, 255]]).astype(np.uint8)
    joints = tiny_body.rest_joints(torch.zeros(1, 10))[0] - torch.tensor(
        [0, float(tiny_body.v_template[:, 1].min()), 0]
    )
    return avatar_glb(
        Rig(mesh, joints, limit_influences(tiny_body.weights), tiny_body), read_clips(["walk", "wave"], 30), "tiny"
    )


@pytest.fixture(scope="module")
def run_folder(glb: bytes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with three people, of whom two are rigged."""
    run = tmp_path_factory.mktemp("results") / "small"
    write_json(run / "avatars" / "avatars.json", {"seeds": [3, 4, 5]})
    write_json(run / "export" / "export.json", {"seeds": [3, 4]})
    for seed in (3, 4, 5):
        kinds = [np.full((24, 24, 3), value + seed, np.uint8) for value in (10, 60, 110, 160)]
        save_png(run / "avatars" / "people" / f"{seed:06d}.png", np.concatenate(kinds, axis=1))
    for seed in (3, 4):
        (run / "export" / f"{seed:06d}.glb").write_bytes(glb)
    return run


# ---- the page


def test_a_runs_page_holds_everything(run_folder: Path, glb: bytes) -> None:
    page = page_of_run(run_folder)
    assert [(person.name, bool(person.glb)) for person in page.people] == [("000003", True), ("000004", True), ("000005", False)]  # fmt: skip
    html = render(page)
    assert base64.b64decode(re.search(r'class="glb" data-name="000003">([^<]*)<', html).group(1)) == glb
    people = json.loads(re.search(r'id="data">(.*?)</script>', html).group(1))
    assert [person["title"] for person in people] == ["Seed 3", "Seed 4", "Seed 5"]
    for person, seed in zip(people, (3, 4, 5)):
        for kind, value in (("image", 10), ("normal", 110)):
            import cv2

            data = base64.b64decode(person[kind].split(",")[1])
            assert (cv2.imdecode(np.frombuffer(data, np.uint8), 1) == value + seed).all()
    addresses = re.findall(r'(?:src|href)="([^"]*)"', html)
    assert addresses
    assert all(address.startswith("data:") for address in addresses)  # nothing is fetched


def test_names_cannot_break_the_page() -> None:
    name = "</script><script>alert(1)</script>"
    html = render(Page(name, "", [Person(name, name)]))
    assert "alert(1)</script>" not in html


def test_faults_are_named(run_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no avatars; finish the run first"):
        page_of_run(tmp_path)
    (tmp_path / "cut.glb").write_bytes((run_folder / "export" / "000003.glb").read_bytes()[:-4])
    with pytest.raises(UserError, match=r"cut.glb is not a whole .glb file"):
        page_of_files([tmp_path / "cut.glb"])
    with pytest.raises(UserError, match=r"two files are named 000003.glb"):
        page_of_files([run_folder / "export" / "000003.glb"] * 2)
    broken = shutil.copytree(run_folder, tmp_path / "broken")
    save_png(broken / "avatars" / "people" / "000003.png", np.zeros((24, 50, 3), np.uint8))
    with pytest.raises(UserError, match=r"000003.png is not a row of 4 pictures"):
        page_of_run(broken)


def command(patch: pytest.MonkeyPatch, module, *words: object) -> None:
    patch.setattr(sys, "argv", ["ag3d", *map(str, words)])
    module.main()


@pytest.mark.parametrize(
    "description",
    [
        {"images": [{"uri": "http://evil.example/x.png"}]},
        {"buffers": [{"uri": "other.bin"}]},
        {"extensions": {"X": [{"uri": "//evil.example"}]}},
    ],
)
def test_what_takes_parts_from_elsewhere_is_refused(tmp_path: Path, description: dict) -> None:
    text = json.dumps({"asset": {"version": "2.0"}, **description}).encode()
    text += b" " * (-len(text) % 4)
    chunk = len(text).to_bytes(4, "little") + b"JSON" + text
    path = tmp_path / "a.glb"
    path.write_bytes(b"glTF" + (2).to_bytes(4, "little") + (12 + len(chunk)).to_bytes(4, "little") + chunk)
    with pytest.raises(UserError, match=r"a\.glb takes a part from"):
        page_of_files([path])


def test_pages_of_others_are_left_as_they_are(
    run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(run_folder / "export" / "000003.glb", tmp_path / "me.glb")
    (tmp_path / "me.html").write_text("<p>about me</p>")
    with pytest.raises(UserError, match=r"me\.html exists.*--output"):
        command(monkeypatch, view, tmp_path / "me.glb", "--no-browser")
    assert (tmp_path / "me.html").read_text() == "<p>about me</p>"
    for _ in range(2):  # a page of its own is made anew
        command(monkeypatch, view, tmp_path / "me.glb", "--output", tmp_path / "avatar.html", "--no-browser")
    assert "me.glb" in (tmp_path / "avatar.html").read_text()


def test_the_pages_policy_lets_nothing_else_run(run_folder: Path) -> None:
    html = render(page_of_run(run_folder))
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', html).group(1).replace("&#39;", "'")
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy.split("script-src")[1]
    scripts = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    assert re.findall(r"'sha256-([^']*)'", policy) == hashes


def test_the_rules_command(run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command(monkeypatch, viewer, "--run", run_folder, "--output", tmp_path / "viewer.html")
    assert (tmp_path / "viewer.html").read_text() == render(page_of_run(run_folder))


def test_view_opens_pages(run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", lambda address: bool(opened.append(address)) or True)
    run = shutil.copytree(run_folder, tmp_path / "run")
    command(monkeypatch, view, run)
    assert opened == [(run / "viewer.html").resolve().as_uri()]
    (run / "viewer.html").write_text("as it is")
    command(monkeypatch, view, run, "--no-browser")
    assert (run / "viewer.html").read_text() == "as it is"
    assert f"open {run / 'viewer.html'} in a browser" in capsys.readouterr().out
    later = (run / "viewer.html").stat().st_mtime + 5
    os.utime(run / "export" / "export.json", (later, later))
    command(monkeypatch, view, run, "--no-browser")
    assert "Avatars of run run" in (run / "viewer.html").read_text()  # the avatars were made anew
    files = [run / "export" / "000003.glb", run / "export" / "000004.glb"]
    command(monkeypatch, view, *files)
    assert opened[1:] == [(run / "export" / "000003.html").resolve().as_uri()]
    assert "2 avatars" in (run / "export" / "000003.html").read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere"], "nowhere does not exist; give the folder of a run"),
        (["{run}", "{run}"], "give one folder of a run"),
        (["{run}/avatars/avatars.json"], "give the folder of a run"),
        (["{run}", "--serve", "70000"], "a port is a number from 0 to 65535"),
    ],
)
def test_wrong_targets_are_named(
    run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words, message
) -> None:
    run = shutil.copytree(run_folder, tmp_path / "run")
    with pytest.raises(UserError, match=message):
        command(monkeypatch, view, *(word.replace("{run}", str(run)) for word in words), "--no-browser")


def test_the_server_serves_the_page_alone(tmp_path: Path, capsys) -> None:
    page = tmp_path / "viewer.html"
    page.write_text("<p>hello</p>")
    with view.server(page, 0) as running:
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        try:
            host, port = running.server_address[:2]
            assert host == "127.0.0.1"
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10) as answer:
                assert answer.read() == b"<p>hello</p>"
                assert answer.headers["Content-Type"].startswith("text/html")
            with pytest.raises(urllib.error.HTTPError, match="404"):
                urllib.request.urlopen(f"http://127.0.0.1:{port}/../secret", timeout=10)
            with pytest.raises(UserError, match="choose another port"):
                view.server(page, port)
            head = urllib.request.Request(f"http://localhost:{port}/", method="HEAD")
            with urllib.request.urlopen(head, timeout=10) as answer:
                assert (answer.read(), answer.headers["Content-Length"]) == (b"", "12")
            foreign = urllib.request.Request(f"http://127.0.0.1:{port}/", headers={"Host": f"evil.example:{port}"})
            with pytest.raises(urllib.error.HTTPError, match="421"):
                urllib.request.urlopen(foreign, timeout=10)
            with socket.create_connection((host, port)) as hasty:
                hasty.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                hasty.sendall(b"GET / HTTP/1.0\r\n\r\n")
        finally:
            running.shutdown()
            thread.join()
    assert "Traceback" not in capsys.readouterr().err


# ---- in a browser


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory):
    program = browser.find()
    if program is None:
        pytest.skip("no Chromium here (AG3D_CHROMIUM names one)")
    opened = browser.Browser(program, tmp_path_factory.mktemp("profile"))
    yield opened
    opened.close()


@pytest.fixture
def page(chromium: browser.Browser, run_folder: Path, tmp_path: Path) -> browser.Browser:
    """The run's page, opened from the disk, standing still."""
    path = tmp_path / "viewer.html"
    path.write_text(render(page_of_run(run_folder)))
    chromium.faults.clear()
    chromium.requests.clear()
    chromium.open(path.as_uri())
    chromium.until("document.documentElement.dataset.shown == '000003'")
    chromium.run("document.querySelector('#turn').click()")
    return chromium


def choose(page: browser.Browser, selector: str) -> None:
    page.run(f"document.querySelector({json.dumps(selector)}).click()")


def differing(first: np.ndarray, second: np.ndarray) -> float:
    """Share of pixels that are not alike."""
    return float((np.abs(first.astype(int) - second).max(-1) > 16).mean())


def settled(page: browser.Browser) -> np.ndarray:
    """The canvas as soon as it stays as it is."""
    before = page.picture("canvas")
    for _ in range(40):
        now = page.picture("canvas")
        if differing(before, now) < 1e-4:
            return now
        before = now
    raise AssertionError("the canvas keeps changing")


@pytest.mark.slow
def test_the_avatar_is_seen_and_moves(page: browser.Browser) -> None:
    choose(page, "#animations [data-name='']")
    still = settled(page)
    red = (still[..., 0] > 120) & (still[..., 1] < 90)
    rows, columns = np.nonzero(red)
    height, width = red.shape
    assert 0.5 * height < np.ptp(rows) < 0.9 * height  # the whole person, upright, from the front
    assert np.ptp(columns) > 0.6 * np.ptp(rows)  # with its arms out
    assert abs(columns.mean() - width / 2) < 0.05 * width
    choose(page, "#animations [data-name=walk]")
    frames = [page.picture("canvas") for _ in range(6)]
    assert max(differing(frames[0], frame) for frame in frames[1:]) > 0.005
    assert differing(still, frames[-1]) > 0.01
    assert page.faults == []
    assert all(address.startswith(("file:", "data:", "blob:")) for address in page.requests)  # works offline


@pytest.mark.slow
def test_looks(page: browser.Browser) -> None:
    choose(page, "#animations [data-name='']")
    seen = {}
    for look in ("shaded", "colours", "shape", "normals"):
        choose(page, f"[value={look}]")
        seen[look] = settled(page)
    body = (seen["colours"][..., 0] > 120) & (seen["colours"][..., 1] < 90)
    middle = {look: np.median(picture[body], axis=0) for look, picture in seen.items()}
    np.testing.assert_allclose(middle["colours"], [220, 30, 30], atol=3)  # as they are in the file
    assert np.ptp(middle["shape"]) < 12  # grey
    assert middle["normals"][2] > 150  # blue: towards the viewer
    for choice in ("#wires", "#bones"):
        before = settled(page)
        choose(page, choice)
        assert differing(before, settled(page)) > 0.0005, choice
    assert page.faults == []


@pytest.mark.slow
def test_turning(page: browser.Browser) -> None:
    choose(page, "#animations [data-name='']")
    before = settled(page)
    choose(page, "#turn")
    assert page.run("document.querySelector('#turn').checked")
    page.until("new Promise(done => setTimeout(() => done(true), 1500))")
    assert differing(before, page.picture("canvas")) > 0.005
    assert page.faults == []


@pytest.mark.slow
def test_others_of_the_gallery(page: browser.Browser, glb: bytes) -> None:
    choose(page, "#gallery [data-name='000004']")
    page.until("document.documentElement.dataset.shown == '000004'")
    assert page.run("document.querySelector('#name').textContent") == "Seed 4"
    assert page.run("[...document.querySelectorAll('#pictures figcaption')].map(n => n.textContent)") == ["image", "normals"]  # fmt: skip
    names = page.run("[...document.querySelectorAll('#downloads a')].map(n => n.download)")
    assert names == ["000004.glb", "000004-image.png", "000004-normals.png"]
    size = page.run(
        "fetch(document.querySelector('#downloads a').href).then(a => a.arrayBuffer()).then(a => a.byteLength)"
    )
    assert size == len(glb)
    facts = page.run("document.querySelector('#facts').textContent")
    assert "height" in facts
    assert "triangles" in facts
    choose(page, "#gallery [data-name='000005']")
    page.until("document.querySelector('#message').textContent.startsWith('No 3D file')")
    assert page.run("document.querySelectorAll('#downloads a').length") == 2
    assert page.run("document.querySelectorAll('#animations button').length") == 0
    assert page.faults == []


@pytest.mark.slow
def test_meshes_without_joints(chromium: browser.Browser, tmp_path: Path) -> None:
    ball = trimesh.creation.icosphere(subdivisions=3, radius=0.5)
    ball.visual.vertex_colors = np.tile(np.uint8([[20, 40, 230, 255]]), (len(ball.vertices), 1))
    (tmp_path / "ball.glb").write_bytes(glb_of(ball))
    (tmp_path / "ball.html").write_text(render(page_of_files([tmp_path / "ball.glb"])))
    chromium.faults.clear()
    chromium.open((tmp_path / "ball.html").as_uri())
    chromium.until("document.documentElement.dataset.shown == 'ball'")
    picture = chromium.picture("canvas")
    assert ((picture[..., 2] > 100) & (picture[..., 0] < 90)).mean() > 0.05
    assert chromium.faults == []


@pytest.mark.slow
def test_faults_of_a_page_are_noticed(chromium: browser.Browser, tmp_path: Path) -> None:
    """That the other tests would notice errors."""
    (tmp_path / "bad.html").write_text(
        "<script>console.error('first'); throw new Error('second')</script><img src=x.png>"
    )
    chromium.faults.clear()
    chromium.open((tmp_path / "bad.html").as_uri())
    chromium.run("1")
    assert any("first" in fault for fault in chromium.faults)
    assert any("second" in fault for fault in chromium.faults)
    assert any(address.endswith("x.png") for address in chromium.requests)
    chromium.faults.clear()


def test_a_person_stands_on_the_page_once_however_often_it_is_named(tmp_path: Path) -> None:
    write_json(tmp_path / "avatars" / "avatars.json", {"seeds": [1, 2] * 50_000})
    assert [person.title for person in page_of_run(tmp_path).people] == ["Seed 1", "Seed 2"]
    write_json(tmp_path / "avatars" / "avatars.json", {"seeds": list(range(20_000))})
    with pytest.raises(UserError, match="20,000 avatars"):
        page_of_run(tmp_path)
