"""The check of wheels, on made-up ones."""

import re
import runpy
import zipfile
from pathlib import Path

import pytest

CHECK = runpy.run_path(str(Path(__file__).parents[2] / ".ci/check_wheel.py"))
ABI3 = "cp311-abi3-manylinux2014_x86_64.manylinux_2_17_x86_64"
FREE_THREADED = "cp314-cp314t-win_amd64"


def wheel(folder, tags=ABI3, said=None, more=(), less=(), compiled="_core.abi3.so", version="0.1.0"):
    """A file that looks like a wheel of these tags, in which WHEEL tells those that are `said`."""
    file = folder / f"interpix-0.1.0-{tags}.whl"
    said = said or ["cp311-abi3-manylinux_2_17_x86_64", "cp311-abi3-manylinux2014_x86_64"]
    about = "interpix-0.1.0.dist-info"
    texts = dict.fromkeys(["interpix/__init__.py", "interpix/page.js", f"interpix/{compiled}", *more], "")
    texts |= {f"{about}/{path}": "text" for path in ("RECORD", *CHECK["LICENSES"])}
    texts["interpix/__init__.py"] = '"""Made up."""'
    texts[f"{about}/WHEEL"] = "Wheel-Version: 1.0\n" + "".join(f"Tag: {tag}\n" for tag in said)
    texts[f"{about}/METADATA"] = f"Metadata-Version: 2.4\nName: interpix\nVersion: {version}\n"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as files:
        for path in texts.keys() - {f"{about}/{path}" for path in less}:
            files.writestr(path, texts[path])
    return file


def test_wheels_as_a_release_has_them_are_right(tmp_path):
    assert CHECK["faults"](wheel(tmp_path)) == []
    of_windows = wheel(tmp_path, FREE_THREADED, [FREE_THREADED], compiled="_core.cp314t-win_amd64.pyd")
    assert CHECK["faults"](of_windows) == []


@pytest.mark.parametrize("tags", ["cp312-abi3-win_amd64", "cp311-cp311-win_amd64", "cp311-abi3-linux_x86_64"])
def test_a_wheel_of_other_tags_is_refused(tmp_path, tags):
    suffix = "pyd" if "win" in tags else "abi3.so"
    (fault,) = CHECK["faults"](wheel(tmp_path, tags, [tags], compiled=f"_core.{suffix}"))[:1]
    assert "which no release has" in fault


def test_tags_that_the_file_inside_tells_otherwise_are_refused(tmp_path):
    (fault,) = CHECK["faults"](wheel(tmp_path, said=["cp311-abi3-linux_x86_64"]))
    assert "WHEEL" in fault


@pytest.mark.parametrize("path", ["interpix/tests/test_it.py", "interpix/test_it.py", "interpix/lib.rs", "tests/x.py"])
def test_tests_and_sources_are_refused(tmp_path, path):
    assert CHECK["faults"](wheel(tmp_path, more=[path])) == [f"{path} does not belong there"]


def test_a_compiled_half_for_another_python_is_refused(tmp_path):
    (fault,) = CHECK["faults"](wheel(tmp_path, compiled="_core.cpython-311-x86_64-linux-gnu.so"))
    assert "_core.abi3.so" in fault


def test_a_large_wheel_and_another_version_are_refused(tmp_path):
    file = wheel(tmp_path, version="0.2.0")
    with zipfile.ZipFile(file, "a") as files:
        files.writestr("interpix/large.py", b"#" * 6_000_001, zipfile.ZIP_STORED)
    assert [fault.split(",")[0] for fault in CHECK["faults"](file)] == [
        f"it has {file.stat().st_size} bytes",
        "its metadata tell another version than its name",
    ]


@pytest.mark.parametrize("path", [*CHECK["ABOUT"], *CHECK["LICENSES"]])
def test_a_wheel_without_what_tells_of_it_is_refused(tmp_path, path):
    told = [f"it has no interpix-0.1.0.dist-info/{path}, or it is empty"]
    assert CHECK["faults"](wheel(tmp_path, less=[path])) == told


