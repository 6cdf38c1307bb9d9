"""Look at avatars in 3D in a browser: those of a run, or any .glb files.

    ag3d view results/demo                          the run's page (viewer.html in its folder)
    ag3d view me.glb you.glb [--output page.html]   a page of these files (default: beside the first, me.html)

The page needs no server and no network: it can be opened, copied and sent as it is. On a machine without a browser,
--serve PORT offers it to the browsers of this machine, and through `ssh -L PORT:localhost:PORT` to yours.
"""

from __future__ import annotations

import webbrowser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote

from ag3d.core import console
from ag3d.core.bounded import read_bytes
from ag3d.core.errors import UserError, printable
from ag3d.core.files import write_text
from ag3d.viewer.page import page_of_files, page_of_run, render

MARK = b'<meta name="generator" content="ag3d view">'


def page_for(targets: list[Path], output: Path | None = None) -> Path:
    """The page that shows a run's folder or .glb files; made where it is missing or older than them. Raises UserError."""
    first = targets[0]
    if first.is_dir():
        if len(targets) > 1 or output:
            raise UserError("give one folder of a run, or .glb files (and --output, where you want it)")
        page = first / "viewer.html"
        if not page.exists() or page.stat().st_mtime < max(_modified(first), default=0.0):
            write_text(page, render(page_of_run(first)))
        return page
    for path in targets:
        if not path.exists():
            raise UserError(f"{path} does not exist; give the folder of a run (results/<run>) or .glb files")
        if path.suffix != ".glb":
            raise UserError(f"{path}: give the folder of a run (results/<run>) or .glb files")
    page = output or first.with_suffix(".html")
    if page.exists() and MARK not in read_bytes(page)[:2000]:
        raise UserError(
            f"{page} exists and is no page of this command; it is left as it is: name another with --output"
        )
    write_text(page, render(page_of_files(targets)))
    return page


def _modified(run: Path) -> list[float]:
    """When the run's avatars were written."""
    records = (run / "avatars" / "avatars.json", run / "export" / "export.json")
    return [record.stat().st_mtime for record in records if record.exists()]


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """A browser hung up: no more than that."""


def server(page: Path, port: int) -> ThreadingHTTPServer:
    """A server of that page alone, for this machine alone. Raises UserError where the port is taken."""
    content = read_bytes(page)

    class Handler(BaseHTTPRequestHandler):
        timeout = 60

        def do_GET(self) -> None:
            # By another name, a page from elsewhere could have this one read to it.
            if self.headers.get("Host", "localhost").rsplit(":", 1)[0] not in ("localhost", "127.0.0.1"):
                return self.send_error(421, "this server is called localhost")
            if self.path.split("?")[0] not in ("/", f"/{quote(page.name)}"):
                return self.send_error(404)
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content)

        do_HEAD = do_GET

        def log_message(self, format: str, *args: object) -> None:
            pass

    try:
        return _Server(("127.0.0.1", port), Handler)
    except OverflowError as error:
        raise UserError(f"--serve {port}: a port is a number from 0 to 65535") from error
    except OSError as error:
        raise UserError(f"--serve {port}: {error.strerror}; choose another port") from error


def main() -> None:
    parser = console.parser("ag3d.viewer.view", __doc__)
    parser.add_argument("target", type=Path, nargs="+", help="folder of a run (results/<run>), or .glb files")
    parser.add_argument("--output", type=Path, help="page to write for .glb files (.html)")
    parser.add_argument("--serve", type=int, metavar="PORT", help="serve the page at localhost:PORT until Ctrl-C")
    parser.add_argument("--no-browser", action="store_true", help="only say where the page is")
    arguments = parser.parse_args()
    page = page_for(arguments.target, arguments.output)
    if arguments.serve is None:
        opened = not arguments.no_browser and webbrowser.open(page.resolve().as_uri())
        print(printable(page if opened else f"open {page} in a browser"))
        return
    with server(page, arguments.serve) as http_server:
        address = f"http://localhost:{http_server.server_address[1]}/"
        print(printable(f"{address} shows {page}; Ctrl-C ends"), flush=True)
        if not arguments.no_browser:
            webbrowser.open(address)
        http_server.serve_forever()


if __name__ == "__main__":
    console.run(main)
