"""Settings of compilation: the same bits each time, and compiled functions kept on disk for the next run.

JAX does the keeping (its persistent compilation cache), so that a second run starts in seconds; a
function is found again by its program, the versions of JAX and XLA, the flags and the device. The
folder may be deleted at any time. On a GPU that ends the equality of bits with earlier runs, as XLA
measures anew which of several kernels is the fastest.
"""

import hashlib
import os
import platform
import tempfile
import warnings
from pathlib import Path

import jax
from absl import logging

LEAST_SECONDS = 0.0  # of compilation: whatever is compiled is kept, as the choice of kernels is kept with it
A_WEEK = str(7 * 24 * 3600)  # in seconds
FLAGS = {  # of XLA, and their values
    # Other devices know no such operations.
    "--xla_gpu_exclude_nondeterministic_ops": "true",
    # Devices of a CPU that wait 40 seconds for each other would end the process, as after Ctrl-Z.
    "--xla_cpu_collective_call_terminate_timeout_seconds": A_WEEK,
    "--xla_cpu_collective_call_warn_stuck_timeout_seconds": A_WEEK,
}


def set_flags() -> None:
    """Asks XLA for operations on a GPU that sum in the same order each time, and for patience on a CPU.

    To be called before JAX starts its devices. XLA_FLAGS has the last word where it names a flag.

    Source: OpenXLA, "Determinism (GPU)".
    """
    given = os.environ.get("XLA_FLAGS", "")
    added = [f"{flag}={value}" for flag, value in FLAGS.items() if flag not in given]
    if added:
        os.environ["XLA_FLAGS"] = " ".join([given, *added]).lstrip()


def keep() -> None:
    """Keeps what is compiled from now on, and uses what was kept before.

    In the folder that JAX_COMPILATION_CACHE_DIR names, else in `default_folder()`. Where that
    cannot be written there is one line of warning, and everything is compiled anew.
    """
    try:
        folder = jax.config.values["jax_compilation_cache_dir"] or str(default_folder())
        if "://" not in folder:  # else in a bucket, which JAX alone can look at
            Path(folder).mkdir(mode=0o700, parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
    except (OSError, RuntimeError) as error:
        jax.config.update("jax_enable_compilation_cache", False)
        logging.warning("compiled functions are not kept: %s", error)
        return
    jax.config.update("jax_compilation_cache_dir", folder)
    if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
        jax.config.update("jax_persistent_cache_min_compile_time_secs", LEAST_SECONDS)
    # A file that is damaged, or that finds no room, is compiled anew and is no news.
    warnings.filterwarnings("ignore", "Error (reading|writing) persistent compilation cache entry")


def default_folder() -> Path:
    """Returns a folder for this kind of processor in `aljax`, in the user's folder for caches.

    JAX does not tell processors apart, and what is compiled for one may fail on another that
    shares the user's home.

    Raises:
      RuntimeError: if the user has no home.
    """
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return caches / "aljax" / f"{platform.machine()}-{_instructions()}"


def _instructions() -> str:
    """Returns a digest of the instructions that the processor knows, where Linux lists them."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return "any"
    known = next((line for line in lines if line.lower().startswith(("flags", "features"))), "")
    return hashlib.sha256(known.encode()).hexdigest()[:8]
