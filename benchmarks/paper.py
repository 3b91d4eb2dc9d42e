"""The CIFAR-10 study in pieces: python -m benchmarks.paper [--minutes 10] [--config.FIELD=VALUE ...].

Each call runs launch.py for so many minutes, lets it save a checkpoint and stop, and prints C,
accuracy, images per second and the share of the arithmetic limit as cycles complete. The
same command goes on from there. Exit status 0: the study is done; 3: there is more to do.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp

from aljax.models import ResNet18
from aljax.records import files
from benchmarks import common

ROOT = Path(__file__).parents[1]
UNFINISHED = 3  # exit status
TO_SAVE = 0.05  # share of the time that is left for the last epoch and its checkpoint


def flops_of(network: ResNet18, size: int, channels: int) -> int:
    """Additions and multiplications of a forward pass of one image in convolutions and dense layers."""

    def forward(image: jax.Array) -> tuple:
        variables = network.init(jax.random.key(0), image, train=False)
        _, seen = network.apply(variables, image, train=False, capture_intermediates=True)
        return variables["params"], seen["intermediates"]

    params, seen = jax.eval_shape(forward, jnp.zeros((1, size, size, channels)))

    def count(params: dict, seen: dict) -> int:
        if "kernel" in params:
            pixels = seen["__call__"][0].size // params["kernel"].shape[-1]
            return 2 * params["kernel"].size * pixels
        return sum(count(params[name], seen[name]) for name in params if isinstance(params[name], dict))

    return count(params, seen)


def images_per_second(timing: dict, line: dict, config: dict) -> float:
    """Images trained on in a second of a cycle's training."""
    return line["labeled"] * line["epochs"] * config.get("ensemble", 1) / timing["train"]


def tell(workdir: Path, told: int, limit: float) -> int:
    """Prints the cycles completed since; returns how many there are now."""
    if not (workdir / "cycles.jsonl").exists():
        return told
    lines, _ = files.read_lines(workdir / "cycles.jsonl")
    if len(lines) == told:
        return told
    config = json.loads((workdir / "config.json").read_text())
    timings = {
        (timing["trial"], timing["cycle"]): timing
        for timing in files.read_lines(workdir / "timings.jsonl")[0]
    }
    dataset = config["dataset"]
    network = ResNet18(10, config["model"]["width"])
    flops = 3 * flops_of(network, dataset["image_size"], dataset["channels"])  # with both gradients
    for line in lines[told:]:
        rate = images_per_second(timings[line["trial"], line["cycle"]], line, config)
        print(
            f"trial {line['trial']}, cycle {line['cycle']}: C {line['C']:+.3f}, accuracy "
            f"{100 * line['accuracy']:.1f} %, {rate:,.0f} images/s, "
            f"{100 * rate * flops / limit:.2f} % of the limit",
            flush=True,
        )
    return len(lines)


def main(arguments: list[str] | None = None) -> None:
    """Runs a piece."""
    parser = common.parser(__doc__)
    parser.add_argument("--minutes", type=float, default=10, help="that a piece may take")
    parser.add_argument("--workdir", type=Path, default=Path("runs/cifar10"))
    parser.add_argument("--data-dir", "--data_dir", help="where the images lie")
    parser.add_argument("--config", default=str(ROOT / "configs" / "cifar10.py"))
    parser.add_argument("--tflops", type=float, default=790, help="the limit; 790 is bfloat16 on an H200")
    options, overrides = parser.parse_known_args(arguments)
    begin = time.monotonic()
    if options.data_dir:
        overrides.append(f"--config.dataset.data_dir={options.data_dir}")
    workdir = options.workdir
    limit = options.tflops * 1e12
    seconds = 60 * options.minutes * (1 - TO_SAVE)
    told = len(files.read_lines(workdir / "cycles.jsonl")[0]) if (workdir / "cycles.jsonl").exists() else 0
    before = told
    command = [sys.executable, str(ROOT / "launch.py"), f"--config={options.config}"]
    environment = dict(os.environ)
    os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"  # here: a GPU's memory is the study's
    process = subprocess.Popen(
        [*command, f"--workdir={workdir}", *overrides],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    stopping = False
    while True:
        try:
            _, errors = process.communicate(timeout=0.5)
            break
        except subprocess.TimeoutExpired:
            told = tell(workdir, told, limit)
            if not stopping and time.monotonic() - begin > seconds:
                process.send_signal(signal.SIGTERM)
                stopping = True
    told = tell(workdir, told, limit)
    stopped = process.returncode in (128 + signal.SIGTERM, -signal.SIGTERM)
    print(f"{told - before} cycles in {(time.monotonic() - begin) / 60:.1f} minutes, {told} in all")
    if process.returncode and not stopped:
        sys.exit(errors.strip().splitlines()[-1])
    common.write(options.out, {"workdir": str(workdir), "cycles": told, "done": not stopped})
    if stopped:
        print("there is more to do: the same command goes on")
        sys.exit(UNFINISHED)


if __name__ == "__main__":
    main()