def test_an_empty_license_is_none(tmp_path):
    file = wheel(tmp_path, less=CHECK["LICENSES"])
    with zipfile.ZipFile(file, "a") as files:
        for path in CHECK["LICENSES"]:
            files.writestr(f"interpix-0.1.0.dist-info/{path}", "")
    assert len(CHECK["faults"](file)) == len(CHECK["LICENSES"])


def test_files_that_are_there_twice_are_refused(tmp_path):
    file = wheel(tmp_path)
    with zipfile.ZipFile(file, "a") as files, pytest.warns(UserWarning, match="Duplicate name"):
        files.writestr("interpix/_core.abi3.so", "another")
    assert CHECK["faults"](file) == ["interpix/_core.abi3.so is there more than once"]


def test_tags_that_are_no_text_are_told(tmp_path):
    file = wheel(tmp_path, less=["WHEEL"])
    with zipfile.ZipFile(file, "a") as files:
        files.writestr("interpix-0.1.0.dist-info/WHEEL", b"Tag: cp311-abi3-\xff\nTag: cp311-abi3-win_amd64\n")
    (fault,) = CHECK["faults"](file)
    assert fault.startswith("its file WHEEL says")


def test_paths_that_lead_out_are_refused(tmp_path):
    path = "interpix/../../evil.py"
    assert CHECK["faults"](wheel(tmp_path, more=[path])) == [f"{path} does not belong there"]


def test_a_release_without_a_name_has_no_wheels(tmp_path, capsys):
    assert CHECK["main"](["--release", "", str(wheel(tmp_path))]) == 1
    assert f"interpix-0.1.0-{ABI3}.whl is not of" in capsys.readouterr().err


def test_what_is_no_wheel_costs_a_line_and_no_traceback(tmp_path, capsys):
    whole = wheel(tmp_path).read_bytes()
    for folder, content, complaint in [
        ("cut", whole[:200], "it is not a whole zip file: "),
        ("text", b"not found", "it is not a whole zip file: "),
        ("nothing", b"", "it is not a whole zip file: "),
        ("missing", None, "it cannot be read: No such file"),
    ]:
        file = tmp_path / folder / f"interpix-0.1.0-{ABI3}.whl"
        if content is not None:
            file.parent.mkdir()
            file.write_bytes(content)
        assert CHECK["main"]([str(file)]) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"{file.name}: {complaint}")
    assert CHECK["main"]([str(tmp_path / "interpix.zip")]) == 1
    assert capsys.readouterr().err == "interpix.zip: it is not named as wheels are\n"


def test_what_pip_does_not_unpack_is_told(tmp_path):
    whole = wheel(tmp_path)
    with zipfile.ZipFile(whole) as files:
        content = {path: files.read(path) for path in files.namelist()}
    file = tmp_path / "packed" / whole.name
    file.parent.mkdir()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_LZMA) as packed:
        for path, data in content.items():
            packed.writestr(path, data)
    told = [f"{path} is encrypted, or not packed as pip unpacks" for path in content]
    assert CHECK["faults"](file) == told
    directory = bytearray(whole.read_bytes())
    for at in [found.start() for found in re.finditer(rb"PK\x01\x02", bytes(directory))]:
        directory[at + 8] |= 1
    file.write_bytes(directory)
    assert CHECK["faults"](file) == told


def test_whatever_byte_is_changed_costs_lines_and_no_traceback(tmp_path):
    file = wheel(tmp_path)
    whole = file.read_bytes()
    for index in range(len(whole)):
        for bits in (1, 128, 255):
            file.write_bytes(whole[:index] + bytes([whole[index] ^ bits]) + whole[index + 1 :])
            assert all("\n" not in fault for fault in CHECK["faults"](file))


def test_a_release_has_each_wheel_and_no_other(tmp_path, capsys):
    assert len(CHECK["missing_and_more"]([], "v0.1.0")) == 12
    assert CHECK["main"](["--release", "v0.1.0", str(wheel(tmp_path))]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 11
    assert all(line.endswith(".whl is missing") for line in lines)
    assert CHECK["main"](["--release", "v0.2.0", str(wheel(tmp_path))]) == 1
    assert "is not of v0.2.0" in capsys.readouterr().err


def test_what_is_installed_works_and_says_its_vector_instructions():
    assert "works, with vector instructions: " in CHECK["try_installed"]()
