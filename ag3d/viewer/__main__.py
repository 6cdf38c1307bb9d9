"""Write the viewer of a run: one HTML page with its avatars in 3D, their pictures and downloads. It works offline."""

from __future__ import annotations

from pathlib import Path

from ag3d.core import console
from ag3d.core.files import write_text
from ag3d.viewer.page import page_of_run, render


def main() -> None:
    parser = console.parser("ag3d.viewer", __doc__)
    parser.add_argument("--run", type=Path, required=True, help="folder of the run (results/<run>)")
    parser.add_argument("--output", type=Path, required=True, help="page to write (.html)")
    arguments = parser.parse_args()
    write_text(arguments.output, render(page_of_run(arguments.run)))
    console.log.info("%s, %.1f MB", arguments.output, arguments.output.stat().st_size / 1e6)


if __name__ == "__main__":
    console.run(main)
