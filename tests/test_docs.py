"""The pages that are read off the code are what the code says, and links between pages lead somewhere."""

import importlib.util
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("docs/**/*.ipynb")])


@pytest.fixture(scope="module")
def generate():
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["generate"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["generate"]


def test_no_generated_page_is_stale(generate):
    stale = [path for path, text in generate.pages().items() if (ROOT / path).read_text() != text]
    assert stale == [], "make docs writes them"


def test_the_check_of_generated_pages_fails_when_one_is_stale(generate, tmp_path, monkeypatch):
    monkeypatch.setattr(generate, "ROOT", tmp_path)
    assert generate.main(["--check"]) == 1
    assert list(tmp_path.iterdir()) == []


def test_the_example_environment_names_every_setting_and_sets_none():
    from tapehouse.settings import Settings, variable_of

    lines = (ROOT / ".env.example").read_text().splitlines()
    named = {line[1:].partition("=")[0] for line in lines if re.match(r"#[A-Z0-9_]+=", line)}
    assert named == {variable_of(field) for field in Settings.model_fields}
    assert all(line.startswith("#") for line in lines if line)


def test_the_example_environment_uncommented_is_the_default_settings(tmp_path, monkeypatch):
    from tapehouse.settings import Settings, variable_of

    for field in Settings.model_fields:
        monkeypatch.delenv(variable_of(field), raising=False)
    example = (ROOT / ".env.example").read_text()
    (tmp_path / ".env").write_text(re.sub(r"(?m)^#(?=[A-Z_]+=)", "", example))
    assert Settings(_env_file=tmp_path / ".env") == Settings(_env_file=None)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_to_a_file_leads_to_one(page):
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    targets = re.findall(r"\]\(([^)#\s]+)[^)]*\)|(?:src|srcset)=\"([^\"]+)\"", text)
    paths = [target for pair in targets for target in pair if target and "://" not in target]
    assert [path for path in paths if not (page.parent / path).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_a_page_shows_exists(page):
    from tapehouse.cli import main

    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    blocks = "\n".join(re.findall(r"```(?:sh|console|bash)\n(.*?)```", page.read_text(), flags=re.DOTALL))
    inline = "\n".join(re.findall(r"`((?:make|tapehouse) [^`]+)`", page.read_text()))
    shown = re.findall(r"^(?:\S*/)?(make|tapehouse) ([a-z][a-z0-9-]*)", blocks + "\n" + inline, flags=re.MULTILINE)
    known = {"make": targets, "tapehouse": set(main.commands)}
    assert [f"{program} {word}" for program, word in shown if word not in known[program]] == []


def test_the_architecture_fits_on_a_few_pages():
    assert len((ROOT / "ARCHITECTURE.md").read_text().splitlines()) < 150
