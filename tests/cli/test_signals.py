"""Signals that end a command, in processes of their own."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BUSY = """
import signal, sys, time
from aljax.cli import guard

def main(arguments):
    {taken}
    print("ready", flush=True)
    {work}
    return 0

sys.exit(guard.guarded(main)())
"""
TAKEN = "signal.signal(signal.SIGINT, lambda *_: print('noted', flush=True))"  # as a run does
LINE = "aljax: stopped; nothing is lost, and the same command can be given again\n"


RESTORED = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
"""  # what nohup, or a shell's background, has ignored


def started(work, taken=""):
    process = subprocess.Popen(
        [sys.executable, "-c", RESTORED + BUSY.format(work=work, taken=taken or "pass")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_gets_one_line_and_its_status(number):
    process = started("while True: pass")
    process.send_signal(number)
    _, errors = process.communicate()
    assert (process.returncode, errors) == (128 + number, LINE)


def test_a_second_one_ends_what_takes_the_first_itself():
    process = started("while True: pass", TAKEN)
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == "noted\n"
    time.sleep(1.1)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate()
    assert (process.returncode, errors) == (130, LINE)


def test_two_at_once_are_one():
    process = started("time.sleep(0.5)", TAKEN)
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == "noted\n"
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate()
    assert (process.returncode, errors) == (0, "")


def test_one_that_is_ignored_stays_ignored():
    code = BUSY.format(work="signal.raise_signal(signal.SIGHUP)", taken="pass")
    done = subprocess.run(
        ["/bin/sh", "-c", 'trap \'\' HUP; exec "$0" "$@"', sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("seconds", [0, 0.2, 0.5])
def test_while_a_command_is_imported_there_is_no_traceback(seconds):
    """Until the launcher's first line Python itself reports an interrupt."""
    process = subprocess.Popen(
        [sys.executable, "-X", "importtime", str(ROOT / "launch.py"), "--help"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    for line in process.stderr:
        if line.split("|")[-1].strip() == "aljax":
            break
    time.sleep(seconds)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate()
    assert process.returncode in (-signal.SIGINT, 130, 0)
    assert "Traceback" not in errors
