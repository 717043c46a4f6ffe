"""Write docs/settings.md from `csms.settings`: `--check` fails when the page is out of date."""

from __future__ import annotations

import sys
from pathlib import Path

from pydantic import BaseModel

from csms.settings import Settings

PAGE = Path(__file__).resolve().parents[1] / "docs" / "settings.md"

HEAD = """# Settings

Generated from `csms/settings.py`; do not edit.

A TOML file (`csms.toml`, or `--config FILE`) and the environment, which wins. Tables nest in TOML
as `__` does in the environment: `[gateway] profile2_port = 9002` is `CSMS_GATEWAY__PROFILE2_PORT`.
An unknown key, or a value weaker than its rule allows, stops the start with one line.

| environment | default | |
|---|---|---|
"""


def rows(model: type[BaseModel], prefix: str) -> list[str]:
    lines: list[str] = []
    for name, field in model.model_fields.items():
        variable = f"{prefix}{name.upper()}"
        default = field.default
        if isinstance(default, BaseModel):
            lines += rows(type(default), f"{variable}__")
        else:
            what = " ".join((field.description or "").split())
            lines.append(f"| `{variable}` | {shown(name, default)} | {what} |")
    return lines


def shown(name: str, default: object) -> str:
    if name == "policies_dir":
        return "`policies/` of this repository"
    if default is None or default == ():
        return "none"
    return f"`{default}`"


def main() -> None:
    page = HEAD + "\n".join(rows(Settings, "CSMS_")) + "\n"
    if "--check" in sys.argv:
        if PAGE.read_text(encoding="utf-8") != page:
            sys.exit("docs/settings.md is out of date: run tools/generate_settings_page.py")
        return
    PAGE.write_text(page, encoding="utf-8")


main()
