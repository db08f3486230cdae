"""A wheel that is installed elsewhere has everything and works from any folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.require import require_module

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder into which a freshly built wheel was installed, without its dependencies."""
    require_module("hatchling", "pip install 'compressor[dev]'")
    built = tmp_path_factory.mktemp("wheel")
    target = tmp_path_factory.mktemp("site")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    subprocess.run([*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", str(built), str(ROOT)], check=True)
    (wheel,) = built.glob("compressor-*.whl")
    subprocess.run([*pip, "install", "--no-deps", "--target", str(target), str(wheel)], check=True)
    return target


def run(installed: Path, cwd: Path, *arguments: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    command = [sys.executable, "-P", "-m", "compressor", *arguments]
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_recipes_profiles_and_the_demo_are_inside(installed: Path) -> None:
    package = installed / "compressor"

    assert (package / "conf" / "config.yaml").is_file()
    assert {path.name for path in (package / "recipes").glob("*.yaml")} == {
        path.name for path in (ROOT / "recipes").glob("*.yaml")
    }
    assert {path.name for path in (package / "conf" / "device").glob("*.yaml")} == {
        path.name for path in (ROOT / "conf" / "device").glob("*.yaml")
    }
    for file in (ROOT / "compressor").rglob("*"):
        if file.is_file() and file.suffix in (".py", ".safetensors", ".html", ".md", ".jinja", ".css", ".js"):
            assert (package / file.relative_to(ROOT / "compressor")).is_file(), file


def test_list_and_plan_from_another_folder(installed: Path, tmp_path: Path) -> None:
    assert "qualaminilm" in run(installed, tmp_path, "list", "recipes")
    assert "length_adaptive" in run(installed, tmp_path, "plan", "recipe=qualaminilm", "device=jetson")


def test_the_demo_teacher_comes_along(installed: Path, tmp_path: Path) -> None:
    code = "import pathlib, compressor.data as d; d.demo_teacher('text-classification', pathlib.Path('t'))"
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    subprocess.run([sys.executable, "-P", "-c", code], cwd=tmp_path, env=environment, check=True)

    assert (tmp_path / "t" / "model.safetensors").is_file()
