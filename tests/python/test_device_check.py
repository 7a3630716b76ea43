"""The check for a machine with a GPU, small and on the CPU."""

import json
import os
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "benches/python/device_check.py"


def run(*arguments):
    script = [sys.executable, str(SCRIPT), "--tiny", *arguments]
    hidden = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(script, capture_output=True, text=True, check=False, env=hidden)
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def test_all_sections_run_and_all_is_right(tmp_path):
    status, lines = run("--out", str(tmp_path / "lines.jsonl"))
    assert [line for line in lines if line.get("ok") is False] == []
    assert status == 0
    took = [line["section"] for line in lines if "took" in line]
    sections = ["correctness", "folded", "sharing", "memory", "measures", "propagation", "speed", "profile"]
    assert took == ["environment", *sections]
    assert sum(line.get("ok") is True for line in lines) > 35
    written = (tmp_path / "lines.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in written] == lines


def test_a_section_alone():
    status, lines = run("--only", "propagation")
    assert status == 0
    assert {line["section"] for line in lines} == {"environment", "propagation", "end"}
