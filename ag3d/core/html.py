"""HTML pages from jinja2 templates."""

from __future__ import annotations

from pathlib import Path

import jinja2

# Content-Security-Policy of a page that carries everything inside: no scripts, nothing from the network.
POLICY = "default-src 'none'; img-src data: blob:; media-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def render_page(template: Path, **values: object) -> str:
    """`template` with `values`, which it escapes unless it says otherwise. It may import macros of its own folder, and of
    any package of this one by their path from here (evaluation/tables/macros.html)."""
    loader = jinja2.FileSystemLoader([template.parent, Path(__file__).parents[1]])
    environment = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    return environment.get_template(template.name).render(**{"policy": POLICY, **values})
