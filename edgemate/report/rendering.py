"""One HTML file from a template, data, charts and scripts. It loads nothing, which its own policy enforces."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import bokeh
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from edgemate.wording import counted, engineering, least_milliseconds, milliseconds, percent


def render(template: str, scripts: Sequence[str], data: Mapping[str, Any], **context: Any) -> str:
    """The page.

    Args:
        template: a file in `page/`.
        scripts: files in `page/`, which run in this order in one function scope.
        data: what the scripts read, as JSON values.
        context: what the template reads. All text in it is escaped.
    """
    own = "\n".join(_read(name) for name in scripts)
    code = [_bokeh(), f'(function () {{\n"use strict";\n{own}\n}})();\n']
    page = _environment().get_template(template)
    return page.render(
        css=Markup(_read("style.css")),
        scripts=[Markup(script) for script in code],
        data=Markup(json_in_html(data)),
        policy=content_security_policy(code),
        **context,
    )


def json_in_html(value: Any) -> str:
    """JSON that can be the content of a script element: no text in it can end the element."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def content_security_policy(scripts: Sequence[str]) -> str:
    """A policy that lets these inline scripts run, and no other, and forbids every request.

    Styles are inline because Bokeh writes them into its elements. Images are data in the page.
    """
    hashes = " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(one.encode()).digest()).decode()}'" for one in scripts)
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


@cache
def _environment() -> Environment:
    found = Environment(
        loader=PackageLoader("edgemate.report", "page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters = (counted, engineering, least_milliseconds, milliseconds, percent)
    found.filters |= {one.__name__: one for one in filters}
    return found


@cache
def _read(name: str) -> str:
    return (resources.files("edgemate.report") / "page" / name).read_text(encoding="utf-8")


@cache
def _bokeh() -> str:
    """Bokeh's script: the core only, without its widgets, tables and WebGL."""
    return (Path(bokeh.__file__).parent / "server" / "static" / "js" / "bokeh.min.js").read_text(encoding="utf-8")
